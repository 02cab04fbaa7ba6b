"""Heads of requests are bounded in bytes and in time, before anything else looks at them."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sessioncast_server.transports.cut import can_cut
from sessioncast_server.transports.http_protocol import HeadLimits, HttpProtocol
from support.asgi import served
from support.waiting import DEADLINE_S, until

MAX = 4096


@dataclass
class App:
    """Answers with the size of the body; a stream never ends."""

    seen: list[str] = field(default_factory=list)
    cuttable: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["path"])
        self.cuttable = can_cut(scope)
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        if scope["path"] == "/stream":
            await send(head)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send(head)
        await send({"type": "http.response.body", "body": b"%d bytes" % size})


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send each piece on its own, as far as the server takes them."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def until(self, wanted: bytes) -> bytes:
        """What came, up to this."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.readuntil(wanted)

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.read()


@asynccontextmanager
async def client(app: App, *, deadline_s: float = 30) -> AsyncIterator[Client]:
    """A connection to a server with small bounds."""
    protocol = HttpProtocol.bounded(HeadLimits(MAX, deadline_s))
    async with served(app, http=protocol) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


def refusal(answer: bytes) -> tuple[int, dict[str, Any]]:
    """Status and document of the one problem that was answered."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """The data in pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))


ENDLESS = {
    "one header": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 2 * MAX,
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: a\r\n" * MAX,
    "a target": b"GET /" + b"a" * 2 * MAX,
    "a whole head": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * MAX + b"\r\n\r\n",
}


@pytest.mark.parametrize("size", [100_000, 1000], ids=["at once", "in pieces"])
@pytest.mark.parametrize("head", ENDLESS.values(), ids=ENDLESS)
async def test_a_head_over_the_bound_is_431(head: bytes, size: int) -> None:
    """However it arrives, it is refused with a problem, the connection is closed, and no application sees it."""
    app = App()
    async with client(app) as one:
        await one.send(*cut(head, size))
        status, document = refusal(await one.rest())
    assert (status, document["code"], document["title"]) == (431, "too_large", "Request Header Fields Too Large")
    assert app.seen == []


@pytest.mark.parametrize("size", [100_000, 500], ids=["at once", "in pieces"])
async def test_what_is_within_the_bound_goes_through(size: int) -> None:
    """A head just under it, with a body far over it, chunked or not, as often as wanted on one connection."""
    app = App()
    start = b"POST /ok HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (MAX - 200)
    plain = start + b"\r\nContent-Length: 20000\r\n\r\n" + b"b" * 20_000
    chunked = start + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n%s\r\n" % (b"b" * 1000) * 20 + b"0\r\n\r\n"
    async with client(app) as one:
        for request in (plain, chunked, plain):
            await one.send(*cut(request, size))
            await one.until(b"20000 bytes")
    assert app.seen == ["/ok"] * 3
    assert app.cuttable


async def test_trailers_are_bounded_too() -> None:
    """What follows the last chunk of a body counts as headers do."""
    async with client(App()) as one:
        await one.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: ")
        await one.send(*cut(b"a" * 2 * MAX, 1000))
        assert refusal(await one.rest())[0] == 431


async def test_a_head_that_comes_too_slowly_is_408() -> None:
    """The clock runs from its first byte, also on a connection that was used before; idle it may be."""
    app = App()
    async with client(app, deadline_s=0.3) as one:
        await one.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await one.until(b"0 bytes\r\n0\r\n\r\n")
        await asyncio.sleep(0.5)  # longer than the deadline: nothing is owed here
        await one.send(b"GET /b HTTP/1.1\r\n", b"Host: x\r\n\r\n")
        await one.until(b"0 bytes\r\n0\r\n\r\n")
        await one.send(b"GET /c HTTP/1.1\r\nHost")
        status, document = refusal(await one.rest())
    assert (status, document["code"]) == (408, "bad_request")
    assert app.seen == ["/a", "/b"]


@pytest.mark.parametrize(
    "request_",
    [b"rubbish\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"],
    ids=["head", "body"],
)
async def test_what_is_not_http_is_a_problem_too(request_: bytes) -> None:
    """It is answered 400 as everything else that is wrong."""
    async with client(App()) as one:
        await one.send(request_)
        status, document = refusal(await one.rest())
    assert (status, document["code"]) == (400, "bad_request")


async def test_a_stream_is_not_written_into() -> None:
    """What is wrong with a second request ends the connection, but its refusal does not become part of the stream."""
    async with client(App()) as one:
        await one.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await one.until(b"begun")
        await one.send(ENDLESS["one header"])
        assert b"HTTP/1.1" not in await one.rest()


async def test_an_answer_under_way_is_seen_as_streaming() -> None:
    """The drain can tell a stream from a connection that is idle."""
    connections: list[HttpProtocol] = []

    class Watched(HttpProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            connections.append(self)
            super().connection_made(transport)

    async with served(App(), http=Watched) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"0 bytes\r\n0\r\n\r\n")
        assert not connections[0].streaming
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"begun")
        assert connections[0].streaming
        writer.close()
        await until(lambda: not connections[0].server_state.connections, "the end of the connection")


def test_uvicorn_still_has_what_is_used_of_it() -> None:
    """Its protocol class has the methods that are overridden, with their parameters, and what is read of it."""
    wanted = {
        "connection_made": ["transport"], "connection_lost": ["exc"], "data_received": ["data"],
        "on_message_begin": [], "on_headers_complete": [], "on_body": ["body"], "send_400_response": ["msg"],
        "_unset_keepalive_if_required": [],
    }  # fmt: skip
    for name, parameters in wanted.items():
        assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) == ["self", *parameters], name
    source = inspect.getsource(HttpToolsProtocol) + inspect.getsource(RequestResponseCycle)
    for name in ("app_state", "loop", "transport", "cycle", "url", "headers"):
        assert f"self.{name} = " in source or f"self.{name}: " in source, name
    for name in ("disconnected", "message_event", "response_started", "response_complete"):
        assert f"self.{name} = " in inspect.getsource(RequestResponseCycle), name
