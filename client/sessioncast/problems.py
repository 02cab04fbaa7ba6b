"""The table from problem documents to exceptions."""

from typing import Any

from sessioncast import confirmation, errors
from sessioncast.errors import ProblemError
from sessioncast_shared.codes import Code

BY_CODE: dict[str, type[ProblemError]] = {
    Code.SESSION_ACTIVE: confirmation.SessionActive,
    Code.CONFIRMATION_REQUIRED: confirmation.ModelChangeRequiresConfirmation,
    Code.SESSION_CHANGED: confirmation.SessionChanged,
    Code.SESSION_BUSY: errors.SessionBeingModified,
    Code.SESSION_REPLACED: errors.SessionReplaced,
    Code.SESSION_DELETED: errors.SessionDeleted,
    Code.SECURITY_VIOLATION: errors.SecurityViolation,
    Code.ILLEGAL_TRANSITION: errors.IllegalTransition,
    Code.FENCED: errors.Fenced,
    Code.MODEL_NOT_FOUND: errors.ModelNotFound,
    Code.KEY_REUSED: errors.KeyReused,
    Code.CREATE_FAILED: errors.CreateFailed,
    Code.UNAVAILABLE: errors.Unavailable,
    Code.COMMIT_UNKNOWN: errors.CommitUnknown,
    Code.PUSH_DISABLED: errors.PushDisabled,
}
"""Codes with an exception of their own."""

_BY_STATUS: dict[int, type[ProblemError]] = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    412: errors.PreconditionFailed,
    413: errors.TooLarge,
    422: errors.Invalid,
    429: errors.TooMany,
}


def problem_error(status: int, document: dict[str, Any], *, retry_after: float | None = None) -> ProblemError:
    """The exception for a problem: by its code, else by its status."""
    kind = BY_CODE.get(str(document.get("code"))) or _BY_STATUS.get(status, ProblemError)
    try:
        return kind(status, document, retry_after=retry_after)
    except (KeyError, TypeError, ValueError):
        # A known code without its fields: still the server's refusal, only less of it can be used.
        return ProblemError(status, document, retry_after=retry_after)
