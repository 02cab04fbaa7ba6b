"""uvicorn with a drain of its own: streams are told goodbye before connections are closed.

uvicorn waits for open streams before it runs lifespan shutdown, and for ever. So the drain comes first: not ready,
no new connections, a goodbye on every stream, then what is still stuck is aborted.
"""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from types import FrameType

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sessioncast_server.app import Application
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.settings import Settings
from sessioncast_server.transports.descriptors import connections_bound, raise_descriptor_limit
from sessioncast_server.transports.fastlane import FastHttpProtocol, FastWebSocketProtocol
from sessioncast_server.transports.http_protocol import HeadLimits, HttpProtocol

_FRAME_MAX = 1 << 20  # a larger WebSocket frame is not even read; up to here an error frame answers
_SETTLE_S = 0.02
_LAST_TOLD_S = 0.25
"""Who was told goodbye last has so long to take it, however long it took to tell all the others."""


class DrainingServer(uvicorn.Server):
    """A server of one node.

    Args:
        drain_s: time for goodbyes to be said and taken; then connections are aborted.
        ready: called with the address once requests are taken.
        tcp_options: options of the listening sockets by their names in `socket`; where there is no such, nothing.

    Attributes:
        failure: why it did not start.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        application: Application,
        *,
        drain_s: float,
        ready: Callable[[str], None],
        tcp_options: Mapping[str, int],
    ) -> None:
        super().__init__(config)
        self._application = application
        self._drain_s = drain_s
        self._ready = ready
        self._tcp_options = tcp_options
        self.failure: str | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  a signal handler's signature
        """Stop in order, and then exit with status 0; a second SIGINT does not wait for anybody."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end; the process has nothing else to do after it."""
        super().run(sockets)
        # The interpreter would search all that is left for garbage on its way out: a third of a second after 10,000
        # streams, for memory that the kernel takes back anyway.
        gc.freeze()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then as uvicorn's, then tell the address. What fails is kept in `failure`."""
        try:
            await self._application.start()
        except DatabaseError as error:
            self._give_up(str(error))
            return
        try:
            await super().startup(sockets=sockets)
        except SystemExit:  # uvicorn has logged why it cannot listen
            await self._application.stop()
            self._give_up(f"cannot listen on {self.config.host} port {self.config.port}")
            return
        for server in self.servers:
            for listener in server.sockets:
                self._bound(listener)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then as uvicorn's, then stop the application."""
        for server in self.servers:
            server.close()
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._drain_s
        await self._application.drain()
        deadline = max(deadline, clock() + min(_LAST_TOLD_S, self._drain_s))
        while self._streams() and not self.force_exit and clock() < deadline:  # noqa: ASYNC110  uvicorn's set has no event
            await asyncio.sleep(_SETTLE_S)
        # Who has not taken its goodbye by now reads nothing; a change under way is no stream, and is waited for.
        for transport in self._streams():
            transport.abort()
        await super().shutdown(sockets=sockets)
        await self._application.stop()

    def _bound(self, listener: socket.socket) -> None:
        """Bound what the kernel holds for each connection accepted here: they inherit it (tcp(7)).

        Else a client that reads nothing takes megabytes before its stream counts as full, and one whose machine is
        gone keeps its place for a quarter of an hour.
        """
        for name, value in self._tcp_options.items():
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def _streams(self) -> list[asyncio.Transport]:
        """Transports of WebSockets, and of HTTP answers that have begun and not ended."""
        return [
            connection.transport
            for connection in self.server_state.connections
            if (not isinstance(connection, HttpProtocol) or connection.streaming) and connection.transport is not None
        ]

    def _give_up(self, reason: str) -> None:
        self.failure = reason
        self.should_exit = True


def make_server(
    settings: Settings, *, ready: Callable[[str], None], application: Application | None = None
) -> DrainingServer:
    """The server of these settings; the application is made of them too, unless it is given."""
    sys.setswitchinterval(settings.switch_interval_s)
    application = application or Application(settings)
    connections = connections_bound(settings.connections_max, raise_descriptor_limit())
    http = HttpProtocol if settings.lane == "portable" else FastHttpProtocol
    config = uvicorn.Config(
        application.asgi,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "auto",
        http=http.bounded(HeadLimits(settings.headers_max_bytes, settings.head_deadline_s, connections)),
        ws=WebSocketsSansIOProtocol if settings.lane == "portable" else FastWebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=_FRAME_MAX,
        ws_ping_interval=settings.ws_ping_s,
        ws_ping_timeout=settings.ws_ping_s,
        limit_concurrency=None,
        backlog=4096,
        lifespan="off",  # started and stopped by the server above, which can say what went wrong
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    tcp = {"TCP_NOTSENT_LOWAT": settings.unsent_bytes, "TCP_USER_TIMEOUT": int(settings.tcp_user_timeout_s * 1000)}
    return DrainingServer(config, application, drain_s=settings.drain_s, ready=ready, tcp_options=tcp)
