"""What a service sees of the database: a transaction to read in, or to write and stage events in."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy.engine import Dialect

from sessioncast_server.db.statement import Statement


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


class ReadTx:
    """One consistent snapshot of the database.

    Attributes:
        now: when the transaction began, for everything it writes.
    """

    __slots__ = ("_cursor", "_translate", "dialect", "now")

    def __init__(self, cursor: Cursor, dialect: Dialect, translate: Translate) -> None:
        self._cursor = cursor
        self._translate = translate
        self.dialect = dialect
        self.now = datetime.now(UTC)

    def one(self, statement: Statement, **params: Any) -> Any:
        """The first row as a named tuple, or None."""
        compiled = statement.on(self.dialect)
        try:
            self._cursor.execute(compiled.sql, compiled.bind(params))
            values = self._cursor.fetchone()
        except Exception as error:
            raise self._translate(error) from error
        return None if values is None else compiled.row(values)

    def all(self, statement: Statement, **params: Any) -> list[Any]:
        """All rows as named tuples."""
        compiled = statement.on(self.dialect)
        try:
            self._cursor.execute(compiled.sql, compiled.bind(params))
            rows = self._cursor.fetchall()
        except Exception as error:
            raise self._translate(error) from error
        return [compiled.row(values) for values in rows]


class WriteTx(ReadTx):
    """A transaction that may write. Database effects only: the store may run the function again.

    Attributes:
        staged: events to append, in the order they were emitted.
        closing: statements to run after the events, right before COMMIT.
        wrote: whether anything was changed.
    """

    __slots__ = ("_spawn", "closing", "staged", "wrote")

    def __init__(self, cursor: Cursor, dialect: Dialect, translate: Translate, *, spawn: Callable[[], Cursor]) -> None:
        super().__init__(cursor, dialect, translate)
        self._spawn = spawn
        self.staged: list[Staged] = []
        self.closing: list[tuple[Statement, dict[str, Any]]] = []
        self.wrote = False

    def run(self, statement: Statement, **params: Any) -> int:
        """Run a statement that changes rows; their number."""
        compiled = statement.on(self.dialect)
        self.wrote = True
        try:
            self._cursor.execute(compiled.sql, compiled.bind(params))
        except Exception as error:
            raise self._translate(error) from error
        return self._cursor.rowcount

    def change(self, statement: Statement, **params: Any) -> Any:
        """Run a statement that changes a row and returns columns of it; the row, or None."""
        self.wrote = True
        return self.one(statement, **params)

    def many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        """Run a statement that changes rows once per set of parameters."""
        compiled = statement.on(self.dialect)
        self.wrote = True
        try:
            self._cursor.executemany(compiled.sql, [compiled.bind(dict(row)) for row in rows])
        except Exception as error:
            raise self._translate(error) from error

    def lock(self, statement: Statement, **params: Any) -> None:
        """Lock rows until the end, by a SELECT … FOR …. On SQLite nothing is left to lock after BEGIN IMMEDIATE."""
        if self.dialect.name != "sqlite":
            self.one(statement, **params)

    def send(self, statement: Statement, **params: Any) -> Callable[[], list[Any]]:
        """Run a statement on a cursor of its own; its rows may be asked for after COMMIT.

        In a pipeline nothing is waited for: an error shows at COMMIT.
        """
        compiled = statement.on(self.dialect)
        self.wrote = True
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
