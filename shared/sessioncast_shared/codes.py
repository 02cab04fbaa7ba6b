"""Codes of problems and of WebSocket closes."""

from enum import IntEnum, StrEnum


class Code(StrEnum):
    """The `code` of a problem document and of a WebSocket `error` frame."""

    BAD_JSON = "bad_json"
    TOO_DEEP = "too_deep"
    BAD_UNICODE = "bad_unicode"
    BAD_CURSOR = "bad_cursor"
    BAD_FILTER = "bad_filter"
    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    SESSION_ACTIVE = "session_active"
    CONFIRMATION_REQUIRED = "model_change_requires_confirmation"
    SESSION_CHANGED = "session_changed"
    SESSION_BUSY = "session_being_modified"
    SESSION_REPLACED = "session_replaced"
    SESSION_DELETED = "session_deleted"
    SECURITY_VIOLATION = "session_security_violation"
    ILLEGAL_TRANSITION = "illegal_transition"
    FENCED = "fenced"
    PRECONDITION_FAILED = "precondition_failed"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid"
    KEY_REUSED = "idempotency_key_reused"
    TOO_MANY = "too_many"
    CREATE_FAILED = "create_failed"
    UNAVAILABLE = "unavailable"
    COMMIT_UNKNOWN = "commit_unknown"
    PUSH_DISABLED = "push_disabled"
    UNEXPECTED = "unexpected"


class Close(IntEnum):
    """WebSocket close codes. After 4400 and 4403 a client does not reconnect."""

    DRAINING = 1001
    BAD_REQUEST = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    TOO_SLOW = 4408
    TOO_MANY = 4429
