"""The table of what a session operation may be refused with."""

from typing import Any

from sessioncast_server.models.rules import Difference
from sessioncast_server.problems import Problem
from sessioncast_server.sessions.record import Record
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_SHOWN = ("id", "model", "agent", "user", "status", "active", "created_at", "last_activity_at")


def model_missing(record: Record) -> Problem:
    """The session's model was deleted: it may be fed, ended, deleted and replaced, not changed."""
    return Problem(422, Code.MODEL_NOT_FOUND, texts.MODEL_MISSING, model=record.model_name)


def session_active(live: Record) -> Problem:
    """The caller wanted to be rejected when anything is live."""
    return Problem(409, Code.SESSION_ACTIVE, "A session is live in this phase.", existing=_existing(live))


def confirmation_required(live: Record, difference: Difference) -> Problem:
    """A replacement has to be confirmed by the id of what it replaces."""
    return Problem(409, Code.CONFIRMATION_REQUIRED, texts.CONFIRM, **_to_confirm(live, difference))


def session_changed(live: Record, difference: Difference) -> Problem:
    """Another session than the confirmed one is live by now; it may be confirmed in its turn."""
    detail = "Another session is live in this phase by now."
    return Problem(409, Code.SESSION_CHANGED, detail, **_to_confirm(live, difference))


def session_replaced(record: Record) -> Problem:
    """A write to a session that another one replaced."""
    return Problem(
        409,
        Code.SESSION_REPLACED,
        "This session was replaced.",
        replaced_by=record.replaced_by,
        replaced_at=record.deleted_at,
        by=record.deleted_by,
    )


def session_deleted(record: Record) -> Problem:
    """A write to a session that was deleted."""
    return Problem(409, Code.SESSION_DELETED, "This session was deleted.", deleted_at=record.deleted_at)


def illegal_transition(record: Record, wanted: str) -> Problem:
    """A move between statuses that there is not."""
    detail = f"A session cannot go from {record.status} to {wanted}."
    return Problem(409, Code.ILLEGAL_TRANSITION, detail, status_now=record.status, status_wanted=wanted)


def fenced(record: Record) -> Problem:
    """A write by a holder that lost the session to another."""
    return Problem(409, Code.FENCED, "Another holder has taken this session over.", fence=record.fence)


def _existing(live: Record) -> dict[str, Any]:
    resource = live.resource()
    return {name: resource[name] for name in _SHOWN}


def _to_confirm(live: Record, difference: Difference) -> dict[str, Any]:
    return {
        "warning": texts.LOSS,
        "difference": {"result": difference.result, "fields": list(difference.fields)},
        "existing": _existing(live),
        "export_url": f"/v1/sessions/{live.id}/export",
        "confirm": {"session_id": live.id},
    }
