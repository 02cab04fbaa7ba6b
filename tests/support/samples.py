"""Documents as a server sends them, for scripted servers."""

from typing import Any

AT = "2026-01-01T00:00:00Z"

TASK: dict[str, Any] = {"id": "t", "project_id": "p", "title": "T", "version": 1, "created_at": AT, "updated_at": AT}

SESSION: dict[str, Any] = {
    **dict.fromkeys(("created_at", "updated_at", "last_activity_at"), AT),
    "id": "s",
    "project_id": "p",
    "task_id": "t",
    "phase": "run",
    "debug": False,
    "model": {"name": "m"},
    "user": "u",
    "status": "pending",
    "active": True,
    "version": 1,
    "fence": 1,
    "output_seq": 0,
    "a_field_of_a_newer_server": 1,
}

SHOWN = ("id", "model", "agent", "user", "status", "active", "created_at", "last_activity_at")


def refusal(code: str, *, existing: str, **more: Any) -> dict[str, Any]:
    """A 409 that names the session in the way."""
    session = {**SESSION, "id": existing, "agent": None, "status": "running", **more}
    return {
        "code": code,
        "status": 409,
        "detail": "Why.",
        "retryable": False,
        "existing": {name: session[name] for name in SHOWN},
        "confirm": {"session_id": existing},
    }
