"""Counting statements where they cannot hide: in the driver."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.pq import Trace

from sessioncast_server.db.database import Database
from sessioncast_server.db.size import database_bytes
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx

_ONE = Text(sqlite="SELECT 1 AS one", postgresql="SELECT 1 AS one", columns={"one": None})


class CountedReads:
    """A database's `read`, as the database runs it; each one's statements are counted.

    Attributes:
        counts: statements of each read so far, as the driver ran them.
    """

    def __init__(self, database: Database) -> None:
        self._read = database.read
        self.counts: list[int] = []

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As the database's."""
        if fn is database_bytes:  # of no request: the node looks by itself
            return await self._read(fn)

        def counting(tx: ReadTx) -> Any:
            tx.one(_ONE)  # what still waits in the pipeline, such as BEGIN, is not the function's
            tx.statements = 0
            with _traced(tx) as ran:
                value = fn(tx, *args, **kwargs)
            assert len(ran) == tx.statements, "a transaction miscounts its statements"
            self.counts.append(len(ran))
            return value

        return await self._read(counting)

    def taken(self) -> int:
        """Statements since this was last asked."""
        counts, self.counts = self.counts, []
        return sum(counts)


@contextmanager
def _traced(tx: ReadTx) -> Iterator[list[str]]:
    """What the driver runs meanwhile, complete once the block ended."""
    ran: list[str] = []
    cursor: Any = tx._cursor
    if isinstance(cursor, sqlite3.Cursor):
        cursor.connection.set_trace_callback(ran.append)
        try:
            yield ran
        finally:
            cursor.connection.set_trace_callback(None)
        return
    pgconn = cursor._wire._pgconn
    with tempfile.TemporaryFile("w+b") as file:
        pgconn.trace(file.fileno())
        pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield ran
        finally:
            pgconn.untrace()
        file.seek(0)
        # «F 9 Execute "" 0»: libpq tells each message of the protocol in a line.
        ran += [
            line for line in file.read().decode().splitlines() if line.split("\t")[:1] == ["F"] and "Execute" in line
        ]
