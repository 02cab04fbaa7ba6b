"""Problems become exceptions that carry fields."""

from typing import Any

import pytest

import sessioncast
from sessioncast.answer import problem_of
from sessioncast.errors import problem_error

EXISTING = {
    "id": "0b3c",
    "model": {"name": "m"},
    "agent": None,
    "user": "local",
    "status": "running",
    "active": True,
    "created_at": "2026-01-01T00:00:00Z",
    "last_activity_at": "2026-01-01T00:00:00Z",
}
CONFIRM = {"existing": EXISTING, "confirm": {"session_id": "0b3c"}}


@pytest.mark.parametrize(
    ("status", "document", "kind", "text"),
    [
        (401, {"code": "unauthenticated", "detail": "No."}, sessioncast.Unauthenticated, "401 unauthenticated: No."),
        (403, {"code": "forbidden", "detail": "No."}, sessioncast.Forbidden, "403 forbidden: No."),
        (404, {"code": "not_found", "detail": "Not found."}, sessioncast.NotFound, "404 not_found: Not found."),
        (409, {"code": "session_active"}, sessioncast.SessionActive, "409 session_active: "),
        (409, {"code": "session_being_modified"}, sessioncast.SessionBusy, "409 session_being_modified: "),
        (409, {"code": "session_deleted"}, sessioncast.SessionDeleted, "409 session_deleted: "),
        (409, {"code": "session_replaced"}, sessioncast.SessionReplaced, "409 session_replaced: "),
        (409, {"code": "fenced"}, sessioncast.Fenced, "409 fenced: "),
        (409, {"code": "illegal_transition"}, sessioncast.IllegalTransition, "409 illegal_transition: "),
        (
            409,
            {"code": "model_change_requires_confirmation", **CONFIRM},
            sessioncast.ConfirmationRequired,
            "409 model_change_requires_confirmation: ",
        ),
        (409, {"code": "session_changed", **CONFIRM}, sessioncast.SessionChanged, "409 session_changed: "),
        (412, {"code": "precondition_failed"}, sessioncast.PreconditionFailed, "412 precondition_failed: "),
        (422, {"code": "invalid"}, sessioncast.Invalid, "422 invalid: "),
        (429, {"code": "too_many"}, sessioncast.TooMany, "429 too_many: "),
        (503, {"code": "commit_unknown"}, sessioncast.ProblemError, "503 commit_unknown: "),
        (502, {}, sessioncast.ProblemError, "502"),
        # A known code without the fields it promises is still a refusal, not a crash.
        (409, {"code": "session_changed"}, sessioncast.ProblemError, "409 session_changed: "),
    ],
)
def test_each_problem_has_its_exception(status: int, document: dict[str, Any], kind: type, text: str) -> None:
    """The code decides what is raised, and the text says status, code and detail."""
    error = problem_error(status, document)
    assert type(error) is kind
    assert str(error) == text


def test_a_confirmation_carries_what_to_ask_and_what_to_answer() -> None:
    """Whoever catches it can show the session in the way, and confirm exactly that one."""
    error = problem_error(409, {"code": "session_changed", "warning": "W", "export_url": "/x", **CONFIRM})
    assert isinstance(error, sessioncast.ConfirmationRequired)
    assert error.existing.id == "0b3c"
    assert error.existing.active
    assert error.confirm == {"session_id": "0b3c"}
    assert (error.warning, error.export_url) == ("W", "/x")


@pytest.mark.parametrize(
    ("status", "document", "retryable"),
    [
        (503, {"code": "unavailable", "retryable": True}, True),
        (409, {"code": "session_being_modified", "retryable": True}, True),
        (503, {"code": "push_disabled", "retryable": False}, False),
        (409, {"code": "fenced", "retryable": False}, False),
        (502, {}, True),
        (504, {}, True),
        (500, {}, False),
    ],
)
def test_the_document_decides_what_may_be_repeated(status: int, document: dict[str, Any], retryable: bool) -> None:
    """Where a proxy answers without a document, only statuses that pass by themselves are worth a repetition."""
    assert problem_error(status, document).retryable is retryable


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", None), ("Fri, 01 Jan 2027 00:00:00 GMT", None), ("-1", None), ("٣", None)]
)
def test_retry_after_is_seconds_or_nothing(header: str, seconds: float | None) -> None:
    """A `Retry-After` that is no number of seconds counts as none."""
    assert problem_of(503, {"retry-after": header}, b"not json").retry_after == seconds


def test_a_refusal_that_is_json_but_no_object_is_a_refusal() -> None:
    """A proxy's `[]` or `null` does not break the client."""
    assert problem_of(502, {}, b"[]").status == 502
