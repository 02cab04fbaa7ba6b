"""Threads that each own one connection, and run functions on it one after another."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.future import settle
from sessioncast_server.db.pools import Failure, PoolFigures, PoolLimits, PoolMeter, Unmetered

_ABORT_AGAIN_S = 0.25
_FAILURES: dict[str, Failure] = {"connection": "connection", "io": "io", "deadline": "deadline"}


class Link(Protocol):
    """A thread's connection. It connects when it is first needed and again after it broke."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known; asked by its own thread only."""

    def abort(self) -> None:
        """Called from another thread: make the running call fail now, even on a frozen server.

        It may come between two steps of the call and miss; then it is called again.
        """

    def close(self) -> None:
        """Disconnect."""


class State(Enum):
    """Where a job stands. Moves only under the pool's lock, so that a deadline never contradicts an outcome."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    EXPIRED = "expired"


class Job:
    """A function to run on a link, and the future that gets its outcome."""

    __slots__ = ("came", "future", "link", "overdue", "run", "state", "timer")

    def __init__(self, run: Callable[[Any], Any], future: "asyncio.Future[Any]") -> None:
        self.run = run
        self.future = future
        self.came = time.monotonic()
        self.state = State.WAITING
        self.overdue = False
        self.timer: asyncio.TimerHandle | None = None
        self.link: Link | None = None


class Workers:
    """A pool of threads with a connection each, and a bounded queue before them.

    Args:
        make_link: makes a thread's link, without connecting.
    """

    def __init__(
        self, name: str, make_link: Callable[[], Link], limits: PoolLimits, *, meter: PoolMeter | None = None
    ) -> None:
        self._make_link = make_link
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._limits = limits
        self._meter = meter or Unmetered()
        self._closed = False
        self._lock = threading.Lock()
        self._busy = 0
        self._idle = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True) for index in range(limits.size)
        ]
        self._meter.watch(self.figures)
        for thread in self._threads:
            thread.start()

    def figures(self) -> PoolFigures:
        """How many connections there are; two of the numbers may be of different moments."""
        return PoolFigures(self._busy, self._idle, self._limits.size)

    @property
    def waiting(self) -> int:
        """Jobs that wait or run."""
        return self._queue.qsize() + self._busy

    async def run(self, fn: Callable[[Any], Any]) -> Any:
        """The outcome of `fn(link)`, run on one of the threads."""
        if self._closed:
            raise UnavailableError("closed")
        limits = self._limits
        if self._queue.qsize() >= limits.queue_max:
            self._meter.failed("queue")
            raise UnavailableError("queue", f"{limits.queue_max} calls wait already")
        loop = asyncio.get_running_loop()
        job = Job(fn, loop.create_future())
        job.timer = loop.call_later(min(limits.wait_s, limits.deadline_s), self._look_at, job)
        self._queue.put(job)
        try:
            return await job.future
        finally:
            if job.state is not State.RUNNING:  # whoever left, the call keeps its deadline
                job.timer.cancel()

    async def close(self) -> None:
        """Finish what is queued, then end the threads."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _look_at(self, job: Job) -> None:
        """At the end of the time to wait, and at that of the whole call."""
        waited_s, limits = time.monotonic() - job.came, self._limits
        # Under the lock: the job's link cannot have moved on to another job meanwhile.
        with self._lock:
            again_s = None
            if job.state is State.RUNNING and job.link is not None:
                again_s = limits.deadline_s - waited_s
                if again_s <= 0:
                    job.overdue = True
                    job.link.abort()
                    again_s = _ABORT_AGAIN_S
                job.timer = job.future.get_loop().call_later(again_s, self._look_at, job)
            if job.state is not State.WAITING:
                return
            job.state = State.EXPIRED
        self._meter.waited(waited_s)
        reason: Failure = "deadline" if limits.deadline_s <= limits.wait_s else "pool"
        self._meter.failed(reason)
        settle(job.future, None, UnavailableError(reason, "waited too long for a connection"))

    def _claim(self, job: Job, link: Link, *, connected: bool) -> bool:
        with self._lock:
            if job.state is State.EXPIRED or job.future.cancelled():
                return False
            job.state, job.link = State.RUNNING, link
            self._busy += 1
            self._idle -= connected
        self._meter.waited(time.monotonic() - job.came)
        return True

    def _release(self, job: Job, *, connected: bool) -> None:
        with self._lock:
            job.state, job.link = State.ENDED, None
            self._busy -= 1
            self._idle += connected

    def _next(self, link: Link, *, connected: bool) -> tuple[Job | None, bool]:
        """What to do next (None: end), and whether there still is a connection: one that nobody needs is closed."""
        if connected and self._limits.idle_s is not None:
            try:
                return self._queue.get(timeout=self._limits.idle_s), True
            except queue.Empty:
                link.close()
                with self._lock:
                    self._idle -= 1
                connected = False
        return self._queue.get(), connected

    def _work(self) -> None:
        link = self._make_link()
        connected = False  # as it was counted: what the link itself says may change with an abort that came late
        while True:
            job, connected = self._next(link, connected=connected)
            if job is None:
                break
            if not self._claim(job, link, connected=connected):
                continue
            value, error = None, None
            try:
                value = job.run(link)
            except BaseException as caught:  # noqa: BLE001  whatever it was belongs to the waiter
                error = caught
            connected = link.connected
            self._release(job, connected=connected)
            if isinstance(error, UnavailableError):
                error = self._judged(job, error)
            loop = job.future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, job.future, value, error)
            del job, value, error  # an idle thread keeps nothing alive
        with self._lock:
            self._idle -= connected
        link.close()

    def _judged(self, job: Job, error: UnavailableError) -> UnavailableError:
        """What the caller is told, counted if it is about the pool."""
        if job.overdue:
            error = UnavailableError("deadline", str(error))
        failure = _FAILURES.get(error.reason)
        if failure is not None:
            self._meter.failed(failure)
        return error
