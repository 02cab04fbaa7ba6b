"""The pace at which streams are opened: a storm of them must not keep the loop from those already open."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

LEAST = 4
"""Openings a loop turn lets through however slow turns are, about a millisecond's work: a storm ends on a busy node."""
MOST = 32
"""Openings a loop turn lets through at most: even at a quarter of a millisecond each, others wait 8 ms for them."""
FIRST = 8
"""Openings the first turn lets through, before any was timed."""
LONG_S = 0.005
"""A turn that took longer halves the number."""
SHORT_S = 0.0025
"""A turn that took less, and let through as many as it might, raises the number by one."""


class GateFullError(Exception):
    """As many wait already as may."""


class Gate:
    """Lets openers through in order of arrival, per loop turn as many as the last turns say are cheap.

    What is timed is a whole turn of the loop, from one call of `_turn` to the next: what openers do after the gate
    is in it, in whichever turn they do it, and so is everybody else's work. While nobody comes, nothing runs.

    Args:
        waiting_max: openers that may wait.
        clock: seconds; the loop's own would not do, for it stands still within a turn.

    Attributes:
        quota: openings that a turn lets through as things are.
    """

    def __init__(self, waiting_max: int, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._waiting_max = waiting_max
        self._clock = clock
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._passed = 0  # in the turn that runs
        self._began: float | None = None  # of the turn that is timed; None while none is
        self._open_wide = False
        self.quota = FIRST

    @property
    def waiting(self) -> int:
        """Openers that wait."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Go on when it is one's turn: at once, without a switch of tasks, while few come and nobody waits.

        Raises:
            GateFullError: too many wait.
        """
        if self._open_wide:
            return
        if not self._waiters and self._passed < self.quota:
            self._passed += 1
            self._time()
            return
        if len(self._waiters) >= self._waiting_max:
            raise GateFullError
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        self._time()
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)  # who gives up leaves no hole in the line

    def open_wide(self) -> None:
        """Let everybody through, now and from now on: the node drains, and all there is for them is a goodbye."""
        self._open_wide = True
        self._release(len(self._waiters))

    def _time(self) -> None:
        if self._began is None:
            self._began = self._clock()
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        now = self._clock()
        took, used = now - (now if self._began is None else self._began), self._passed
        self._passed = 0
        if took > LONG_S:
            self.quota = max(LEAST, self.quota // 2)
        elif took < SHORT_S and used >= self.quota:
            self.quota = min(MOST, self.quota + 1)
        self._passed = self._release(self.quota)
        if used or self._waiters or self._passed:
            # Once more after the last ones, so that the turn in which they went on is timed too.
            self._began = now
            asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._began = None

    def _release(self, count: int) -> int:
        released = 0
        while self._waiters and released < count:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():  # else it was cancelled, and has not run since
                waiter.set_result(None)
                released += 1
        return released
