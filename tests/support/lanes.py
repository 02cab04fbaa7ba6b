"""Servers in the test's own loop: one application on both lanes, and a raw connection that sends what it likes."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from sessioncast_server.app import Application
from sessioncast_server.db.migrate import migrate
from sessioncast_server.server import DrainingServer, make_server
from sessioncast_server.settings import load
from sessioncast_server.transports.outlet import Outlet
from support.api import SECRET, bearer
from support.waiting import DEADLINE_S, until

LANES = ["auto", "portable"]
EVENTS = "/v1/projects/p/events"


class _Guest:
    """An application that another server starts and stops."""

    def __init__(self, application: Application) -> None:
        self.asgi = application.asgi

    async def start(self) -> None:
        """Done."""

    drain = stop = start


@dataclass
class Lane:
    """One server.

    Attributes:
        port: on 127.0.0.1.
    """

    application: Application
    server: DrainingServer
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def outlets(self) -> list[Outlet]:
        """Connections that were taken over."""
        connections: set[Any] = set(self.server.server_state.connections)
        return [each for each in connections if isinstance(each, Outlet)]

    async def request(self, method: str, path: str, json: Any = None, *, sub: str = "ann") -> Any:
        """An answer's document, of a request that succeeds."""
        return (await self.answer(method, path, json, sub=sub)).json()

    async def answer(
        self, method: str, path: str, json: Any = None, *, sub: str = "ann", poll: bool = False
    ) -> httpx2.Response:
        """The answer itself; to a poll where a stream could be had."""
        async with httpx2.AsyncClient(timeout=30) as http:
            headers = {"Authorization": bearer(sub=sub), "Content-Type": "application/json"}
            headers |= {"Accept": "application/json"} if poll else {}
            answer = await http.request(method, self.url + path, json=json, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer

    async def task(self, title: str = "T") -> str:
        """A new task's id: one event."""
        return str((await self.request("POST", "/v1/projects/p/tasks", {"title": title}))["id"])


@asynccontextmanager
async def lanes(folder: Path, *names: str, **settings: str) -> AsyncIterator[list[Lane]]:
    """One application with the project `p`, served on these lanes; settings are named without their prefix."""
    interval = sys.getswitchinterval()
    given = {"PORT": "0", "DATABASE_URL": f"sqlite:///{folder}/s.db", "JWT_SECRET": SECRET, **settings}
    found: list[Lane] = []
    async with AsyncExitStack() as stack:
        stack.callback(sys.setswitchinterval, interval)
        for name in names:
            loaded = load({f"SESSIONCAST_{each}": value for each, value in {**given, "LANE": name}.items()})
            if not found:
                await asyncio.to_thread(migrate, loaded.database_url)
            application: Any = _Guest(found[0].application) if found else Application(loaded)
            ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            server = make_server(loaded, ready=ready.set_result, application=application)
            running = asyncio.create_task(server.serve())
            stack.push_async_callback(_stopped, server, running)
            await until(lambda ready=ready, running=running: ready.done() or running.done(), "a server")  # type: ignore[misc]  # bound early
            port = int(ready.result().rpartition(":")[2])
            found.append(Lane(found[0].application if found else application, server, port))
        await found[0].request("PUT", "/v1/projects/p", {})
        yield found


async def _stopped(server: DrainingServer, running: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await running


class Wire:
    """A raw connection.

    Attributes:
        port: its own.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.port: int = writer.get_extra_info("sockname")[1]
        self.seen = b""

    def send(self, data: bytes) -> None:
        """At once, in one segment where it fits."""
        self.writer.write(data)

    def get(
        self,
        path: str = EVENTS,
        *more: str,
        version: str = "1.1",
        method: str = "GET",
        body: bytes = b"",
        token: str | None = None,
    ) -> None:
        """A request for a stream, with these header lines too."""
        lines = [f"{method} {path} HTTP/{version}", "Host: x", f"Authorization: {token or bearer()}", *more, "", ""]
        self.send("\r\n".join(lines).encode() + body)

    async def until(self, wanted: bytes) -> bytes:
        """All that came so far, once this is in it."""
        async with asyncio.timeout(DEADLINE_S):
            while wanted not in self.seen:
                data = await self.reader.read(65536)
                if not data:
                    raise AssertionError(f"ended before {wanted!r}: {self.seen[-500:]!r}")
                self.seen += data
        return self.seen

    @property
    def body(self) -> bytes:
        """What was sent in chunks, as far as it came."""
        rest, out = self.seen.partition(b"\r\n\r\n")[2], b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            count = int(size, 16)
            out, rest = out + rest[:count], rest[count + 2 :]
        return out

    async def rest_as_it_comes(self) -> None:
        """Read until the server closes, or says that the answer is whole."""
        while data := await self.reader.read(65536):
            self.seen += data
            if self.seen.endswith(b"\r\n0\r\n\r\n"):
                return

    async def rest(self) -> bytes:
        """All that came, once the server has closed."""
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionResetError):
                self.seen += await self.reader.read()
        return self.seen

    def reset(self) -> None:
        """End it without a word (RST)."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def wire(lane: Lane, *, buffer: int | None = None) -> AsyncIterator[Wire]:
    """A connection, with a receive buffer of so many bytes."""
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", lane.port))
    async with Wire(*await asyncio.open_connection(sock=sock, limit=4096 if buffer else 1 << 22)) as one:
        yield one


def masked(opcode: Opcode, data: bytes | str = b"", *, fin: bool = True) -> bytes:
    """A client's frame on the wire."""
    return Frame(opcode, data.encode() if isinstance(data, str) else data, fin).serialize(mask=True)


class WebSocketWire:
    """A WebSocket whose bytes the test makes itself; what comes is read by the library's parser."""

    def __init__(self, wire: Wire, lane: Lane) -> None:
        self.wire = wire
        self.protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{lane.port}/v1/ws"))
        self.frames: list[Frame] = []
        self.raw = b""

    def handshake(self, *, token: str | None) -> bytes:
        """Bytes of the client's part."""
        request = self.protocol.connect()
        if token is not None:
            request.headers["Authorization"] = token
        self.protocol.send_request(request)
        return b"".join(self.protocol.data_to_send())

    def send(self, *frames: bytes) -> None:
        """All in one piece."""
        self.wire.send(b"".join(frames))

    async def _more(self) -> bool:
        data = await self.wire.reader.read(65536)
        if not data:
            self.protocol.receive_eof()
            return False
        self.raw += data
        self.protocol.receive_data(data)
        self.protocol.data_to_send()  # it would answer for us; the test says what is answered
        self.frames += [each for each in self.protocol.events_received() if isinstance(each, Frame)]
        return True

    async def got(self, opcode: Opcode, count: int = 1) -> list[bytes]:
        """Payloads of this kind, once there are so many."""
        async with asyncio.timeout(DEADLINE_S):
            while len(found := self.of(opcode)) < count:
                if not await self._more():
                    raise AssertionError(f"ended: {self.frames[-5:]}")
        return found

    def of(self, opcode: Opcode) -> list[bytes]:
        """Payloads of this kind so far."""
        return [bytes(each.data) for each in self.frames if each.opcode is opcode]

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason of the server's close frame, once the connection is over."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                while await self._more():
                    pass
            except ConnectionResetError:
                pass
        return self.protocol.close_code, self.protocol.close_reason


@asynccontextmanager
async def websocket_wire(
    lane: Lane, *, token: str | None = None, early: bytes = b"", buffer: int | None = None
) -> AsyncIterator[WebSocketWire]:
    """A raw WebSocket, with these frames in the same piece as the handshake."""
    async with wire(lane, buffer=buffer) as one:
        socket_ = WebSocketWire(one, lane)
        one.send(socket_.handshake(token=token) + early)
        async with asyncio.timeout(DEADLINE_S):
            while socket_.protocol.handshake_exc is None and socket_.protocol.state.name == "CONNECTING":
                if not await socket_._more():
                    break
        yield socket_
