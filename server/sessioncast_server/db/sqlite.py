"""SQLite behind the database seam: one process per file, one writer thread, readers of their own."""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Concatenate, ParamSpec, TypeVar, cast

from sessioncast_server.db.database import Appender, CommitListener, Written
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.future import settle
from sessioncast_server.db.life import LifeFile, count_of
from sessioncast_server.db.pools import PoolLimits, PoolMeter, PoolName, unmetered
from sessioncast_server.db.sqlite_link import SqliteLink
from sessioncast_server.db.sqlite_writer import Group, GroupLimits, SqliteWriter, WriteJob
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.workers import Workers

T = TypeVar("T")
P = ParamSpec("P")


class SqliteDatabase:
    """A SQLite file.

    Args:
        path: the file; migrations have made it.
        limits: bounds of a commit group.
        read_threads: connections for requests; the hub has one more.
        queue_max: writes, and reads, that may wait; one more is refused.
        write_deadline_s, read_deadline_s: seconds a call may take, waiting included; then it is interrupted.
        busy_s: seconds to wait for a lock that a job of another process holds.
        pool_wait_s: seconds a read may wait for a reading connection.
        meter: makes what hears of a pool of them.
    """

    def __init__(
        self,
        path: Path,
        appender: Appender,
        *,
        limits: GroupLimits | None = None,
        read_threads: int = 4,
        queue_max: int = 1000,
        write_deadline_s: float = 10.0,
        read_deadline_s: float = 10.0,
        busy_s: float = 5.0,
        pool_wait_s: float = 5.0,
        meter: Callable[[PoolName], PoolMeter] = unmetered,
    ) -> None:
        self._path = path
        self._appender = appender
        self._limits = limits or GroupLimits()
        self._read_threads = read_threads
        self._queue_max = queue_max
        self._write_deadline_s = write_deadline_s
        self._read_deadline_s = read_deadline_s
        self._busy_s = busy_s
        self._pool_wait_s = pool_wait_s
        self._meter = meter
        self._in_flight = 0
        self._turn: list[WriteJob] = []
        self._closed = False
        self._lock_file: IO[str] | None = None
        self.log_went_back = False

    async def open(self, listener: CommitListener) -> None:
        """Take the file's lock, compare it with its past, start the threads.

        Raises:
            UnavailableError: another server has the file, or it cannot be opened.
        """
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._lock_file = lock(self._path)
        link = self._link(writer=True)
        try:
            counted = count_of(link.connection())
            self._life = LifeFile(self._path)
        except (sqlite3.Error, UnavailableError, OSError) as error:
            link.close()
            self._lock_file.close()
            self._lock_file = None
            raise UnavailableError("io", f"{self._path}: {error}") from error
        # The side file keeps the sign until the next commit, the rotation: who dies before that must see it again.
        self.log_went_back = counted < self._life.count
        self._writer = SqliteWriter(link, self._life, self._appender, limits=self._limits, deliver=self._deliver)
        self._readers = self._workers("read", self._read_threads)
        self._observers = self._workers("observe", 1)

    async def write(self, fn: Callable[Concatenate[WriteTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> Written[T]:
        """Run `fn(tx, …)` on the writer thread, in a group."""
        if self._closed:
            raise UnavailableError("closed")
        if self._in_flight >= self._queue_max:
            raise UnavailableError("queue", f"{self._queue_max} writes wait already")
        deadline = time.monotonic() + self._write_deadline_s
        job = WriteJob(fn, args, kwargs, self._loop.create_future(), deadline)
        self._in_flight += 1
        if not self._turn:
            # What comes in one turn of the loop is handed over at its end: the writer would else begin with the
            # first of them, alone, and fight the loop for the interpreter over the rest.
            self._loop.call_soon(self._hand_over)
        self._turn.append(job)
        return cast("Written[T]", await job.future)

    def _hand_over(self) -> None:
        jobs, self._turn = self._turn, []
        for job in jobs:
            self._writer.submit(job)

    async def read(self, fn: Callable[Concatenate[ReadTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, …)` on one snapshot."""
        return cast("T", await self._readers.run(lambda link: link.read(fn, *args, **kwargs)))

    async def observe(self, fn: Callable[Concatenate[ReadTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, on the hub's own thread."""
        return cast("T", await self._observers.run(lambda link: link.read(fn, *args, **kwargs)))

    def busy(self) -> int:
        """Writes that wait or run."""
        return self._in_flight

    async def close(self) -> None:
        """Finish what is queued, end the threads, give the lock back."""
        if self._closed or self._lock_file is None:
            return
        self._closed = True
        self._hand_over()
        await asyncio.to_thread(self._writer.stop)
        await self._readers.close()
        await self._observers.close()
        await asyncio.sleep(0)  # outcomes handed over by the threads are settled first
        self._life.close()
        self._lock_file.close()

    def _link(self, *, writer: bool) -> SqliteLink:
        return SqliteLink(self._path, writer=writer, busy_s=self._busy_s)

    def _workers(self, name: PoolName, size: int) -> Workers:
        limits = PoolLimits(size, self._queue_max, self._read_deadline_s, self._pool_wait_s)
        return Workers(f"sqlite-{name}", lambda: self._link(writer=False), limits, meter=self._meter(name))

    def _deliver(self, group: Group) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, group)

    def _settle(self, group: Group) -> None:
        """Announce first, answer second: whoever reads the answer finds the hub up to date."""
        self._in_flight -= len(group.jobs)
        announcements = [announcement for job in group.jobs for announcement in job.announcements]
        try:
            if announcements:
                self._listener.timed(group.seconds, len(group.jobs))
                self._listener.committed(announcements)
            if group.doubtful:
                self._listener.doubtful()
        finally:  # committed is committed: a listener that fails keeps no one waiting
            for job in group.jobs:
                settle(job.future, job.written, job.error)


def lock(path: Path) -> IO[str]:
    """The file's lock, held until it is closed: one server process per SQLite file.

    Raises:
        UnavailableError: another process has it, or the folder does not take files.
    """
    name = path.with_name(path.name + ".lock")
    try:
        handle = os.fdopen(os.open(name, os.O_CREAT | os.O_RDWR, 0o600), "r+")
    except OSError as error:
        raise UnavailableError("io", f"{name}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise UnavailableError("locked", f"another sessioncast server has {path} open") from error
    return handle


def path_of(url: str) -> Path:
    """The file of a `sqlite:///relative` or `sqlite:////absolute` URL.

    Raises:
        ValueError: not such a URL, or an in-memory one (nothing acknowledged there would be durable).
    """
    prefix, _, rest = url.partition(":///")
    if prefix != "sqlite" or not rest or rest == ":memory:":
        raise ValueError(f"not the URL of a SQLite file: {url!r}")
    return Path(rest)
