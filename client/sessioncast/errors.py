"""What the client raises. Exceptions of the libraries below never leave the package."""
# ruff: noqa: N818  named after the problems' codes, which users know them by

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from sessioncast_shared.codes import Code
from sessioncast_shared.statuses import Status


class SessioncastError(Exception):
    """Base of everything the client raises on purpose."""


class ConnectionLost(SessioncastError):
    """No answer, or no more of it: the server could not be reached, went away or fell silent.

    A request that raises this has already been repeated until its deadline.

    Attributes:
        url: what was asked.
        reason: what the network said.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class ProtocolError(SessioncastError):
    """The far side answered something that sessioncast does not say. Repeating would not help.

    Attributes:
        url: what was asked.
        reason: what is wrong with the answer.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class ProblemError(SessioncastError):
    """The server refused (RFC 9457).

    Attributes:
        status: HTTP status.
        code: machine-readable name, empty when a proxy answered instead of the server.
        detail: text for people.
        request_id: what the server's log knows the request by.
        retryable: whether the same request may succeed later.
        retry_after: seconds the server asks to wait, None when it does not.
        document: the whole problem document.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        self.status = status
        self.document = document
        self.code = str(document.get("code", ""))
        self.detail = str(document.get("detail") or document.get("title") or "")
        self.request_id = str(document.get("request_id", ""))
        # A proxy in front of a restarting server says 502 or 504, without a document.
        self.retryable = bool(document.get("retryable", status in (429, 502, 503, 504)))
        self.retry_after = retry_after
        super().__init__(f"{status} {self.code}: {self.detail}" if self.code else f"{status} {self.detail}".rstrip())


class Unauthenticated(ProblemError):
    """401: no token, or one that is not, or no longer, accepted."""


class Forbidden(ProblemError):
    """403: the project is yours, this in it is not."""


class NotFound(ProblemError):
    """404: missing, or not yours to know of."""


class Invalid(ProblemError):
    """422: a field's value cannot be accepted; `document["errors"]` names it."""


class PreconditionFailed(ProblemError):
    """412: the resource has changed since it was read."""


class TooMany(ProblemError):
    """429: slower, please."""


class SessionActive(ProblemError):
    """409: a live session holds the phase and the start said `reject`."""


class SessionBusy(ProblemError):
    """409: somebody else is changing the session, and kept at it until the deadline."""


class IllegalTransition(ProblemError):
    """409: the session's status does not move that way."""


class Fenced(ProblemError):
    """409: another holder has taken the session over."""


class SessionDeleted(ProblemError):
    """409: the session was deleted."""


class SessionReplaced(ProblemError):
    """409: the session was replaced by another.

    Attributes:
        replaced_by: id of the session that holds the phase since.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, document, retry_after=retry_after)
        self.replaced_by: str | None = document.get("replaced_by")


class ExistingSession(BaseModel):
    """The session that is in the way of a start."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    model: dict[str, Any]
    agent: Any = None
    user: str
    status: Status
    active: bool
    created_at: AwareDatetime
    last_activity_at: AwareDatetime


class ConfirmationRequired(ProblemError):
    """409: starting would replace a live session. Start again with `confirm` to do so.

    Attributes:
        existing: the session that would be replaced.
        confirm: what to pass to the next start; it holds for this session only.
        warning, difference, export_url: for the person who decides.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, document, retry_after=retry_after)
        self.existing = ExistingSession.model_validate(document.get("existing"))
        self.confirm: dict[str, Any] = document["confirm"]
        self.warning: str | None = document.get("warning")
        self.difference: Any = document.get("difference")
        self.export_url: str | None = document.get("export_url")


class SessionChanged(ConfirmationRequired):
    """409: what was confirmed is no longer the live session; `existing` and `confirm` are fresh."""


_BY_CODE: dict[str, type[ProblemError]] = {
    Code.SESSION_ACTIVE: SessionActive,
    Code.CONFIRMATION_REQUIRED: ConfirmationRequired,
    Code.SESSION_CHANGED: SessionChanged,
    Code.SESSION_BUSY: SessionBusy,
    Code.SESSION_REPLACED: SessionReplaced,
    Code.SESSION_DELETED: SessionDeleted,
    Code.ILLEGAL_TRANSITION: IllegalTransition,
    Code.FENCED: Fenced,
}
_BY_STATUS: dict[int, type[ProblemError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    412: PreconditionFailed,
    422: Invalid,
    429: TooMany,
}


def problem_error(status: int, document: dict[str, Any], *, retry_after: float | None = None) -> ProblemError:
    """The exception for a problem: by its code, else by its status."""
    kind = _BY_CODE.get(str(document.get("code"))) or _BY_STATUS.get(status, ProblemError)
    try:
        return kind(status, document, retry_after=retry_after)
    except (ValidationError, KeyError):
        # A known code without its fields: still the server's refusal, only less of it can be used.
        return ProblemError(status, document, retry_after=retry_after)
