"""What a flag means for a project: plain arithmetic, the same on every machine."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

SHIPPED = 100.0
"""Percentage of a flag that was never changed: on, for all."""

_BUCKETS = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Flag(StrEnum):
    """Behaviour that is switched at run time."""

    SINGLE_SESSION = "single_session_enabled"
    PESSIMISTIC_LOCKING = "pessimistic_locking_enabled"
    SESSION_RESUME = "session_resume_enabled"
    PUSH = "push_enabled"


@dataclass(frozen=True, slots=True)
class FlagState:
    """How a flag is set.

    Attributes:
        percentage: share of projects it is on for, 0 to 100.
        updated_at, updated_by: of the last change; None for a flag that is as it was shipped.
    """

    flag: Flag
    percentage: float
    updated_at: datetime | None = None
    updated_by: str | None = None

    @property
    def state(self) -> str:
        """`on`, `off` or `percentage`."""
        return {0.0: "off", 100.0: "on"}.get(self.percentage, "percentage")

    @property
    def version(self) -> int:
        """Rises with every change, 0 before the first: microseconds of the last one since 1970."""
        return 0 if self.updated_at is None else (self.updated_at - _EPOCH) // timedelta(microseconds=1)

    def resource(self) -> dict[str, Any]:
        """As `sessioncast_shared.resources.Flag` has it, without `settled`."""
        return {
            "name": self.flag.value,
            "state": self.state,
            "percentage": self.percentage,
            "updated_at": self.updated_at,
            "updated_by": self.updated_by,
        }


def bucket_of(flag: Flag, project_id: str) -> int:
    """Where a project stands among the buckets of a flag, 0 to 9,999.

    The flag's name is hashed too, so that it is not always the same projects that are the first to get something new.
    """
    digest = hashlib.sha256(f"{flag.value}:{project_id}".encode()).digest()
    return int.from_bytes(digest[:8]) % _BUCKETS


def is_on(flag: Flag, percentage: float, project_id: str) -> bool:
    """Whether a flag that is on for this share of projects (0 to 100) is on for this one.

    Monotone: what is on at 5 % is on at 25 %. At 0 no project is, at 100 every one.
    """
    if percentage in (0, 100):
        return percentage == 100  # the common cases need no hash
    # The bucket is what is divided: multiplied, 0.07 % would be 7.000000000000001 buckets, and one too many.
    return bucket_of(flag, project_id) / (_BUCKETS / 100) < percentage
