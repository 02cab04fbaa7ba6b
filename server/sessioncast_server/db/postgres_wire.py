"""A transaction's statements on libpq's pipeline, without the layers that psycopg's cursors have.

Measured: eight statements in psycopg's own pipeline take 276 to 480 µs of processor time, on libpq alone 34. Parameters
travel as text, of types that the server infers; rows are read by psycopg's own loaders. Statements are prepared when
they are first used, and known to be only when the server said so.
"""

import re
import select
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult

_PLACE = re.compile(r"%\((\w+)\)s|%%")
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)


class Plans:
    """What one connection has prepared: by text, its name and the order of its parameters."""

    def __init__(self) -> None:
        self.ready: dict[str, tuple[bytes, tuple[str, ...]]] = {}
        self.made = 0


def positional(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """A text with `%(name)s` as one with `$1`, and the names in order."""
    order: list[str] = []

    def place(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "%"
        if name not in order:
            order.append(name)
        return f"${order.index(name) + 1}"

    return _PLACE.sub(place, sql).encode(), tuple(order)


class Wire:
    """Sends statements, and reads what came of them in the same order. A context: leaving it waits for all of them."""

    def __init__(self, connection: "psycopg.Connection[Any]", plans: Plans) -> None:
        self._pgconn: PGconn = connection.pgconn
        self._plans = plans
        self._transformer = Transformer(connection)
        self._waiting: deque[Callable[[PGresult], None]] = deque()
        self._error: Exception | None = None
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    def __enter__(self) -> Self:
        self._pgconn.enter_pipeline_mode()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        except Exception:
            if error is None:
                raise
        finally:
            if self._pgconn.status != ConnStatus.BAD:
                self._pgconn.exit_pipeline_mode()

    def cursor(self) -> "WireCursor":
        """A place for the results of one statement at a time."""
        return WireCursor(self)

    def sync(self) -> None:
        """Wait for all that was sent.

        Raises:
            psycopg.Error: the first that failed.
        """
        self._pgconn.pipeline_sync()
        self._flush()
        while self._waiting:
            self._take()
        while (result := self._next()) is None or result.status != ExecStatus.PIPELINE_SYNC:
            pass
        self._raise()

    def send(self, cursor: "WireCursor", sql: str, params: dict[str, Any]) -> None:
        """Send a statement; its result goes to the cursor."""
        plan = self._plans.ready.get(sql)
        if plan is None:
            text, order = positional(sql)
            self._plans.made += 1
            plan = (b"s%d" % self._plans.made, order)
            self._pgconn.send_prepare(plan[0], text)
            self._plans.ready[sql] = plan
            self._waiting.append(lambda result: self._prepared(sql, result))
        name, order = plan
        self._pgconn.send_query_prepared(name, [_text(params[one]) for one in order] if order else None)
        cursor.sent += 1
        self._waiting.append(cursor.given)

    def wait_for(self, cursor: "WireCursor") -> None:
        """Wait until a cursor has its result.

        Raises:
            psycopg.Error: it failed, or one that was sent before it.
        """
        if cursor.sent and self._waiting:
            self._pgconn.send_flush_request()
            self._flush()
            while cursor.sent and self._waiting:
                self._take()
                self._raise()
        self._raise()

    def rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        """The rows of a result as Python values."""
        if not result.ntuples:
            return []
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def _prepared(self, sql: str, result: PGresult) -> None:
        if result.status != ExecStatus.COMMAND_OK:
            del self._plans.ready[sql]  # it failed, or was skipped because something before it did

    def _take(self) -> None:
        """Read the result of the statement that waits longest."""
        result = self._next()
        while result is None:
            result = self._next()
        self._waiting.popleft()(result)
        if result.status not in _GOOD and self._error is None and result.status != ExecStatus.PIPELINE_ABORTED:
            self._error = errors.error_from_result(result)

    def _next(self) -> PGresult | None:
        while self._pgconn.is_busy():
            self._poll.poll()
            self._pgconn.consume_input()
        result = self._pgconn.get_result()
        if result is None and self._pgconn.status == ConnStatus.BAD:
            raise psycopg.OperationalError("the connection is lost")  # else the rest would be waited for without end
        return result

    def _flush(self) -> None:
        while self._pgconn.flush():
            # What is large does not fit the socket; the server may wait for us to read before it reads on.
            self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
            try:
                for _, event in self._poll.poll():
                    if event & select.POLLIN:
                        self._pgconn.consume_input()
            finally:
                self._poll.modify(self._pgconn.socket, select.POLLIN)

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error


class WireCursor:
    """As much of a cursor as transactions use."""

    __slots__ = ("_result", "_wire", "sent")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._result: PGresult | None = None
        self.sent = 0
        """Statements whose results are still to come."""

    def given(self, result: PGresult) -> None:
        """Take a result; that of the statement sent last is kept."""
        self.sent -= 1
        self._result = result

    @property
    def rowcount(self) -> int:
        """Rows the statement sent last changed; -1 while that is not known."""
        return -1 if self.sent or self._result is None else (self._result.command_tuples or 0)

    def execute(self, sql: str, params: dict[str, Any] | None = None) -> None:
        """Send a statement."""
        self._wire.send(self, sql, params or {})

    def executemany(self, sql: str, rows: Iterable[dict[str, Any]]) -> None:
        """Send a statement once for each set of parameters."""
        for params in rows:
            self._wire.send(self, sql, params)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows of the statement sent last."""
        self._wire.wait_for(self)
        return [] if self._result is None else self._wire.rows(self._result)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The first of them, or None."""
        return next(iter(self.fetchall()), None)


def _text(value: Any) -> bytes | None:
    match value:
        case None:
            return None
        case str():
            return _whole(value)
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"%d" % value
        case datetime():
            return value.isoformat(" ").encode()
        case list():
            return b"{" + b",".join(map(_element, value)) + b"}"
        case float():
            return repr(value).encode()
        case bytes():
            return b"\\x" + value.hex().encode()
    raise TypeError(f"no parameter can be a {type(value).__name__}")


def _whole(value: str) -> bytes:
    encoded = value.encode()
    if b"\0" in encoded:  # it would end the text there
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return encoded


def _element(value: Any) -> bytes:
    if value is None:
        return b"NULL"
    text = _text(value) or b""
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
