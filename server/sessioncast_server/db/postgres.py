"""PostgreSQL behind the database seam: psycopg in a few threads, pools for writes, reads and the hub apart."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sessioncast_server.broker.base import Announcement
from sessioncast_server.db.database import Appender, CommitListener, Written
from sessioncast_server.db.errors import CommitUnknownError, DatabaseError, LockTimeoutError, UnavailableError
from sessioncast_server.db.lines import Lines, Place
from sessioncast_server.db.pools import PoolLimits, PoolMeter, PoolName, unmetered
from sessioncast_server.db.postgres_link import PostgresLink
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.workers import Workers

T = TypeVar("T")
P = ParamSpec("P")

_LOCK_SLICE_S = 0.025
_LOCK_PAUSE_S = 0.002
_LOCK_PAUSE_MAX_S = 0.2


class PostgresDatabase:
    """A PostgreSQL database.

    Args:
        url: `postgresql://…`.
        write_threads, read_threads: connections for each; the hub has one more.
        queue_max: calls that may wait in each pool, and in lines for locks; one more is refused.
        lock_timeout_s: seconds to wait for a row: attempts, pauses and standing in line together.
        write_deadline_s, read_deadline_s: seconds a call may take, waiting included; then its socket is shut.
        connect_timeout_s: seconds to wait for a connection to the server.
        pool_wait_s: seconds to wait for one of the pool's.
        idle_s: a connection that was not used for so long is closed.
        meter: makes what hears of a pool.
    """

    def __init__(
        self,
        url: str,
        appender: Appender,
        *,
        write_threads: int = 4,
        read_threads: int = 4,
        queue_max: int = 1000,
        lock_timeout_s: float = 5.0,
        write_deadline_s: float = 10.0,
        read_deadline_s: float = 10.0,
        connect_timeout_s: int = 5,
        pool_wait_s: float = 5.0,
        idle_s: float = 300.0,
        meter: Callable[[PoolName], PoolMeter] = unmetered,
    ) -> None:
        self._url = url
        self._appender = appender
        self._sizes = (write_threads, read_threads)
        self._queue_max = queue_max
        self._lock_timeout_s = lock_timeout_s
        self._deadlines = (write_deadline_s, read_deadline_s)
        self._connect_timeout_s = connect_timeout_s
        self._pool_wait_s = pool_wait_s
        self._idle_s = idle_s
        self._meter = meter
        self._lines = Lines(queue_max)
        self._patient, self._patient_max = 0, write_threads // 2
        self.log_went_back = False

    async def open(self, listener: CommitListener) -> None:
        """Start the threads and prove that the database answers.

        Raises:
            UnavailableError: it does not.
        """
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._writers = self._workers("write", self._sizes[0], self._deadlines[0])
        self._readers = self._workers("read", self._sizes[1], self._deadlines[1])
        self._observers = self._workers("observe", 1, self._deadlines[1])
        try:
            await self.observe(lambda tx: None)  # noqa: ARG005  the transaction itself is the question
        except DatabaseError:
            await self.close()
            raise

    async def write(self, fn: Callable[Concatenate[WriteTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> Written[T]:
        """Run `fn(tx, …)` on one of the writing connections.

        A lock is waited for in the database for a moment, in turn with others. Those who have not got it by then stand
        in line for it, without a connection; the first of a line asks again and again, and who is served makes way for
        the next. No more than half of the connections are kept by first ones who wait for a moment each time; the first
        ones of further lines ask without waiting, with growing pauses: those who wait for a task that somebody keeps
        must not keep those waiting who want another one.
        """
        loop = asyncio.get_running_loop()
        began = asked = loop.time()
        ends = began + self._lock_timeout_s
        job = partial(_called, fn, args, kwargs)
        place, tries, paused = Place(self._lines), 0, 0
        try:
            while True:
                asked = loop.time()
                try:
                    written: Written[T] = await self._ask(job, place, again=tries > 0)
                    break
                except LockTimeoutError as error:
                    tries += 1
                    if place.move(error.key):
                        paused = 0
                    if not await self._next_try(place, ends, paused):
                        if error.of == "row":
                            raise
                        raise UnavailableError("busy", str(error)) from error
                    paused += 1
        finally:
            place.leave()
        if tries:
            waited_s = asked - began + written.effort.waited_s
            written = replace(written, effort=replace(written.effort, contended=True, waited_s=waited_s))
        return written

    async def _ask(self, job: Callable[[WriteTx], T], place: Place, *, again: bool) -> Written[T]:
        """One try: the first one is patient, a later one while few are."""
        kept = again and place.key is not None and self._patient < self._patient_max
        self._patient += kept
        try:
            patient = kept or not again
            return cast("Written[T]", await self._writers.run(partial(self._write, job, patient=patient)))
        finally:
            self._patient -= kept

    async def _next_try(self, place: Place, ends: float, paused: int) -> bool:
        """Wait for what comes before another try; whether there is time for one."""
        loop = asyncio.get_running_loop()
        left_s = ends - loop.time()
        if left_s <= 0 or not await place.first(left_s):
            return False
        if place.key is None or self._patient >= self._patient_max:
            pause_s = random.uniform(0, min(_LOCK_PAUSE_S * 2**paused, _LOCK_PAUSE_MAX_S))  # noqa: S311  spreads rivals
            await asyncio.sleep(min(pause_s, max(0.0, ends - loop.time())))
        return True

    async def read(self, fn: Callable[Concatenate[ReadTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, …)` on one snapshot."""
        return cast("T", await self._readers.run(lambda link: link.read(fn, *args, **kwargs)))

    async def observe(self, fn: Callable[Concatenate[ReadTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, on the hub's own connection."""
        return cast("T", await self._observers.run(lambda link: link.read(fn, *args, **kwargs)))

    def busy(self) -> int:
        """Writes that wait or run."""
        return self._writers.waiting

    async def close(self) -> None:
        """Finish what is queued, end the threads."""
        for workers in (self._writers, self._readers, self._observers):
            await workers.close()
        await asyncio.sleep(0)  # outcomes handed over by the threads are settled first

    def _workers(self, name: PoolName, size: int, deadline_s: float) -> Workers:
        limits = PoolLimits(size, self._queue_max, deadline_s, self._pool_wait_s, self._idle_s)
        return Workers(f"postgres-{name}", self._link, limits, meter=self._meter(name))

    def _link(self) -> PostgresLink:
        return PostgresLink(
            self._url,
            self._appender,
            lock_timeout_s=min(_LOCK_SLICE_S, self._lock_timeout_s),
            connect_timeout_s=self._connect_timeout_s,
        )

    def _write(self, fn: Callable[[WriteTx], T], link: PostgresLink, *, patient: bool) -> Written[T]:
        try:
            written, announcements, seconds = link.write(fn, patient=patient)
        except CommitUnknownError:
            self._tell(self._listener.doubtful)
            raise
        if announcements:
            self._tell(self._announce, announcements, seconds)
        return written

    def _tell(self, listener: Callable[..., None], *what: object) -> None:
        """Handed to the loop before the outcome is: announced first, answered second."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(listener, *what)

    def _announce(self, announcements: list[Announcement], seconds: float) -> None:
        self._listener.timed(seconds, 1)
        self._listener.committed(announcements)


def _called(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], tx: WriteTx) -> T:
    return fn(tx, *args, **kwargs)
