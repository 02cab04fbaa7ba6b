"""Exceptions become `application/problem+json` here, and nowhere else (RFC 9457)."""

from typing import Any

import orjson
from starlette.responses import Response

from sessioncast_server.db.errors import (
    CommitUnknownError,
    ConflictError,
    DatabaseError,
    LockTimeoutError,
    UnavailableError,
    UniqueError,
)
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_TITLES: dict[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Problem(Exception):  # noqa: N818  the field's word (RFC 9457)
    """An answer that is not the one hoped for.

    Attributes:
        status: HTTP status.
        code: machine-readable name.
        detail: the text for people; an exact one where the interface promises one.
        retry_after: seconds for the `Retry-After` header, or None.
        fields: further members of the document, by code.
        keeps: whether what its transaction wrote is kept, though it refuses: a line of the audit trail, and nothing
            else may have been written.
    """

    keeps = False

    def __init__(self, status: int, code: Code, detail: str, *, retry_after: int | None = None, **fields: Any) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.fields = fields

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem as RFC 9457 members."""
        return {
            "type": f"urn:sessioncast:problem:{self.code}",
            "title": _TITLES.get(self.status, "Error"),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
            "retryable": self.status in (429, 503) or self.code is Code.SESSION_BUSY,
            **self.fields,
        }

    def response(self, request_id: str) -> Response:
        """The problem as an HTTP answer."""
        headers = {"X-Request-Id": request_id, "Cache-Control": "no-store"}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = orjson.dumps(self.document(request_id), option=orjson.OPT_UTC_Z)
        return Response(body, self.status, headers, "application/problem+json")


def not_found() -> Problem:
    """For what is missing and for what is not the caller's to know of: the same body."""
    return Problem(404, Code.NOT_FOUND, "Not found.")


def invalid(field: str, message: str) -> Problem:
    """A field whose value cannot be accepted."""
    return Problem(422, Code.INVALID, f"{field}: {message}", errors=[{"field": field, "message": message}])


def stale() -> Problem:
    """412: the resource is not at a version that `If-Match` names."""
    return Problem(412, Code.PRECONDITION_FAILED, "The resource has another version than If-Match names.")


def busy() -> Problem:
    """409: another one kept what is to be changed for too long, or was faster each time."""
    return Problem(409, Code.SESSION_BUSY, texts.BUSY, retry_after=1)


def problem_of(error: BaseException) -> Problem:
    """The problem that stands for any exception; what is not known is UNEXPECTED."""
    match error:
        case Problem():
            return error
        case CommitUnknownError():
            detail = "The outcome of the change is unknown. Repeat it with the same Idempotency-Key."
            return Problem(503, Code.COMMIT_UNKNOWN, detail, retry_after=1)
        case LockTimeoutError(of="row") | ConflictError() | UniqueError():
            return busy()
        case UnavailableError() | DatabaseError():
            return Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=1)
        case _:
            return Problem(500, Code.UNEXPECTED, texts.UNEXPECTED)
