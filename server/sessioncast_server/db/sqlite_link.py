"""One thread's connection to a SQLite file, and what its errors mean."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sessioncast_server.db.errors import DatabaseError, LockTimeoutError, UnavailableError, UniqueError
from sessioncast_server.db.statement import SQLITE
from sessioncast_server.db.transaction import ReadTx

T = TypeVar("T")

_INSTRUCTIONS_BETWEEN_LOOKS = 20_000  # about a millisecond of SQLite's own machine


def translate(error: Exception) -> Exception:
    """The store's error for one of sqlite3's; anything else as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return UniqueError(str(error))
    match primary:
        case sqlite3.SQLITE_FULL:
            return UnavailableError("full", str(error))
        case sqlite3.SQLITE_INTERRUPT:
            return UnavailableError("deadline", str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LockTimeoutError(str(error), of="else")  # of the file
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CORRUPT:
            return UnavailableError("io", str(error))
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_PROTOCOL:
            return UnavailableError("io", str(error))
        case _:
            return error


class SqliteLink:
    """A connection with explicit transactions. Safe to abort from another thread.

    Args:
        path: the database file; it must exist.
        writer: whether it may write; readers are opened `query_only`.
        busy_s: seconds to wait for a lock of another process.
    """

    def __init__(self, path: Path, *, writer: bool, busy_s: float) -> None:
        self._path = path
        self._writer = writer
        self._busy_s = busy_s
        self._connection: sqlite3.Connection | None = None
        self._deadline = float("inf")

    def connection(self) -> sqlite3.Connection:
        """The connection, opened when there is none."""
        if self._connection is None:
            try:
                self._connection = self._open()
            except sqlite3.Error as error:
                raise UnavailableError("io", f"{self._path.name}: {error}") from error
        return self._connection

    def _open(self) -> sqlite3.Connection:
        # mode=rw: a file that vanished is an error, never a new empty database.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # acknowledged means durable
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -65536")
            if not self._writer:
                connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error:
            connection.close()
            raise
        connection.set_progress_handler(self._past_deadline, _INSTRUCTIONS_BETWEEN_LOOKS)
        return connection

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def read(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `fn(tx, …)` on one snapshot."""
        connection = self.connection()
        cursor = connection.cursor()
        try:
            cursor.execute("BEGIN")
            return fn(ReadTx(cursor, SQLITE, translate), *args, **kwargs)
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            cursor.close()
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def limit(self, deadline: float | None) -> None:
        """Interrupt whatever still runs at this time of the monotonic clock; None: let it run."""
        self._deadline = float("inf") if deadline is None else deadline

    def _past_deadline(self) -> int:
        return time.monotonic() > self._deadline

    def abort(self) -> None:
        """Interrupt the running statement."""
        if self._connection is not None:
            self._connection.interrupt()

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def as_unavailable(error: Exception) -> DatabaseError:
    """An error outside of any function: the transaction could not begin or end."""
    translated = translate(error)
    if isinstance(translated, UnavailableError):
        return translated
    return UnavailableError("busy" if isinstance(translated, LockTimeoutError) else "io", str(error))
