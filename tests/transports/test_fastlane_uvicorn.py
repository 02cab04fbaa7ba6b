"""The installed uvicorn still is what the fast lane relies on; when it is not, the failure names what changed."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.server import ServerProtocol

from sessioncast_server.transports.fastlane import FastHttpProtocol, FastWebSocketProtocol, offer_of
from support.waiting import until

METHODS: dict[type, dict[str, list[str]]] = {
    HttpToolsProtocol: {
        "connection_made": ["transport"], "connection_lost": ["exc"], "data_received": ["data"],
        "on_message_begin": [], "on_headers_complete": [], "on_body": ["body"], "send_400_response": ["msg"],
        "handle_websocket_upgrade": [], "_unset_keepalive_if_required": [], "shutdown": [],
        "_start_asgi_task": ["cycle", "app"],
    },
    RequestResponseCycle: {"run_asgi": ["app"], "send": ["message"]},
    FlowControl: {"pause_writing": [], "resume_writing": [], "pause_reading": [], "resume_reading": []},
    WebSocketsSansIOProtocol: {
        "handle_connect": ["event"], "stop_keepalive": [], "run_asgi": [], "shutdown": [], "send": ["message"],
    },
    ServerProtocol: {
        "receive_data": ["data"], "events_received": [], "data_to_send": [], "send_close": ["code", "reason"],
        "send_ping": ["data"], "fail": ["code", "reason"],
    },
}  # fmt: skip

ATTRIBUTES: dict[str, list[str]] = {
    "HttpToolsProtocol": [
        "transport", "connections", "server_state", "app_state", "flow", "cycle", "parser", "scope", "pipeline", "loop",
        "url", "headers", "tasks",
    ],
    "RequestResponseCycle": [
        "disconnected", "more_body", "body", "response_started", "response_complete", "keep_alive", "message_event",
    ],
    "FlowControl": ["read_paused", "write_paused"],
    "ServerState": ["connections", "tasks", "total_requests"],
    "WebSocketsSansIOProtocol": [
        "transport", "connections", "app_state", "conn", "queue", "frames", "writable", "handshake_complete",
        "close_sent", "disconnected", "read_paused", "request", "response", "scope", "close_timer",
    ],
    "ServerProtocol": ["close_rcvd", "parser_exc"],
}  # fmt: skip


def changed_methods() -> list[str]:
    """What is not there any more, or takes something else."""
    found = []
    for owner, methods in METHODS.items():
        for name, parameters in methods.items():
            method = getattr(owner, name, None)
            now = None if method is None else list(inspect.signature(method).parameters)
            if now is None or now[: len(parameters) + 1] != ["self", *parameters]:
                found.append(f"{told(owner)}.{name}({', '.join(parameters)}) is now {now}")
    return found


def told(owner: type) -> str:
    """Where to look."""
    return f"uvicorn {uvicorn.__version__}: {owner.__module__}.{owner.__qualname__}"


def lacking(things: Iterable[tuple[str, Any]]) -> list[str]:
    """Attributes that live objects of these kinds should have, and have not."""
    return [
        f"{told(type(thing))} (as {kind}) has no {name} any more"
        for kind, thing in things
        for name in ATTRIBUTES[kind]
        if not hasattr(thing, name)
    ]


class Taken(asyncio.Protocol):
    """What a connection is given to; it counts what it is told."""

    def __init__(self, transport: asyncio.Transport, connections: set[Any]) -> None:
        self.transport = transport
        self.connections = connections
        self.shutdowns = 0

    def shutdown(self) -> None:
        """uvicorn ends."""
        self.shutdowns += 1

    def leave(self) -> None:
        """What the real one does once its connection is lost."""
        self.transport.write(b"bye")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Over."""
        self.connections.discard(self)


class App:
    """Takes every connection over, and asks before what it holds."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.lacks: list[str] = []
        self.tasks: set[Any] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            offer = offer_of(scope)
            self.lacks += lacking([("WebSocketsSansIOProtocol", offer), ("ServerProtocol", offer.conn)])
            self.tasks = offer.tasks
            self.taken.append(offer.detach(lambda transport, connections, conn, heard: Taken(transport, connections)))
            return
        offer = offer_of(scope)
        self.lacks += lacking(
            [
                ("HttpToolsProtocol", offer), ("RequestResponseCycle", offer.cycle), ("FlowControl", offer.flow),
                ("ServerState", offer.server_state),
            ]
        )  # fmt: skip
        self.tasks = offer.tasks
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.taken.append(offer.detach(Taken))


@asynccontextmanager
async def served(app: App) -> AsyncIterator[tuple[str, int]]:
    """Address of a real uvicorn with our protocols; it is told to end with the block, which waits until it has."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, lifespan="off", http=FastHttpProtocol, ws=FastWebSocketProtocol
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or running.done(), "uvicorn to start")
        host, port = server.servers[0].sockets[0].getsockname()
        yield host, port
    finally:
        server.should_exit = True
        await running


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_uvicorn_has_the_methods_that_are_called_and_overridden() -> None:
    """With the parameters that they are called with."""
    assert changed_methods() == []


def test_a_change_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method or an attribute that is gone is told by the class it was in, and by uvicorn's version."""
    monkeypatch.delattr(HttpToolsProtocol, "handle_websocket_upgrade")
    expected = "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.handle_websocket_upgrade() is now None"
    assert changed_methods() == [f"uvicorn {uvicorn.__version__}: {expected}"]

    class Bare:
        read_paused = False

    assert lacking([("FlowControl", Bare())]) == [f"{told(Bare)} (as FlowControl) has no write_paused any more"]


@pytest.mark.parametrize(
    ("request_", "head"), [(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"chunked"), (HANDSHAKE, b"101")], ids=["sse", "ws"]
)
async def test_a_detached_connection_is_left_alone_and_waited_for(
    caplog: pytest.LogCaptureFixture, request_: bytes, head: bytes
) -> None:
    """uvicorn logs no error and closes nothing when the application returns; it ends only once the connection has.

    It tells the one that took over to shut down, and no task is left of the request.
    """
    app = App()
    async with served(app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request_)
        assert head in await reader.readuntil(b"\r\n\r\n")
        await until(lambda: app.taken != [], "the connection to be taken over")
        assert app.lacks == []
        await until(lambda: not app.tasks, "the task of the request to end")
        taken = app.taken[0]
        assert not taken.transport.is_closing()
        assert taken.connections == {taken}
        taken.transport.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        ending = asyncio.create_task(until(lambda: taken.shutdowns > 0, "the word to shut down"))
        ending.add_done_callback(lambda _: taken.leave())
    assert taken.shutdowns == 1
    assert await reader.read() == b"bye"
    writer.close()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
