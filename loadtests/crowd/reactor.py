"""One thread that waits for sockets and instants, with as little of its own as the generator can afford."""

import heapq
import itertools
import select
import time
from collections.abc import Callable

clock = time.monotonic
_IDLE_S = 0.1


class Reactor:
    """Calls back when a descriptor is ready or an instant has come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, fd: int, call: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        """Call with the mask of what `fd` is ready for."""
        self._calls[fd] = call
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for something else."""
        self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Wait no more; to be said before it is closed."""
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def at(self, instant: float, call: Callable[[], None]) -> None:
        """Call once at an instant of `clock`."""
        heapq.heappush(self._timers, (instant, next(self._order), call))

    def run(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until it is done, or for so long; whether it was done."""
        deadline = clock() + seconds
        while not done():
            now = clock()
            if now >= deadline:
                return False
            until = min(deadline, self._timers[0][0]) if self._timers else deadline
            self.turn(min(max(0.0, until - now), _IDLE_S))
        return True

    def turn(self, wait: float = 0) -> None:
        """Do what is ready, after this long at most, then what is due."""
        if wait:
            # epoll counts whole milliseconds, select microseconds; it may be asked about the epoll itself.
            select.select([self._epoll], [], [], wait)
        for fd, mask in self._epoll.poll(0):
            call = self._calls.get(fd)
            if call is not None:  # an earlier one of this turn may have removed it
                call(mask)
        now = clock()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def rest(self, seconds: float) -> None:
        """Go on for so long."""
        self.run(lambda: False, seconds)

    def close(self) -> None:
        """Wait for nothing any more; sockets are their owners'."""
        self._timers.clear()
        self._calls.clear()
        self._epoll.close()
