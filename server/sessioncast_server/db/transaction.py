"""What a service sees of the database: a transaction to read in, or to write and stage events in."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy.engine import Dialect

from sessioncast_server.db.errors import LockTimeoutError
from sessioncast_server.db.statement import Compiled, Statement


class Cursor(Protocol):
    """What sqlite3 and psycopg cursors share."""

    @property
    def rowcount(self) -> int:
        """Rows the last statement changed."""

    def execute(self, sql: Any, params: Any = ..., /) -> Any:
        """Run a statement."""

    def executemany(self, sql: Any, params: Any, /) -> Any:
        """Run a statement once per set of parameters."""

    def fetchone(self) -> Any:
        """Next row or None."""

    def fetchall(self) -> list[Any]:
        """All rows left."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An event on its way into a channel's log, before it has a position.

    Attributes:
        type: event type, such as `session.created`.
        kind: what a filter's `kinds` calls it.
        data: the resource as JSON; it is what live subscribers get.
        stored: what the log keeps in its place (an output event keeps only its range); None: `data` itself.
        owner: user the event belongs to (threads), else None.
    """

    channel: str
    type: str
    kind: str
    at: datetime
    data: bytes
    stored: bytes | None = None
    task_id: str | None = None
    session_id: str | None = None
    thread_id: str | None = None
    owner: str | None = None
    phase: str | None = None
    model: str | None = None
    updated_at: datetime | None = None
    version: int | None = None


Translate = Callable[[Exception], Exception]


class Lock:
    """A row to read under a lock, `FOR NO KEY UPDATE`.

    Args:
        select: of one row of one table.

    Attributes:
        plain: reads without locking.
        waiting: waits for the lock.
        passing: passes over a row that somebody else has locked.
    """

    __slots__ = ("passing", "plain", "waiting")

    def __init__(self, select: Any) -> None:
        self.plain = Statement(select)
        self.waiting = Statement(select.with_for_update(key_share=True))
        self.passing = Statement(select.with_for_update(key_share=True, skip_locked=True))


class Asked:
    """Rows that were asked for. Where statements travel in a pipeline they are waited for only when looked at."""

    __slots__ = ("_compiled", "_rows", "_translate")

    def __init__(self, rows: Cursor | list[Any], compiled: Compiled, translate: Translate) -> None:
        self._rows = rows
        self._compiled = compiled
        self._translate = translate

    def all(self) -> list[Any]:
        """All rows as named tuples."""
        if not isinstance(self._rows, list):
            try:
                self._rows = self._rows.fetchall()
            except Exception as error:
                raise self._translate(error) from error
        return [self._compiled.row(values) for values in self._rows]

    def one(self) -> Any:
        """The first row as a named tuple, or None."""
        return next(iter(self.all()), None)


class ReadTx:
    """One consistent snapshot of the database.

    On PostgreSQL statements travel in a pipeline: what needs no answer (`run`, `many`) and what may be looked at later
    (`ask`) costs no round trip of its own. An error shows at the next look, at the latest at COMMIT.

    Attributes:
        now: when the transaction began, for everything it writes.
        statements: how many were run.
    """

    __slots__ = ("_cursor", "_spawn", "_translate", "dialect", "now", "statements")

    def __init__(
        self, cursor: Cursor, dialect: Dialect, translate: Translate, *, spawn: Callable[[], Cursor] | None = None
    ) -> None:
        self._cursor = cursor
        self._translate = translate
        self._spawn = spawn or (lambda: cursor)
        self.dialect = dialect
        self.now = datetime.now(UTC)
        self.statements = 0

    @property
    def serial(self) -> bool:
        """Whether changes are made one after another, so that nothing is left to lock: SQLite after BEGIN IMMEDIATE."""
        return self.dialect.name == "sqlite"

    def one(self, statement: Statement, **params: Any) -> Any:
        """The first row as a named tuple, or None."""
        compiled = statement.on(self.dialect)
        self.statements += 1
        try:
            self._cursor.execute(compiled.sql, compiled.bind(params))
            values = self._cursor.fetchone()
        except Exception as error:
            raise self._translate(error) from error
        return None if values is None else compiled.row(values)

    def all(self, statement: Statement, **params: Any) -> list[Any]:
        """All rows as named tuples."""
        compiled = statement.on(self.dialect)
        self.statements += 1
        try:
            self._cursor.execute(compiled.sql, compiled.bind(params))
            rows = self._cursor.fetchall()
        except Exception as error:
            raise self._translate(error) from error
        return [compiled.row(values) for values in rows]

    def ask(self, statement: Statement, **params: Any) -> Asked:
        """Rows to look at later. Ask for all that is needed, then look: one round trip serves them together."""
        compiled = statement.on(self.dialect)
        self.statements += 1
        try:
            if self.serial:
                self._cursor.execute(compiled.sql, compiled.bind(params))
                return Asked(self._cursor.fetchall(), compiled, self._translate)
            cursor = self._spawn()
            cursor.execute(compiled.sql, compiled.bind(params))
        except Exception as error:
            raise self._translate(error) from error
        return Asked(cursor, compiled, self._translate)


class WriteTx(ReadTx):
    """A transaction that may write. Database effects only: the store may run the function again.

    Attributes:
        staged: events to append, in the order they were emitted.
        closing: statements to run after the events, right before COMMIT.
        wrote: whether anything was changed.
        waited_s: seconds spent waiting for rows that others held (PostgreSQL) or for the turn (SQLite).
        contended: whether anybody was in the way.
    """

    __slots__ = ("_patient", "_wait", "closing", "contended", "staged", "waited_s", "wrote")

    def __init__(
        self,
        cursor: Cursor,
        dialect: Dialect,
        translate: Translate,
        *,
        spawn: Callable[[], Cursor],
        wait: Callable[[], None] = lambda: None,
        patient: bool = True,
    ) -> None:
        """A transaction that has begun.

        Args:
            spawn: makes another cursor.
            wait: waits for all that was sent.
            patient: whether a row that somebody else has locked is waited for; if not, LockTimeoutError comes at once.
        """
        super().__init__(cursor, dialect, translate, spawn=spawn)
        self._wait = wait
        self._patient = patient
        self.staged: list[Staged] = []
        self.closing: list[tuple[Statement, dict[str, Any]]] = []
        self.wrote = False
        self.waited_s = 0.0
        self.contended = False

    def run(self, statement: Statement, **params: Any) -> None:
        """Run a statement that changes rows."""
        compiled = statement.on(self.dialect)
        self.wrote = True
        self.statements += 1
        try:
            self._cursor.execute(compiled.sql, compiled.bind(params))
        except Exception as error:
            raise self._translate(error) from error

    def count(self, statement: Statement, **params: Any) -> int:
        """Run a statement that changes rows; how many it changed."""
        self.run(statement, **params)
        try:
            self._wait()
        except Exception as error:
            raise self._translate(error) from error
        return self._cursor.rowcount

    def change(self, statement: Statement, **params: Any) -> Any:
        """Run a statement that changes a row and returns columns of it; the row, or None."""
        self.wrote = True
        return self.one(statement, **params)

    def change_all(self, statement: Statement, **params: Any) -> list[Any]:
        """Run a statement that changes rows and returns columns of them."""
        self.wrote = True
        return self.all(statement, **params)

    def many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Run a statement that changes rows once per set of parameters."""
        compiled = statement.on(self.dialect)
        self.wrote = True
        self.statements += 1
        try:
            self._cursor.executemany(compiled.sql, [compiled.bind(dict(row)) for row in rows])
        except Exception as error:
            raise self._translate(error) from error

    def locked(self, lock: Lock, **params: Any) -> Any:
        """A row, locked until the end of the transaction and read then, or None: one statement while nobody has it."""
        if self.serial:
            return self.one(lock.plain, **params)
        row = self.one(lock.passing, **params)
        if row is None and self.one(lock.plain, **params) is not None:
            self.wait_for(lock, **params)
            # Read by a statement of its own: what was waited for may have made another row the one that is meant,
            # and a statement that began before does not see it.
            row = self.one(lock.plain, **params)
        return row

    def wait_for(self, lock: Lock, **params: Any) -> None:
        """Lock a row that somebody else has. Read it again afterwards.

        Raises:
            LockTimeoutError: it was kept for too long; its `key` is the lock and what it was asked with.
        """
        self.contended = True
        key = (lock, *sorted(params.items()))
        if not self._patient:
            raise LockTimeoutError("somebody else has it", key=key)
        began = time.monotonic()
        try:
            self.one(lock.waiting, **params)
        except LockTimeoutError as error:
            error.key = key
            raise
        finally:
            self.waited_s += time.monotonic() - began
        self.now = datetime.now(UTC)  # what is written now was not done when the waiting began

    def lock(self, statement: Statement, **params: Any) -> None:
        """Lock rows until the end, by a SELECT … FOR …. Nothing on SQLite."""
        if not self.serial:
            self.all(statement, **params)

    def send(self, statement: Statement, **params: Any) -> Callable[[], list[Any]]:
        """Run a statement on a cursor of its own; its rows may be asked for after COMMIT."""
        compiled = statement.on(self.dialect)
        self.wrote = True
        self.statements += 1
        cursor = self._spawn()
        try:
            cursor.execute(compiled.sql, compiled.bind(params))
        except Exception as error:
            raise self._translate(error) from error
        return lambda: [compiled.row(values) for values in cursor.fetchall()]

    def emit(self, event: Staged) -> None:
        """Stage an event. It gets its offset last of all, so that offsets equal commit order."""
        self.staged.append(event)

    def at_close(self, statement: Statement, **params: Any) -> None:
        """Run a statement after the events have their offsets, in the same round trip as COMMIT."""
        self.closing.append((statement, params))
