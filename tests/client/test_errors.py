"""Problems become exceptions that carry fields."""

from typing import Any

import pytest

import sessioncast
from sessioncast.answer import problem_of
from sessioncast.problems import problem_error
from sessioncast_shared import texts

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
        (
            409,
            {"code": "session_being_modified", "detail": texts.BUSY},
            sessioncast.SessionBeingModified,
            "409 session_being_modified: This session is currently being modified. Please try again later.",
        ),
        (409, {"code": "session_deleted"}, sessioncast.SessionDeleted, "409 session_deleted: "),
        (409, {"code": "session_replaced"}, sessioncast.SessionReplaced, "409 session_replaced: "),
        (409, {"code": "fenced"}, sessioncast.Fenced, "409 fenced: "),
        (409, {"code": "illegal_transition"}, sessioncast.IllegalTransition, "409 illegal_transition: "),
        (
            409,
            {"code": "model_change_requires_confirmation", "detail": texts.CONFIRM, **CONFIRM},
            sessioncast.ModelChangeRequiresConfirmation,
            f"409 model_change_requires_confirmation: {texts.CONFIRM}",
        ),
        (409, {"code": "session_changed", **CONFIRM}, sessioncast.SessionChanged, "409 session_changed: "),
        (412, {"code": "precondition_failed"}, sessioncast.PreconditionFailed, "412 precondition_failed: "),
        (422, {"code": "invalid"}, sessioncast.Invalid, "422 invalid: "),
        (
            422,
            {"code": "model_not_found", "detail": texts.MODEL_MISSING},
            sessioncast.ModelNotFound,
            "422 model_not_found: Model Not Found",
        ),
        (422, {"code": "idempotency_key_reused"}, sessioncast.KeyReused, "422 idempotency_key_reused: "),
        (429, {"code": "too_many"}, sessioncast.TooMany, "429 too_many: "),
        (
            503,
            {"code": "create_failed", "detail": texts.CREATE_FAILED},
            sessioncast.CreateFailed,
            "503 create_failed: Failed to create session. Please try again later.",
        ),
        (
            503,
            {"code": "unavailable", "detail": texts.UNAVAILABLE},
            sessioncast.Unavailable,
            "503 unavailable: The server is currently unavailable. Please try again in a few minutes.",
        ),
        (503, {"code": "commit_unknown"}, sessioncast.CommitUnknown, "503 commit_unknown: "),
        (503, {"code": "push_disabled"}, sessioncast.PushDisabled, "503 push_disabled: "),
        (503, {"code": "of_a_newer_server"}, sessioncast.ProblemError, "503 of_a_newer_server: "),
        (502, {}, sessioncast.ProblemError, "502"),
        # A known code without the fields it promises is still a refusal, not a crash.
        (409, {"code": "session_changed"}, sessioncast.ProblemError, "409 session_changed: "),
        (409, {"code": "session_changed", **CONFIRM, "confirm": 7}, sessioncast.ProblemError, "409 session_changed: "),
        (409, {"code": "session_active", "existing": {}}, sessioncast.ProblemError, "409 session_active: "),
    ],
)
def test_each_problem_has_its_exception(status: int, document: dict[str, Any], kind: type, text: str) -> None:
    """The code decides what is raised; the text says status, code and detail, and the fields are at hand."""
    error = problem_error(status, {"request_id": "r", **document}, retry_after=2)
    assert type(error) is kind
    assert str(error) == text
    assert (error.status, error.code, error.request_id, error.retry_after) == (
        status,
        document.get("code", ""),
        "r",
        2,
    )
    assert error.detail == document.get("detail", "")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("model_change_requires_confirmation", sessioncast.ModelChangeRequiresConfirmation),
        ("session_changed", sessioncast.SessionChanged),
    ],
)
def test_a_confirmation_carries_what_to_ask_and_what_to_answer(
    code: str, kind: type[sessioncast.ModelChangeRequiresConfirmation]
) -> None:
    """Whoever catches it can show the session in the way and what differs, and confirm exactly that session."""
    difference = {"result": "changed", "fields": ["name", "params.tools"], "of_a_newer_server": 1}
    more = {"warning": texts.LOSS, "export_url": "/x", "difference": difference}
    error = problem_error(409, {"code": code, **more, **CONFIRM})
    assert isinstance(error, kind)
    assert (error.existing.id, error.existing.active, error.existing.status) == ("0b3c", True, "running")
    assert error.confirmation == {"session_id": "0b3c"}
    assert (error.warning, error.export_url) == (texts.LOSS, "/x")
    assert error.difference == sessioncast.Difference(result="changed", fields=("name", "params.tools"))


def test_what_a_confirmation_was_not_told_is_none() -> None:
    """A refusal that names only the session in the way can be used all the same."""
    error = problem_error(409, {"code": "session_changed", **CONFIRM})
    assert isinstance(error, sessioncast.SessionChanged)
    assert (error.warning, error.export_url, error.difference) == (None, None, None)


def test_a_rejected_start_tells_who_is_there() -> None:
    """`SessionActive` describes the session in the way, as a confirmation does."""
    error = problem_error(409, {"code": "session_active", "existing": EXISTING})
    assert isinstance(error, sessioncast.SessionActive)
    assert error.existing is not None
    assert (error.existing.id, error.existing.user) == ("0b3c", "local")


def test_a_missing_model_is_named() -> None:
    """`ModelNotFound` says which one, where the server does."""
    error = problem_error(422, {"code": "model_not_found", "model": "org/m"})
    assert isinstance(error, sessioncast.ModelNotFound)
    assert error.model == "org/m"


async def test_a_refusal_of_no_request_says_that_it_cannot_be_confirmed() -> None:
    """An exception that somebody made by hand has nothing to repeat, and says so."""
    error = problem_error(409, {"code": "session_changed", **CONFIRM})
    assert isinstance(error, sessioncast.SessionChanged)
    with pytest.raises(sessioncast.SessioncastError, match="nothing to confirm"):
        await error.confirm()
    with pytest.raises(sessioncast.SessioncastError, match="nothing to export"):
        await error.export()


@pytest.mark.parametrize(
    ("status", "document", "retryable"),
    [
        (503, {"code": "unavailable", "retryable": True}, True),
        (409, {"code": "session_being_modified", "retryable": True}, True),
        (503, {"code": "push_disabled", "retryable": True}, True),
        (503, {"code": "of_a_newer_server", "retryable": False}, False),
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
