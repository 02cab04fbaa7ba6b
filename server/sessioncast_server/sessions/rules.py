"""The single-session rule, without a database."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from sessioncast_shared.statuses import Status

OnConflict = Literal["ask", "replace", "restart", "reject"]


class Decision(Enum):
    """What a request to start a session leads to."""

    CREATE = "create"
    REJECT = "reject"
    EXISTING = "existing"
    CONFIRM = "confirm"
    CHANGED = "changed"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a wished model differs from that of the live session.

    Attributes:
        result: `same` or `changed`.
        fields: what differs: `name`, `version`, `params.<name>`.
    """

    result: Literal["same", "changed"]
    fields: tuple[str, ...] = ()


def compare(old: dict[str, Any], new: dict[str, Any]) -> Difference:
    """Whether two models are equal: name, version and parameters."""
    differing = [name for name in ("name", "version") if old.get(name) != new.get(name)]
    old_params, new_params = old.get("params") or {}, new.get("params") or {}
    missing = object()
    differing += [
        f"params.{name}"
        for name in sorted(old_params.keys() | new_params.keys())
        if not _equal(old_params.get(name, missing), new_params.get(name, missing))
    ]
    return Difference("changed", tuple(differing)) if differing else Difference("same")


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: as Python's `==`, but that `true` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def decide(
    *, live_id: str | None, difference: Difference | None, on_conflict: OnConflict, confirmed_id: str | None
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
    if difference.result == "same" and on_conflict != "restart":
        return Decision.EXISTING
    if confirmed_id is None or on_conflict == "ask":
        return Decision.CONFIRM
    if confirmed_id != live_id:
        return Decision.CHANGED
    return Decision.REPLACE


def status_when_replaced(status: Status) -> Status:
    """An active session is cancelled by its replacement or deletion; a terminal one keeps its status."""
    return Status.CANCELLED if status.active else status
