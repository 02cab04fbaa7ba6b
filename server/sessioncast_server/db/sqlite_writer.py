"""The one thread that writes to SQLite, and commits in groups.

A group is one `BEGIN IMMEDIATE … COMMIT` with a savepoint per function: one fsync serves all that came while the
last one was under way. SQLITE_FULL, SQLITE_INTERRUPT and a few more undo the whole transaction, savepoints and all;
SQLite then runs in autocommit, where the next SAVEPOINT would open a transaction of its own and its RELEASE commit
it. So after every failure `in_transaction` is asked: if it is gone the group is dead, and every function but the one
that killed it runs again, alone, refused ones too, for what they were refused for may be undone. A function that
swallows such an error gets no further: each of its later statements would be a transaction of its own.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sessioncast_server.broker.base import Announcement
from sessioncast_server.db.database import Appender, Effort, Written
from sessioncast_server.db.errors import CommitUnknownError, UnavailableError
from sessioncast_server.db.life import LifeFile, bump
from sessioncast_server.db.sqlite_link import SqliteLink, as_unavailable, translate
from sessioncast_server.db.statement import SQLITE
from sessioncast_server.db.transaction import WriteTx
from sessioncast_shared.position import Position

_COMMIT_TRIES = 50
_COMMIT_PAUSE_S = 0.02
_AT_ONCE_S = 0.005  # a turn that came sooner was not waited for: it is about what a commit takes
_GRACE_S = 1.0  # for each that was in time before another one spent its time


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Bounds of one group: functions, and seconds from its BEGIN until no more are taken."""

    functions: int = 64
    seconds: float = 0.005


@dataclass(slots=True, eq=False)
class WriteJob:
    """A function to run in a transaction, and what came of it.

    Attributes:
        deadline: on the monotonic clock, waiting included; what has not ended by then is interrupted.
        wrote: whether it changed anything.
        submitted: when it began to wait, on the monotonic clock.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: "asyncio.Future[Any]"
    deadline: float = float("inf")
    written: Written[Any] | None = None
    error: BaseException | None = None
    wrote: bool = False
    submitted: float = field(default_factory=time.monotonic)
    announcements: list[Announcement] = field(default_factory=list)

    def check(self) -> None:
        """Is it still worth running?

        Raises:
            UnavailableError: its time is up.
        """
        if time.monotonic() > self.deadline:
            raise UnavailableError("deadline", "waited too long for its turn")

    def fail(self, error: BaseException) -> None:
        """Nothing of it remains."""
        self.written, self.error, self.wrote, self.announcements = None, error, False, []

    def forget(self) -> None:
        """What came of it was undone; it will run again."""
        self.written, self.error, self.wrote, self.announcements = None, None, False, []


@dataclass(slots=True)
class Group:
    """Jobs whose outcomes are known together.

    Attributes:
        seconds: from BEGIN to the end of COMMIT.
        doubtful: whether the store lost sight of what was committed.
    """

    jobs: list[WriteJob]
    seconds: float
    doubtful: bool = False


class SqliteWriter:
    """A thread that runs jobs in order of arrival. Outcomes go to `deliver`, on this thread, after COMMIT returned."""

    def __init__(
        self,
        link: SqliteLink,
        life: LifeFile,
        appender: Appender,
        *,
        limits: GroupLimits,
        deliver: Callable[[Group], None],
    ) -> None:
        self._link = link
        self._life = life
        self._appender = appender
        self._limits = limits
        self._deliver = deliver
        self._queue: queue.SimpleQueue[WriteJob | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return self._queue.qsize()

    def submit(self, job: WriteJob) -> None:
        """Queue a job."""
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what is queued, then end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            job = self._queue.get()
            if job is None:
                break
            ended = self._run_group(job)
        self._link.close()

    def _run_group(self, first: WriteJob) -> bool:
        began = time.monotonic()
        connection = self._begin([first])
        if connection is None:
            return False
        jobs, job, ended = [first], first, False
        while True:
            self._run(connection, job)
            if job.error is not None and not connection.in_transaction:
                self._rerun_alone(jobs, killer=job)
                return False
            if len(jobs) >= self._limits.functions or time.monotonic() - began > self._limits.seconds:
                break
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                ended = True
                break
            job = following
            jobs.append(job)
        self._commit(connection, jobs, began)
        return ended

    def _rerun_alone(self, jobs: list[WriteJob], *, killer: WriteJob) -> None:
        self._deliver(Group([killer], 0.0))
        for job in jobs:
            if job is killer:
                continue
            job.forget()
            began = time.monotonic()
            job.deadline = max(job.deadline, began + _GRACE_S)
            connection = self._begin([job])
            if connection is None:
                continue
            self._run(connection, job)
            if connection.in_transaction:
                self._commit(connection, [job], began)
            else:
                self._deliver(Group([job], 0.0))

    def _begin(self, jobs: list[WriteJob]) -> sqlite3.Connection | None:
        self._link.limit(None)
        try:
            jobs[0].check()  # not even a BEGIN that waits for a lock, when nobody waits any more
            connection = self._link.connection()
            connection.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, UnavailableError) as error:
            for job in jobs:
                job.fail(as_unavailable(error))
            self._deliver(Group(jobs, 0.0))
            return None
        return connection

    def _run(self, connection: sqlite3.Connection, job: WriteJob) -> None:
        """Run one job in its savepoint. If the transaction is gone afterwards, `job.error` is set."""
        self._link.limit(job.deadline)
        cursor = connection.cursor()
        undoing: list[Exception] = []

        def look(error: Exception) -> Exception:
            translated = translate(error)
            if not connection.in_transaction:
                undoing.append(translated)
                cursor.close()  # refuses every further statement of the function
            return translated

        def spawn() -> sqlite3.Cursor:
            return cursor if undoing else connection.cursor()

        began = time.monotonic()
        try:
            job.check()
            cursor.execute("SAVEPOINT job")
            tx = WriteTx(cursor, SQLITE, look, spawn=spawn)
            value = job.fn(tx, *job.args, **job.kwargs)
            if undoing:
                raise undoing[0]  # noqa: TRY301  the function swallowed it
            job.announcements = self._appender.append(tx)()
            for statement, params in tx.closing:
                tx.send(statement, **params)
            cursor.execute("RELEASE job")
            effort = Effort(tx.statements, began - job.submitted, began - job.submitted > _AT_ONCE_S)
            job.written, job.wrote = Written(value, _last_position(job.announcements), effort), tx.wrote
        except BaseException as error:  # noqa: BLE001  whatever it was belongs to the waiter
            # What undid the transaction is the reason, not what the function made of it.
            error = undoing[0] if undoing else error
            job.fail(translate(error) if isinstance(error, Exception) else error)
            if connection.in_transaction:
                _undo(connection)
        finally:
            cursor.close()
            self._link.limit(None)

    def _commit(self, connection: sqlite3.Connection, jobs: list[WriteJob], began: float) -> None:
        count = None
        if any(job.wrote for job in jobs):
            try:
                count = bump(connection)
            except sqlite3.Error as error:
                self._abandon(jobs, as_unavailable(error))
                return
        try:
            for remaining in reversed(range(_COMMIT_TRIES)):
                try:
                    connection.execute("COMMIT")
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or not remaining:
                        raise
                    time.sleep(_COMMIT_PAUSE_S)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                self._abandon(jobs, UnavailableError("busy", str(error)))
            else:
                self._abandon(jobs, CommitUnknownError(str(error)), doubtful=True)
            return
        if count is not None:
            self._life.record(count)
        self._deliver(Group(jobs, time.monotonic() - began))

    def _abandon(self, jobs: list[WriteJob], error: Exception, *, doubtful: bool = False) -> None:
        # Closing rolls back what is still open; the next group opens the file anew and sees what is there.
        self._link.close()
        for job in jobs:
            job.fail(error)
        self._deliver(Group(jobs, 0.0, doubtful=doubtful))


def _undo(connection: sqlite3.Connection) -> None:
    """Take back one job. Where that fails the whole group is taken back."""
    try:
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
    except sqlite3.Error:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _last_position(announcements: list[Announcement]) -> Position | None:
    if not announcements:
        return None
    return Position(announcements[-1].epoch, announcements[-1].last)
