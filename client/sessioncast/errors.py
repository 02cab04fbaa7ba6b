"""What the client raises. Exceptions of the libraries below never leave the package."""
# ruff: noqa: N818  named after the problems' codes, which users know them by

from typing import Any

from sessioncast_shared.providers import FailureReason


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


class SlowConsumer(SessioncastError):
    """A subscription was read more slowly than its events came, and its buffer is full. Nothing else is affected.

    What was yielded before is whole and in order; `subscription.position` is where another one goes on.

    Attributes:
        project: whose events they are.
    """

    def __init__(self, project: str) -> None:
        super().__init__(f"the events of {project} came faster than they were read")
        self.project = project


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


class SecurityViolation(ProblemError):
    """403: the session is another user's, or an id is bound to another session. The server keeps it in the audit."""


class NotFound(ProblemError):
    """404: missing, or not yours to know of."""


class Invalid(ProblemError):
    """422: a field's value cannot be accepted; `document["errors"]` names it."""


class PreconditionFailed(ProblemError):
    """412: the resource has changed since it was read."""


class TooLarge(ProblemError):
    """413: a body is larger than the server takes, or than `Limits.body_bytes`; then nothing was sent."""


class TooMany(ProblemError):
    """429: slower, please."""


class ModelNotFound(ProblemError):
    """422: the project has a registry of models, and this one is not in it or was deleted.

    Attributes:
        model: its name.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, document, retry_after=retry_after)
        self.model: str | None = document.get("model")


class KeyReused(ProblemError):
    """422: the `Idempotency-Key` was used for another body. The client makes a key per call: something is wrong."""


class CreateFailed(ProblemError):
    """503: the server failed while it started a session, and kept failing until the deadline; nothing was started."""


class Unavailable(ProblemError):
    """503: the server cannot answer, and could not until the deadline."""


class CommitUnknown(ProblemError):
    """503: whether the change was made is not known, and could not be found out until the deadline."""


class PushDisabled(ProblemError):
    """503: streams are switched off for the project at the moment; polls are answered as ever."""


class SessionBeingModified(ProblemError):
    """409: somebody else is changing the session, or the thread, and kept at it until the deadline.

    Attributes:
        ahead: how many wait for a turn before the one that was refused; None where it was no turn that was asked for.
    """

    def __init__(self, status: int, document: dict[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(status, document, retry_after=retry_after)
        ahead = document.get("ahead")
        self.ahead: int | None = ahead if isinstance(ahead, int) else None


class IllegalTransition(ProblemError):
    """409: the session's status does not move that way."""


class Fenced(ProblemError):
    """409: another holder has taken the session over; or the run of a thread is over."""


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


class ResumeFailed(SessioncastError):
    """The provider did not resume an id. Raised by what `attempt.run` calls, and by `attempt.run` when it gives up.

    Attributes:
        reason: `not_found` and `corrupted` are for good; `locked`, `timeout` and `other` are worth another try.
    """

    def __init__(self, reason: FailureReason | str, detail: str = "") -> None:
        """`detail` is for people and stays here.

        Raises:
            ValueError: there is no such reason.
        """
        self.reason = FailureReason(reason)
        super().__init__(f"{self.reason}: {detail}" if detail else str(self.reason))
