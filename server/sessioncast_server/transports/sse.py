"""Server-sent events (WHATWG HTML, section 9.2): the words of a stream, and what holds them for the portable lane."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson

from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.log import Entry
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.transports.outlet import OutletTerms
from sessioncast_shared.position import Position


class SseFraming:
    """Frames of an event stream. Log events are unnamed, control frames are named."""

    key = "sse"

    def opening(self, opening: Opening) -> bytes:
        """`ready`; its id is given only once nothing is missing before it."""
        return _frame("ready", opening_fields(opening))

    def events(self, entries: Sequence[Entry]) -> bytes:
        """One frame per event. The position is the first member of each body, so it need not be told again.

        A whisper has no id: the client keeps the last one.
        """
        return b"".join(
            [
                b"id: %s\ndata: %s\n\n" % (_position(entry.body), entry.body)
                if entry.offset
                else b"data: %s\n\n" % entry.body
                for entry in entries
            ]
        )

    def replayed(self, position: Position) -> bytes:
        """An id of its own: it moves the client's last event id and dispatches nothing."""
        return b"id: %s\n\n" % str(position).encode()

    def snapshot(self, page: bytes, position: Position | None) -> bytes:
        """`snapshot`, with the id on the last one."""
        if position is None:
            return b'event: snapshot\ndata: {%s,"more":true}\n\n' % page
        text = str(position).encode()
        return b'event: snapshot\nid: %s\ndata: {%s,"position":"%s","more":false}\n\n' % (text, page, text)

    def heartbeat(self, position: Position, head: Position) -> bytes:
        """`heartbeat`, with the stream's position as id."""
        return _frame("heartbeat", {"head": str(head)}, position)

    def resync(self, reason: str) -> bytes:
        """`resync`."""
        return _frame("resync", {"reason": reason})


FRAMING = SseFraming()


def opening_fields(opening: Opening) -> dict[str, Any]:
    """The members of a stream's first frame."""
    fields = {"state": opening.state, "position": str(opening.position)}
    if opening.start is not None:
        fields["from"] = str(opening.start)
    if opening.end is not None:
        fields["to"] = str(opening.end)
    if opening.reason is not None:
        fields["reason"] = opening.reason
    return fields


def goodbye(reason: str, retry_ms: int) -> bytes:
    """`goodbye`, and when to come back: with jitter, so that not everybody does at once."""
    wait = retry_ms + random.randrange(retry_ms * 2)  # noqa: S311  spreads clients, guards nothing
    return b"retry: %d\n" % wait + _frame("goodbye", {"retry_ms": wait, "reason": reason})


_PIECE = 1 << 16
"""Bytes after which it is seen whether the client takes them."""


class SseSink:
    """Holds the one piece of bytes that is being sent, and, at the end, a goodbye behind it.

    Attributes:
        cut: ends the connection at once; the response sets a better way where its server has one.
        ended: it is to say goodbye, or has.
        full: never; it is fed one thing at a time.
    """

    full = False

    def __init__(self, terms: OutletTerms) -> None:
        self._terms = terms
        self._cutting: asyncio.TimerHandle | None = None
        self.cut: Callable[[], None] = self._give_up
        self._pending: list[bytes] = []
        self._wake = asyncio.Event()
        self._sending: asyncio.Task[Any] | None = None
        self._busy = False
        self._moved_at = 0.0
        self.ended = False
        self.subscriber: Subscriber | None = None

    def opening(self, opening: Opening) -> bytes:
        """`ready`."""
        return FRAMING.opening(opening)

    def feed(self, data: bytes) -> bool:
        """Take bytes. What ASGI does with them is known only when it asks for more: until then the sink is full."""
        self._pending.append(data)
        self._wake.set()
        return False

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        """Take bytes."""
        self._pending += parts
        self._wake.set()
        return False

    def stalled_since(self) -> float:
        """When the server last asked for more."""
        return self._moved_at

    def end(self, reason: str) -> None:
        """Say goodbye. A client that reads nothing would never hear it: it is cut off in the end."""
        self.ended = True
        self._pending.append(goodbye(reason, self._terms.retry_ms))
        self._wake.set()
        # Who was found too slow with bytes before it unread has had its time.
        wait = 0.0 if reason == "too_slow" and self._busy else self._terms.deadline_s
        self._cutting = asyncio.get_running_loop().call_later(wait, self._cut_off)

    def _cut_off(self) -> None:
        self.cut()

    def _give_up(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def body(self) -> AsyncIterator[bytes]:
        """The response's body."""
        self._sending = asyncio.current_task()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                data, self._pending = b"".join(self._pending), []
                last = self.ended
                self._busy = True
                for start in range(0, len(data), _PIECE):
                    yield data[start : start + _PIECE]
                    self._moved_at = asyncio.get_running_loop().time()
                self._busy = False
                if last and not self._pending:
                    return
                if self.subscriber is not None:
                    self.subscriber.drained()
        finally:
            self.release()

    def release(self) -> None:
        """The response is over, whatever became of it."""
        if self._cutting is not None:
            self._cutting.cancel()
        if self.subscriber is not None:
            self.subscriber.leave()


def _position(body: bytes) -> bytes:
    # {"position":"EPOCH:OFFSET",…
    return body[13 : body.index(b'"', 13)]


def _frame(name: str, data: dict[str, Any], position: Position | None = None) -> bytes:
    head = b"" if position is None else b"id: %s\n" % str(position).encode()
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), head, orjson.dumps(data))
