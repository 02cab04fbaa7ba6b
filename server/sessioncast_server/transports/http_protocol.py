"""uvicorn's HTTP protocol with bounds on connections and on the head of a request, and a way to abort a connection.

With `fastlane.py` the only file that knows uvicorn's protocol class from inside; tests ask uvicorn whether all this is
still true.
"""

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from secrets import token_hex
from typing import ClassVar

import structlog
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sessioncast_server.problems import Problem
from sessioncast_server.transports import cut
from sessioncast_server.transports.gate import Gate
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_LINGER_S = 1.0
"""How long a refused connection is still read from: closed at once, the refusal could be lost (RFC 9112, 9.6)."""

_LINGERING_MAX = 128
"""Refused connections that linger at once; in a flood of them the next ones are closed without a word."""
_COME_BACK_S = (1, 3)
"""Shortest and longest pause, in whole seconds, that a connection over the bound is told."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds of a request's head; see the settings `headers_max_bytes` and `head_deadline_s`.

    Attributes:
        connections: of the whole node, idle ones, streams and WebSockets included; see `descriptors.connections_bound`.
    """

    max_bytes: int = 65536
    deadline_s: float = 30.0
    connections: int = 60_000


class _TooLargeError(Exception):
    """A head arrived whole and is over the bound; httptools makes its own error of it."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, bounded, with the way to abort in each scope's `state`: a WebSocket upgraded from it inherits that.

    The parser keeps an unfinished header and copies it with every piece that arrives, so a head without end would cost
    the square of its length. What counts are the bytes that were fed since the parser last finished a head or handed
    over a body: that bounds trailers and chunk extensions too.
    """

    limits: ClassVar[HeadLimits] = HeadLimits()
    turned_away: ClassVar[set["HttpProtocol"]] = set()
    door: ClassVar[Gate] = Gate(HeadLimits().connections)
    """Connections over the bound that linger; they are in no other set."""

    _new = True
    _serving: RequestResponseCycle | None = None
    _in_head = False
    _moved = False
    _refused = False
    _size = 0
    _unfinished = 0
    _clock: asyncio.TimerHandle | None = None
    _linger: asyncio.TimerHandle | None = None

    @classmethod
    def bounded(cls, limits: HeadLimits) -> "type[HttpProtocol]":
        """The class with other bounds: uvicorn makes the instances."""
        return type(cls.__name__, (cls,), {"limits": limits, "turned_away": set(), "door": Gate(limits.connections)})

    @property
    def streaming(self) -> bool:
        """Whether an answer has begun and not ended."""
        cycle = self._serving
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A connection begins, unless there are as many as there may be."""
        if len(self.connections) >= self.limits.connections:
            self._turn_away(transport)
            return
        self.app_state = {**self.app_state, cut.KEY: transport.abort}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection ended."""
        self.turned_away.discard(self)
        self.door.forget(self)
        self._stop_clock()
        if self._linger is not None:
            self._linger.cancel()
        serving, self._serving = self._serving, None
        if serving is not None and not serving.response_complete:
            # uvicorn tells the last request of the connection only. With another one behind it in the pipeline, a
            # stream would never hear that its client is gone.
            serving.disconnected = True
            serving.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Feed the parser. A request that comes in one piece costs two comparisons more than uvicorn's."""
        if self._refused:
            return
        if self._new:
            # Of 10,000 that arrive at once, only so many are taken up in a turn of the loop; who is here goes first.
            self._new = False
            if not self.door.passes():
                self.transport.pause_reading()
                self.door.wait(self, partial(self._begin, data))
                return
        self._moved = False
        self._size = len(data)
        super().data_received(data)
        if self._moved:
            self._unfinished = 0
        else:
            self._unfinished += self._size
            if self._unfinished > self.limits.max_bytes:
                self._refuse(self._too_large())
                return
        if self._in_head and self._clock is None and not self._refused:
            self._clock = self.loop.call_later(self.limits.deadline_s, self._head_is_late)

    def _begin(self, data: bytes) -> bool:
        """It is this connection's turn."""
        if self.transport.is_closing():
            return False
        self.transport.resume_reading()
        self.data_received(data)
        return True

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        if self._unfinished + self._size > self.limits.max_bytes:  # then only it is worth counting exactly
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.max_bytes:
                raise _TooLargeError
        self._in_head = False
        self._moved = True
        self._stop_clock()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._moved = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for every error of the parser, also for ours."""
        if self._in_head and self._unfinished + self._size > self.limits.max_bytes:
            self._refuse(self._too_large())
        else:
            self._refuse(Problem(400, Code.BAD_REQUEST, msg))

    def _turn_away(self, transport: asyncio.Transport) -> None:
        """Refuse a connection before a byte of it is read; it never counts as one."""
        self.transport = transport
        if len(self.turned_away) >= _LINGERING_MAX:
            self._refused = True
            transport.abort()
            return
        self.turned_away.add(self)
        pause = random.randint(*_COME_BACK_S)  # noqa: S311  spreads clients, guards nothing
        self._refuse(Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=pause))

    def _too_large(self) -> Problem:
        return Problem(431, Code.TOO_LARGE, f"The headers are larger than {self.limits.max_bytes} bytes.")

    def _head_is_late(self) -> None:
        self._clock = None
        self._refuse(Problem(408, Code.BAD_REQUEST, "The request's headers took too long to arrive."))

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _refuse(self, problem: Problem) -> None:
        """Answer and close; another answer that is under way is not written into."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_clock()
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            if self._in_head or self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True  # its own body is what is wrong: nobody waits for its answer any more
            self.cycle.message_event.set()
        request_id = token_hex(8)
        _log.info("request refused", request_id=request_id, status=problem.status, code=problem.code)
        self.transport.write(_as_bytes(problem, request_id))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._linger = self.loop.call_later(_LINGER_S, self.transport.abort)


def _as_bytes(problem: Problem, request_id: str) -> bytes:
    response = problem.response(request_id)
    lines = [b"HTTP/1.1 %d %s" % (problem.status, HTTPStatus(problem.status).phrase.encode())]
    lines += [b"%s: %s" % header for header in response.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)])
