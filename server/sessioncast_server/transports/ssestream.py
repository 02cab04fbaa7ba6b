"""An event stream of the fast lane: ready-made chunks (RFC 9112, section 7.1) on a bare transport."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.log import Entry
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.transports.outlet import Outlet, OutletTerms
from sessioncast_server.transports.sse import SseFraming, goodbye
from sessioncast_shared.position import Position

_LAST_CHUNK = b"0\r\n\r\n"


class ChunkedSseFraming(SseFraming):
    """The frames of an event stream, each run of them as one chunk."""

    key = "sse-chunked"

    def opening(self, opening: Opening) -> bytes:
        """`ready`."""
        return _chunk(super().opening(opening))

    def events(self, entries: Sequence[Entry]) -> bytes:
        """One frame per event."""
        return _chunk(super().events(entries))

    def replayed(self, position: Position) -> bytes:
        """An id of its own."""
        return _chunk(super().replayed(position))

    def snapshot(self, page: bytes, position: Position | None) -> bytes:
        """`snapshot`."""
        return _chunk(super().snapshot(page, position))

    def heartbeat(self, position: Position, head: Position) -> bytes:
        """`heartbeat`."""
        return _chunk(super().heartbeat(position, head))

    def resync(self, reason: str) -> bytes:
        """`resync`."""
        return _chunk(super().resync(reason))


CHUNKED = ChunkedSseFraming()


class SseStream(Outlet):
    """The sink and the transport's protocol in one."""

    __slots__ = ("subscriber",)

    def __init__(self, transport: asyncio.Transport, connections: set[Any], terms: OutletTerms) -> None:
        super().__init__(transport, connections, terms)
        self.subscriber: Subscriber | None = None

    def opening(self, opening: Opening) -> bytes:
        """`ready`."""
        return CHUNKED.opening(opening)

    def feed(self, data: bytes) -> bool:
        """Write."""
        self.transport.write(data)
        return not self.full

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        """Write all of it at once, unless the client left while its place was made: then there is nothing to say."""
        if self.transport.is_closing():
            return False
        self.transport.write(b"".join(parts))
        return not self.full

    def end(self, reason: str) -> None:
        """Say goodbye, and close. Who was found too slow with bytes before it unread has had its time."""
        if self.ended:
            return
        self.ended = True
        if reason == "too_slow" and self.full:
            self.transport.abort()
            return
        self.transport.write(_chunk(goodbye(reason, self.terms.retry_ms)) + _LAST_CHUNK)
        self.finish()

    def shutdown(self) -> None:
        """The server ends; by now its drain has said goodbye to nearly everybody."""
        if self.subscriber is None:
            self.end("draining")
        else:
            self.subscriber.end("draining")

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  a protocol's signature
        """Nothing is to be said on a stream: whoever does takes it for another connection than it is."""
        self.transport.abort()

    def drained(self) -> None:
        """On from where it was."""
        if self.subscriber is not None:
            self.subscriber.drained()

    def gone(self) -> None:
        """Nobody reads any more."""
        if self.subscriber is not None:
            self.subscriber.leave()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
