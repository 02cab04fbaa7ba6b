"""A SQLite file that a server may be serving meanwhile, for jobs started from the command line.

They take no part in the server's lock: the file itself says who writes when. The server finds what they appended to
the logs at its next look at the heads.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sessioncast_server.db.database import Appender, Effort, Written
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.sqlite_link import SqliteLink, as_unavailable, translate
from sessioncast_server.db.statement import SQLITE
from sessioncast_server.db.transaction import WriteTx

T = TypeVar("T")


_WORK_S, _PAUSE_S = 0.1, 0.15
"""A guest that writes on and on leaves the file to the server for a while: who waits for a lock in SQLite looks every
0.1 s in the end, and needs to find it free then."""


class SqliteGuest:
    """One connection, one caller. Each write is a commit of its own.

    Args:
        path: the database file; it must exist.
        busy_s: seconds to wait for the server's own commits.
    """

    def __init__(self, path: Path, appender: Appender, *, busy_s: float) -> None:
        self._link = SqliteLink(path, writer=True, busy_s=busy_s)
        self._appender = appender
        self._worked_s = 0.0

    async def read(self, fn: Callable[..., T], /, *args: Any) -> T:
        """Run `fn(tx, …)` on one snapshot.

        Raises:
            DatabaseError: it cannot be read.
        """
        return self._link.read(fn, *args)

    async def write(self, fn: Callable[..., T], /, *args: Any) -> Written[T]:
        """Run `fn(tx, …)` in one transaction.

        Raises:
            DatabaseError: nothing of it remains.
        """
        if self._worked_s > _WORK_S:
            self._worked_s = 0.0
            await asyncio.sleep(_PAUSE_S)
        began = time.monotonic()
        connection = self._link.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise as_unavailable(error) from error
        try:
            return self._run(connection, fn, args)
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._worked_s += time.monotonic() - began

    def close(self) -> None:
        """Disconnect."""
        self._link.close()

    def _run(self, connection: sqlite3.Connection, fn: Callable[..., T], args: tuple[Any, ...]) -> Written[T]:
        tx = WriteTx(connection.cursor(), SQLITE, translate, spawn=connection.cursor)
        value = fn(tx, *args)
        self._appender.append(tx)()
        for statement, params in tx.closing:
            tx.send(statement, **params)
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise UnavailableError("io", str(error)) from error
        return Written(value, None, Effort(tx.statements, 0.0, contended=False))
