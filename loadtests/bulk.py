"""Rows into a database's tables by its fastest way, past the server, which must not be running on them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
from psycopg import sql

from sessioncast_server.db.migrate import migrate
from sessioncast_server.db.sqlite import path_of

Row = dict[str, Any]


class Writer(Protocol):
    """An open transaction on an empty or lived-in database of the present schema."""

    def add(self, table: str, rows: list[Row]) -> None:
        """Insert rows that all have the same columns."""

    def finish(self) -> None:
        """Make it durable, and tell the planner what there is now."""


@contextmanager
def writer(url: str) -> Iterator[Writer]:
    """A writer to a database, whose schema is made or brought up to date first; nothing stays unless it finished.

    Raises:
        UnavailableError: the database cannot be reached, or a server has the file.
    """
    migrate(url)
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(path_of(url), isolation_level=None)) as connection:
            yield _Sqlite(connection)
    else:
        with closing(psycopg.connect(url)) as connection_:
            yield _Postgres(connection_)


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("PRAGMA synchronous = OFF")  # one fsync at the end is enough
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute("BEGIN IMMEDIATE")

    def add(self, table: str, rows: list[Row]) -> None:
        names = ", ".join(rows[0])
        marks = ", ".join(f":{name}" for name in rows[0])
        self._connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", map(_as_text, rows))

    def finish(self) -> None:
        for statement in ("COMMIT", "PRAGMA synchronous = FULL", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"):
            self._connection.execute(statement).fetchall()


class _Postgres:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def add(self, table: str, rows: list[Row]) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
        copy = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
        with self._connection.cursor() as cursor, cursor.copy(copy) as into:
            for row in rows:
                into.write_row(tuple(row.values()))

    def finish(self) -> None:
        self._connection.commit()
        self._connection.execute("ANALYZE")
        self._connection.commit()


def _as_text(row: Row) -> Row:
    """Times as the server keeps them in SQLite."""
    return {name: f"{_moment(value)}Z" if isinstance(value, datetime) else value for name, value in row.items()}


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:26]
