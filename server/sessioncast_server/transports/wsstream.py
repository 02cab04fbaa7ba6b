"""A WebSocket of the fast lane: frames are made once per group, the rest of the protocol is the library's.

What a client may do is read by the sans-I/O protocol of websockets, so masks, fragments, controls and the closing
handshake are as it has them (RFC 6455). Nothing runs between two messages: a task exists while a message is answered.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import structlog
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol as WebSocketProtocol

from sessioncast_server.auth.principal import Principal
from sessioncast_server.channels.framing import Framing, Opening
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_server.channels.wheel import Wheel
from sessioncast_server.transports.admission import Ticket
from sessioncast_server.transports.conversation import Conversation, WebSocketParts, farewell
from sessioncast_server.transports.outlet import Outlet
from sessioncast_server.transports.push import PUSH_DISABLED
from sessioncast_server.transports.sse import opening_fields
from sessioncast_server.transports.wsframes import RawFraming, closing, frame, goodbye, raw
from sessioncast_shared.codes import Close

_log = structlog.get_logger(__name__)

_CLOSE_S = 10.0
"""How long a client may take to answer a close frame (RFC 6455, section 7.1.1)."""

_TURN_S = 0.001
"""How long what one client says is taken in, or answered, before the loop does other work."""

_SLICE = 512
"""Bytes taken in between two looks at the clock: at most 85 frames."""

_PING = b"sessioncast"


class _Sink:
    """One subscription's way out."""

    __slots__ = ("_key", "_opened", "_ref", "_stream", "subscriber")

    def __init__(self, stream: "WebSocketStream", key: str, ref: Any) -> None:
        self._stream = stream
        self._key = key
        self._ref = ref
        self._opened = False
        self.subscriber: Subscriber | None = None

    def opening(self, opening: Opening) -> bytes:
        return raw(frame("subscribed", ref=self._ref, key=self._key, **opening_fields(opening)))

    def feed(self, data: bytes) -> bool:
        self._opened = True
        stream = self._stream
        if not stream.ended:  # else the close frame was sent, and nothing may follow it (RFC 6455, section 5.5.1)
            stream.transport.write(data)
        return not stream.full

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        if self._stream.transport.is_closing():
            return False  # as of an event stream
        return self.feed(b"".join(parts))

    @property
    def full(self) -> bool:
        return self._stream.full

    def stalled_since(self) -> float:
        return self._stream.stalled_since()

    def end(self, reason: str) -> None:
        if reason == PUSH_DISABLED:
            self._stream.reply(farewell(self._key, self._ref, opened=self._opened))
        else:
            self._stream.end(reason)


class WebSocketStream(Outlet):
    """The connection, the line of its conversation, and the protocol of its transport in one.

    Attributes:
        due: where it stands in the wheel.
    """

    __slots__ = (
        "_conn", "_conversation", "_heard", "_message", "_opcode", "_parts", "_pinged", "_room", "_turn_due",
        "_unread", "_wheel", "_work", "due",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: set[Any],
        conn: WebSocketProtocol,
        heard: list[str | None],
        parts: WebSocketParts,
        wheel: "Wheel[WebSocketStream]",
        ticket: Ticket,
        principal: Principal | None,
    ) -> None:
        super().__init__(transport, connections, parts.terms)
        self._conn = conn
        self._parts = parts
        self._wheel = wheel
        self._heard: list[str | None] | None = heard or None
        self._message: bytearray | None = None
        self._unread = b""
        self._turn_due = False
        self._opcode = Opcode.TEXT
        self._work: asyncio.Task[None] | None = None
        self._pinged = False
        self._room: asyncio.Future[None] | None = None
        self.due = 0
        self._conversation = Conversation(parts, self, ticket, principal)

    def start(self) -> None:
        """Begin to listen."""
        limits = self._parts.limits
        named = self._conversation.principal is not None
        self._wheel.add(self, self._now() + (limits.ping_s if named else limits.auth_timeout_s))
        if self._heard:
            self._attend()

    # What the conversation says.

    def reply(self, data: bytes) -> None:
        """Send an answer."""
        if not self.ended:
            self.transport.write(raw(data))

    def sink(self, key: str, ref: Any) -> tuple[_Sink, Framing]:
        """A subscription's way out, and its words."""
        return _Sink(self, key, ref), RawFraming(key)

    def end(self, reason: str) -> None:
        """Say goodbye and close; the first reason counts. Who read nothing for so long would not read that either."""
        if self.ended:
            return
        if reason == "too_slow" and self.full:
            self._over()
            self.transport.abort()
            return
        self._close(closing(reason), reason, raw(goodbye(reason, self.terms.retry_ms)))

    def shutdown(self) -> None:
        """The server ends; by now its drain has said goodbye to nearly everybody."""
        self.end("draining")

    def _close(self, code: int, reason: str, word: bytes = b"") -> None:
        """Send a last word and a close frame, in one write, and wait only so long for the client's."""
        with contextlib.suppress(InvalidState):  # the client was first
            self._conn.send_close(code, reason)
        self._over(word)
        self._listen()
        self.cut_after(min(_CLOSE_S, self.terms.deadline_s))

    def _over(self, word: bytes = b"") -> None:
        """Nothing more is said, but for this and what the library has to say."""
        self.ended = True
        self._conversation.over()
        self._flush(word)

    def _flush(self, word: bytes = b"") -> None:
        data = word + b"".join(self._conn.data_to_send())
        if data:
            self.transport.write(data)

    # What the client says.

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        self._pinged = False  # whatever it is, somebody is there
        self._unread += data
        if not self._turn_due and self._work is None:
            self._read_on()

    def _read_on(self) -> None:
        """Take in what came, for a millisecond: a read may hold 40,000 frames. What was asked is answered first."""
        self._turn_due = False
        unread, self._unread = self._unread, b""
        conn, deadline = self._conn, time.perf_counter() + _TURN_S
        for start in range(0, len(unread), _SLICE):
            conn.receive_data(unread[start : start + _SLICE])
            for event in conn.events_received():
                if isinstance(event, Frame):
                    self._take(event)
            if conn.close_rcvd is not None or conn.parser_exc is not None:
                # It closes or answers a close, or what it sent was no WebSocket. The library has its answer ready.
                self._over()
                self.finish()
                return
            if self._heard or time.perf_counter() >= deadline:
                self._unread = unread[start + _SLICE :]
                break
        self._flush()
        if self._heard and not self.ended:
            self._attend()
        elif self._unread and not self.transport.is_closing():
            self.transport.pause_reading()
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        else:
            self._listen()

    def _next_turn(self) -> None:
        if not self.transport.is_closing():
            self._read_on()

    def eof_received(self) -> bool | None:
        """The client is gone without a word."""
        self._over()
        return super().eof_received()

    def _take(self, event: Frame) -> None:
        data, event.data = bytes(event.data), b""  # the library's parser keeps the event until the next one
        if self.ended or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if event.opcode is not Opcode.CONT:
            self._opcode = event.opcode
        if not event.fin or self._message is not None:
            if self._message is None:
                self._message = bytearray()
            self._message += data
            if not event.fin:
                return
            payload, self._message = bytes(self._message), None
        else:
            payload = data
        text: str | None = None
        if self._opcode is Opcode.TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                self._close(CloseCode.INVALID_DATA, "not UTF-8")
                return
        if self._heard is None:
            self._heard = []
        self._heard.append(text)

    def _attend(self) -> None:
        """Answer what was heard, one after another; meanwhile the client is not read from."""
        self.transport.pause_reading()
        self._work = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        try:
            heard, self._heard = self._heard or [], None
            deadline = time.perf_counter() + _TURN_S
            for text in heard:
                await self._room_to_answer()
                if self.ended:
                    break
                await self._conversation.hear(text)
                if time.perf_counter() >= deadline:
                    await asyncio.sleep(0)
                    deadline = time.perf_counter() + _TURN_S
            self._work = None
            if not self.transport.is_closing():
                self._read_on()
        except Exception:  # noqa: BLE001  the connection must not stay as if nothing were
            _log.exception("a connection failed")
            self.transport.abort()

    async def _room_to_answer(self) -> None:
        while self.full and not self.ended:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _listen(self) -> None:
        """Read from the client again, unless its last words are still to be answered or it does not read itself."""
        if not self.transport.is_closing() and (
            self.ended or (self._work is None and not self._turn_due and not self.full)
        ):
            self.transport.resume_reading()

    # What becomes of the connection.

    def pause_writing(self) -> None:
        """The transport has enough: who reads nothing is not read from."""
        super().pause_writing()
        if not self.ended and not self.transport.is_closing():
            self.transport.pause_reading()
            for subscriber in self._conversation.subscribers:
                if subscriber.state is State.FOLLOWING:
                    subscriber.move(State.PARKED)  # each would add to what the client does not read
            deadline = self._now() + self.terms.deadline_s
            named = self._conversation.principal is not None  # who is not has a deadline of its own
            if named and deadline < self.due * self._wheel.resolution_s:  # a ping's period later is too late
                self._wheel.discard(self)
                self._wheel.add(self, deadline)

    def drained(self) -> None:
        """On with the subscriptions where they were, with answers, and with listening."""
        # Who has waited longest goes first: else the first subscription would leave nothing to the others.
        for subscriber in sorted(self._conversation.subscribers, key=_waits_since):
            if self.full:
                return
            subscriber.drained()
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        self._listen()

    def tick(self) -> None:
        """The time for a look: has it said who it is, does it read, is anybody there?"""
        if self.ended:
            return
        if self._conversation.principal is None:
            self._close(Close.UNAUTHENTICATED, "no auth frame came in time")
            return
        again = self._now() + self._parts.limits.ping_s
        if self.full:
            again = self.stalled_since() + self.terms.deadline_s
            if again <= self._now():
                self.transport.abort()
                return
        elif self._pinged and self._work is None and not self._turn_due:
            self._conn.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._over()
            self.finish()
            return
        else:
            self._pinged = True
            self._conn.send_ping(_PING)
            self._flush()
        self._wheel.add(self, again)

    def gone(self) -> None:
        """The connection is over."""
        self._wheel.discard(self)
        self._conversation.over()
        if self._work is not None:
            self._work.cancel()
            self._work = None
        if self._room is not None:
            self._room.cancel()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _waits_since(subscriber: Subscriber) -> float:
    return subscriber.parked_at
