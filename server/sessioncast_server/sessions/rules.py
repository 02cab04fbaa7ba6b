"""The single-session rule, without a database."""

from enum import Enum
from typing import Literal

from sessioncast_server.models.rules import Difference
from sessioncast_shared.statuses import Status

OnConflict = Literal["ask", "replace", "restart", "reject"]
Reason = Literal["model_changed", "model_minor_change", "restart", "single_session_enabled"]
"""Why a session was replaced; the last: the flag came on, and a newer one kept the slot."""


class Decision(Enum):
    """What a request to start a session leads to."""

    CREATE = "create"
    REJECT = "reject"
    EXISTING = "existing"
    CONFIRM = "confirm"
    CHANGED = "changed"
    REPLACE = "replace"


def decide(
    *,
    live_id: str | None,
    difference: Difference | None,
    on_conflict: OnConflict,
    confirmed_id: str | None,
    treat_minor_as_change: bool = False,
) -> Decision:
    """The first row of the contract's table that fits.

    Args:
        live_id: the session that holds the slot, or None.
        difference: of its model to the wished one.
        confirmed_id: the session that the caller says may go: a compare-and-swap, for ids are never reused.
    """
    if live_id is None or difference is None:
        return Decision.CREATE
    if on_conflict == "reject":
        return Decision.REJECT
    changed = difference.result == "changed" or (difference.result == "minor" and treat_minor_as_change)
    if not changed and on_conflict != "restart":
        return Decision.EXISTING
    if confirmed_id is None or on_conflict == "ask":
        return Decision.CONFIRM
    if confirmed_id != live_id:
        return Decision.CHANGED
    return Decision.REPLACE


def status_when_replaced(status: Status) -> Status:
    """An active session is cancelled by its replacement or deletion; a terminal one keeps its status."""
    return Status.CANCELLED if status.active else status


def reason_of(difference: Difference) -> Reason:
    """Why a session with this difference is replaced; with none it can only be a restart."""
    match difference.result:
        case "changed":
            return "model_changed"
        case "minor":
            return "model_minor_change"
        case _:
            return "restart"
