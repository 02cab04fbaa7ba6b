"""The pace at which streams are opened: a storm of them must not keep the loop from those already open."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

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
        self._waiters: OrderedDict[object, Callable[[], bool]] = OrderedDict()
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
        if self.passes():
            return
        waiter = asyncio.get_running_loop().create_future()
        self.wait(waiter, partial(_wake, waiter))
        try:
            await waiter
        finally:
            self.forget(waiter)  # who gives up leaves no hole in the line

    def passes(self) -> bool:
        """Whether an opener may go on at once; then it has been counted."""
        if self._open_wide:
            return True
        if self._waiters or self._passed >= self.quota:
            return False
        self._passed += 1
        self._time()
        return True

    def wait(self, opener: object, go: Callable[[], bool]) -> None:
        """Stand in line: `go` is called when it is one's turn, and says whether the turn was used.

        Raises:
            GateFullError: too many wait.
        """
        if len(self._waiters) >= self._waiting_max:
            raise GateFullError
        self._waiters[opener] = go
        self._time()

    def forget(self, opener: object) -> None:
        """Leave the line. Harmless for whoever is not in it."""
        self._waiters.pop(opener, None)

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
            _, go = self._waiters.popitem(last=False)
            released += go()
        return released


def _wake(waiter: "asyncio.Future[None]") -> bool:
    if waiter.done():  # it was cancelled, and has not run since
        return False
    waiter.set_result(None)
    return True
