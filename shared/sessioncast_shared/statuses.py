"""Statuses of a session and the moves between them."""

from enum import StrEnum


class Status(StrEnum):
    """Where a session stands. The first five are active, the rest terminal."""

    PENDING = "pending"
    RUNNING = "running"
    WORKING = "working"
    WAITING = "waiting"
    IDLE = "idle"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether work may still happen."""
        return self not in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


def may_move(old: Status, new: Status) -> bool:
    """Whether a writer may set `new` on a session that stands at `old`.

    Any active status moves to any other except back to `pending`; terminal ones do not move (a resume
    makes them `pending` again, by its own path). Setting what is already set is always allowed.
    """
    return old is new or (old.active and new is not Status.PENDING)
