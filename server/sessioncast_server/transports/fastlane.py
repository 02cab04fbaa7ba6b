"""The fast lane: uvicorn's protocols, offering the application to take a connection over once it is authorised.

An idle stream under an ASGI server keeps a task, its frames, the scope and two parsers: 27 to 45 kB. Taken over, the
transport belongs to a small protocol object of ours and everything else is released. The offer stands in the scope
under `extensions`; under any other server it is not there, and the portable lane serves the same.

Together with `http_protocol.py` the only file that knows uvicorn's protocol classes from inside; a test asks uvicorn
whether all this is still true.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import Protocol as WebSocketProtocol
from websockets.protocol import Side

from sessioncast_server.transports.http_protocol import HttpProtocol

KEY = "sessioncast.detach"
"""Where in a scope's `extensions` the offer stands."""


class Detached(Protocol):
    """What a connection is given to: the protocol of its transport from then on.

    Attributes:
        transport: of the connection.
    """

    transport: asyncio.Transport

    def shutdown(self) -> None:
        """The server ends: say goodbye and close."""


_log = logging.getLogger("websockets.server")
_D = TypeVar("_D", bound=Detached)
Connections = set[Any]
"""uvicorn's set of open connections, which it waits for when it ends. A detached one takes itself out of it."""


class FastHttpProtocol(HttpProtocol):
    """Offers the connection of a GET to be detached once the head of its answer was written."""

    def on_headers_complete(self) -> None:
        """A head is whole."""
        super().on_headers_complete()
        if self.scope["method"] == "GET" and self.scope["http_version"] == "1.1":
            self.scope["extensions"] = {KEY: self}  # type: ignore[dict-item]  # uvicorn's are all dictionaries

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection ended."""
        super().connection_lost(exc)
        self.scope = None  # type: ignore[assignment]  # the offer in it leads back here

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's from here on."""
        super().handle_websocket_upgrade()
        # The parser and its callbacks hold each other; left to the collector, that is most of a connection's memory.
        self.parser = self.scope = None  # type: ignore[assignment]  # released

    @property
    def detachable(self) -> bool:
        """Whether nothing but silence is to be expected of the client: no body, nothing pipelined.

        A paused transport would not notice the client's end; a full one holds bytes that the next owner knows nothing
        of.
        """
        cycle = self.cycle
        return not (
            self.transport.is_closing()
            or cycle.disconnected
            or cycle.more_body
            or cycle.body
            or self.pipeline
            or self._in_head
            or self._refused
            or self.flow.read_paused
            or self.flow.write_paused
        )

    def detach(self, make: Callable[[asyncio.Transport, Connections], _D]) -> _D:
        """Give the connection away; `detachable` was asked for in the same turn of the loop."""
        self._unset_keepalive_if_required()
        stream = make(self.transport, self.connections)
        self.connections.discard(cast("Any", self))
        self.connections.add(cast("Any", stream))
        self.transport.set_protocol(cast("asyncio.BaseProtocol", stream))
        self.server_state.total_requests += 1
        # For uvicorn the request is answered; what it holds goes with the task that serves it.
        self.cycle.response_complete = True
        self.parser = self.cycle = self.scope = self._serving = None  # type: ignore[assignment]  # released
        self.app_state = {}
        return stream


class _Nothing:
    """Stands where a protocol's transport was: uvicorn closes that when the application returns."""

    def close(self) -> None:
        """Nothing."""


class FastWebSocketProtocol(WebSocketsSansIOProtocol):
    """Offers an accepted connection to be detached."""

    _reads = 0

    def data_received(self, data: bytes) -> None:
        """The head of the request first, which uvicorn hands on by itself; then what the client says."""
        self._reads += 1
        super().data_received(data)

    def handle_connect(self, event: Request) -> None:
        """A handshake has begun."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast("dict[str, Any]", self.scope["extensions"])[KEY] = self

    @property
    def detachable(self) -> bool:
        """Whether the handshake is done, nothing is half received, and all that was said was sent."""
        return (
            self.handshake_complete
            and not self.close_sent
            and not self.disconnected
            and not self.frames
            and self.writable.is_set()
            and not self.transport.is_closing()
        )

    def detach(self, make: Callable[[asyncio.Transport, Connections, WebSocketProtocol, list[str | None]], _D]) -> _D:
        """Give the connection away, with what the client has said already; None stands for a binary message."""
        self.stop_keepalive()
        heard: list[str | None] = []
        while not self.queue.empty():
            message = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                heard.append(message.get("text"))
        transport = self.transport
        # One that has done a handshake keeps what it was done with. While nothing came after it, one that is open from
        # the start is the same, and half as large.
        conn: WebSocketProtocol = self.conn
        if self._reads == 1:
            conn = WebSocketProtocol(Side.SERVER, max_size=self.config.ws_max_size, logger=_log)
            self.conn.parser.close()  # it and its protocol hold each other
        stream = make(transport, self.connections, conn, heard)
        self.connections.discard(cast("Any", self))
        self.connections.add(cast("Any", stream))
        transport.set_protocol(cast("asyncio.BaseProtocol", stream))
        if self.read_paused:
            transport.resume_reading()
        # The library's parser keeps the handshake's request for as long as the connection lasts.
        self.request.headers.clear()
        self.transport = _Nothing()  # type: ignore[assignment]  # not ours any more
        self.scope["extensions"] = {}
        self.app_state = {}
        return stream


def offer_of(scope: Mapping[str, Any]) -> Any:
    """The offer in a scope, where it can be taken now; else None."""
    offer = scope.get("extensions", {}).get(KEY)
    return offer if offer is not None and offer.detachable else None
