"""How often to poll, and how much silence is too much. No I/O, no clock."""

import random
from collections.abc import Callable, Iterable
from typing import Literal

from sessioncast_shared.statuses import Status

FIRST_S = 2.0
"""The pace while something is going on, and the first one of quiet."""
GROWTH = 1.5
SLOWEST_S = 30.0
SPREAD = 0.1
"""A real interval is its pace, give or take this share of it."""
PUSH_SILENCE_S = 30.0
"""Twice the server's heartbeat."""

_BUSY = frozenset({Status.PENDING, Status.RUNNING, Status.WORKING, Status.WAITING})
_TERMINAL = frozenset(status for status in Status if not status.active)


class Pace:
    """The pace of one subscription's polls.

    Attributes:
        seconds: to the next poll; None: none, until something else is heard or asked.
    """

    def __init__(self, *, only_sessions: bool, jitter: Callable[[], float] = random.random) -> None:
        """Begin at the first pace.

        Args:
            only_sessions: whether the filter names sessions and nothing else, so that no new ones can come.
            jitter: gives a number from 0 up to 1.
        """
        self.seconds: float | None = FIRST_S
        self._only_sessions = only_sessions
        self._jitter = jitter
        self._quiet: float | None = None

    def polled(self, statuses: Iterable[str], *, changed: bool) -> float | None:
        """The pace after a poll: 2 s while a session works, then ever slower, none when nothing can come any more.

        Args:
            statuses: of all live sessions that the filter covers, as they are after the poll.
            changed: whether the poll told anything new.
        """
        known = set(statuses)
        if known & _BUSY:
            self._quiet, self.seconds = None, FIRST_S
        elif self._only_sessions and known and known <= _TERMINAL:
            self._quiet, self.seconds = None, None
        else:
            begins = changed or self._quiet is None
            self._quiet = FIRST_S if begins else min(SLOWEST_S, (self._quiet or FIRST_S) * GROWTH)
            self.seconds = self._quiet
        return self.seconds

    def again(self) -> None:
        """Something was heard or asked by another way: begin at the first pace."""
        self._quiet, self.seconds = None, FIRST_S

    def interval_s(self) -> float | None:
        """Seconds to wait now: the pace give or take 10 %, so that clients do not poll in step."""
        return None if self.seconds is None else self.seconds * (1 - SPREAD + 2 * SPREAD * self._jitter())


def is_stale(
    transport: Literal["push", "poll"], pace_s: float | None, silent_s: float, *, push_s: float = PUSH_SILENCE_S
) -> bool:
    """Whether what is shown may be out of date: nothing was heard for more than twice as long as it should take.

    Args:
        pace_s: of the polls; without one nothing is expected. Push has a pace of its own.
        push_s: twice that.
    """
    if transport == "push":
        return silent_s > push_s
    return pace_s is not None and silent_s > 2 * pace_s
