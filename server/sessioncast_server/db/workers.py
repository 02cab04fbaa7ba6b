"""Threads that each own one connection, and run functions on it one after another."""

import asyncio
import queue
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.future import settle

_ABORT_AGAIN_S = 0.25


class Link(Protocol):
    """A thread's connection. It connects when it is first needed and again after it broke."""

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

    __slots__ = ("future", "link", "overdue", "run", "state", "timer")

    def __init__(self, run: Callable[[Any], Any], future: "asyncio.Future[Any]") -> None:
        self.run = run
        self.future = future
        self.state = State.WAITING
        self.overdue = False
        self.timer: asyncio.TimerHandle | None = None
        self.link: Link | None = None


class Workers:
    """A pool of threads with a connection each, and a bounded queue before them.

    Args:
        make_link: makes a thread's link, without connecting.
        size: threads.
        queue_max: jobs that may wait; one more is refused with UnavailableError("queue").
        deadline_s: seconds a job may take from submission, then its link is aborted.
    """

    def __init__(
        self, name: str, make_link: Callable[[], Link], *, size: int, queue_max: int, deadline_s: float
    ) -> None:
        self._make_link = make_link
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._queue_max = queue_max
        self._deadline_s = deadline_s
        self._closed = False
        self._lock = threading.Lock()
        self._busy = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True) for index in range(size)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that wait or run."""
        return self._queue.qsize() + self._busy

    async def run(self, fn: Callable[[Any], Any]) -> Any:
        """The outcome of `fn(link)`, run on one of the threads."""
        if self._closed:
            raise UnavailableError("closed")
        if self._queue.qsize() >= self._queue_max:
            raise UnavailableError("queue", f"{self._queue_max} calls wait already")
        loop = asyncio.get_running_loop()
        job = Job(fn, loop.create_future())
        job.timer = loop.call_later(self._deadline_s, self._expire, job)
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

    def _expire(self, job: Job) -> None:
        # Under the lock: the job's link cannot have moved on to another job meanwhile.
        with self._lock:
            if job.state is State.RUNNING and job.link is not None:
                job.overdue = True
                job.link.abort()
                job.timer = job.future.get_loop().call_later(_ABORT_AGAIN_S, self._expire, job)
            elif job.state is State.WAITING:
                job.state = State.EXPIRED
                settle(job.future, None, UnavailableError("deadline", "waited too long for a connection"))

    def _claim(self, job: Job, link: Link) -> bool:
        with self._lock:
            if job.state is State.EXPIRED or job.future.cancelled():
                return False
            job.state, job.link = State.RUNNING, link
            self._busy += 1
            return True

    def _release(self, job: Job) -> None:
        with self._lock:
            job.state, job.link = State.ENDED, None
            self._busy -= 1

    def _work(self) -> None:
        link = self._make_link()
        while (job := self._queue.get()) is not None:
            if not self._claim(job, link):
                continue
            value, error = None, None
            try:
                value = job.run(link)
            except BaseException as caught:  # noqa: BLE001  whatever it was belongs to the waiter
                error = caught
            self._release(job)
            if job.overdue and isinstance(error, UnavailableError):
                error = UnavailableError("deadline", str(error))
            loop = job.future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, job.future, value, error)
            del job, value, error  # an idle thread keeps nothing alive
        link.close()
