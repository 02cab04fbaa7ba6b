"""One thread's connection to PostgreSQL, and what its errors mean."""

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from sessioncast_server.broker.base import Announcement
from sessioncast_server.db.database import Appender, Effort, Written
from sessioncast_server.db.errors import (
    CommitUnknownError,
    ConflictError,
    LockTimeoutError,
    UnavailableError,
    UniqueError,
)
from sessioncast_server.db.postgres_wire import Plans, Wire
from sessioncast_server.db.statement import POSTGRESQL
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_shared.position import Position

T = TypeVar("T")

_RETRIES = 8
_RETRY_PAUSE_S = 0.01


def translate(error: Exception) -> Exception:
    """The store's error for one of psycopg's; a conflict that is to be run again, and anything else, as it is."""
    match error:
        case errors.DeadlockDetected() | errors.SerializationFailure():
            return error
        case errors.LockNotAvailable():
            return LockTimeoutError(str(error))
        case errors.UniqueViolation():
            return UniqueError(error.diag.constraint_name or str(error))
        case errors.DiskFull() | errors.ConfigurationLimitExceeded():
            return UnavailableError("full", str(error))
        case errors.QueryCanceled():
            return UnavailableError("deadline", str(error))
        case psycopg.OperationalError() | psycopg.InterfaceError() | errors.ReadOnlySqlTransaction():
            return UnavailableError("connection", str(error))
        case _:
            return error


@dataclass(slots=True)
class _Ending:
    """How far a transaction had come, which decides what an error means.

    Attributes:
        began: when the function had run and its events were appended; 0 before.
        channels: whose counters it takes last of all.
        sent: whether a COMMIT of changes may have reached the server.
    """

    began: float = 0.0
    channels: tuple[str, ...] = ()
    sent: bool = False

    def meaning(self, error: Exception, *, lost: bool) -> Exception:
        """The store's error; one of the conflicts that are run again, as it is."""
        translated = _meaning(error, lost=lost)
        if self.sent and lost:
            return CommitUnknownError(str(error.__cause__ or error))
        if self.began and isinstance(translated, LockTimeoutError):
            return LockTimeoutError(str(error), of="else", key=("log", *self.channels))  # the counter of the log
        return translated


def _meaning(error: Exception, *, lost: bool) -> Exception:
    """As `translate`; on a lost connection any error of the driver means that, also «there is no result»."""
    if lost and isinstance(error, psycopg.Error):
        return UnavailableError("connection", str(error))
    return translate(error)


class PostgresLink:
    """A connection in autocommit mode with explicit transactions. Safe to abort from another thread.

    Args:
        url: `postgresql://…`.
        lock_timeout_s: seconds to wait for a row.
        connect_timeout_s: seconds to wait for a connection.
    """

    def __init__(self, url: str, appender: Appender, *, lock_timeout_s: float, connect_timeout_s: int = 5) -> None:
        self._url = url
        self._appender = appender
        self._lock_timeout_ms = round(lock_timeout_s * 1000)
        self._connect_timeout_s = connect_timeout_s
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._plans = Plans()
        self._shut = False

    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The connection, opened when there is none or it broke.

        Raises:
            UnavailableError: it cannot be opened.
        """
        if self._shut:
            # Perhaps only after the call had ended: then libpq does not know yet, and the next call would pay.
            self.close()
        if self._connection is None or self._connection.closed:
            self._shut = False
            self._plans = Plans()
            try:
                self._connection = psycopg.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=self._connect_timeout_s,
                    prepare_threshold=2,
                    application_name="sessioncast",
                    # Whatever the server's defaults: rows wait so long, times are UTC, acknowledged is durable.
                    options=f"-c lock_timeout={self._lock_timeout_ms} -c timezone=UTC -c synchronous_commit=on"
                    " -c default_transaction_isolation=read\\ committed -c client_encoding=UTF8",
                    keepalives_idle=10,
                    keepalives_interval=3,
                    keepalives_count=3,
                )
            except psycopg.Error as error:
                raise UnavailableError("connection", str(error)) from error
        return self._connection

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.closed

    def read(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `fn(tx, …)` on one snapshot."""
        return self._on_live(partial(self._read_once, fn, *args, **kwargs))

    def _on_live(self, run: Callable[[], T]) -> T:
        """A connection that was lost while nobody used it says so to the next who does: then once more, on a new one.

        Not after COMMIT was sent: that is another error.
        """
        used = self.connected
        try:
            return run()
        except UnavailableError as error:
            if error.reason != "connection" or not used or self._shut:
                raise
        return run()

    def _read_once(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        connection = self.connection()
        try:
            with Wire(connection, self._plans) as wire:
                cursor = wire.cursor()
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                value = fn(ReadTx(cursor, POSTGRESQL, translate, spawn=wire.cursor), *args, **kwargs)
                cursor.execute("COMMIT")
                return value
        except psycopg.Error as error:
            raise self._told(_meaning(error, lost=connection.closed)) from error
        finally:
            self._leave(connection)

    def write(
        self, fn: Callable[[WriteTx], T], *, patient: bool = True
    ) -> tuple[Written[T], list[Announcement], float]:
        """Run `fn(tx)` in one transaction, again when it lost a deadlock or was too late for another reason.

        Args:
            patient: whether to wait for rows that somebody else has locked.

        Returns:
            its outcome, what was appended, and the seconds from appending to the end of COMMIT.

        Raises:
            ConflictError: others were faster, each time.
        """
        for tries in range(_RETRIES):
            try:
                return self._on_live(partial(self._write_once, fn, tries, patient=patient))
            except (errors.DeadlockDetected, errors.SerializationFailure, UniqueError, ConflictError) as error:
                # A row that another one inserted meanwhile is there to be read when it runs again.
                conflict = error
            time.sleep(random.uniform(0, _RETRY_PAUSE_S * 2**tries))  # noqa: S311  spreads rivals, guards nothing
        if isinstance(conflict, UniqueError | ConflictError):
            raise conflict
        raise UnavailableError("busy", str(conflict)) from conflict

    def _write_once(
        self, fn: Callable[[WriteTx], T], tries: int, *, patient: bool
    ) -> tuple[Written[T], list[Announcement], float]:
        connection = self.connection()
        ending = _Ending()
        try:
            with Wire(connection, self._plans) as wire:
                cursor = wire.cursor()
                cursor.execute("BEGIN")
                tx = WriteTx(cursor, POSTGRESQL, translate, spawn=wire.cursor, wait=wire.sync, patient=patient)
                value = fn(tx)
                ending.began = time.monotonic()
                ending.channels = tuple(sorted({event.channel for event in tx.staged}))
                appended = self._appender.append(tx)
                for statement, params in tx.closing:
                    tx.send(statement, **params)
                ending.sent = tx.wrote
                # Counter, events and COMMIT in one round trip: the counter row is locked for as short as can be.
                cursor.execute("COMMIT")
            announcements = appended()
        except (psycopg.Error, LockTimeoutError, UnavailableError) as error:
            raise self._told(ending.meaning(error, lost=connection.closed)) from error
        finally:
            self._leave(connection)
        position = Position(announcements[-1].epoch, announcements[-1].last) if announcements else None
        effort = Effort(tx.statements, tx.waited_s, tx.contended or tries > 0, tries)
        return Written(value, position, effort), announcements, time.monotonic() - ending.began

    def _told(self, meaning: Exception) -> Exception:
        """An error's meaning, once what the driver got wrong is put right.

        It takes a statement for prepared whose preparation was skipped with the rest of a pipeline, because something
        before it failed. Only a new connection knows better; nothing was committed on this one.
        """
        if isinstance(meaning, errors.InvalidSqlStatementName):
            self.close()
            return UnavailableError("connection", str(meaning))
        return meaning

    def _leave(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """No transaction stays open; a connection of which that cannot be said is dropped."""
        try:
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
        if connection.closed:
            self._connection = None

    def abort(self) -> None:
        """Shut the socket: a frozen server ignores every time-out, but a closed socket frees the call."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        self._shut = True
        with contextlib.suppress(OSError, psycopg.Error):
            duplicate = socket.socket(fileno=os.dup(connection.fileno()))
            try:
                duplicate.shutdown(socket.SHUT_RDWR)
            finally:
                duplicate.close()

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
