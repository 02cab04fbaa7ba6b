"""What the fast lane takes over and what it leaves to uvicorn; what it took over costs no more than the connection."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sessioncast_server.transports.outlet import OutletTerms
from sessioncast_server.transports.ssestream import SseStream
from support.api import bearer
from support.lanes import EVENTS, LANES, Lane, Wire, lanes, websocket_wire, wire
from support.waiting import until


@pytest.fixture(params=LANES)
async def lane(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lane]:
    """A server of each lane."""
    async with lanes(tmp_path, request.param, HEARTBEAT_S="30") as found:
        yield found[0]


@pytest.fixture
async def fast(tmp_path: Path) -> AsyncIterator[Lane]:
    """A server with the fast lane."""
    async with lanes(tmp_path, "auto", HEARTBEAT_S="30") as found:
        yield found[0]


async def empty(lane: Lane) -> None:
    """Nothing of any stream is left."""
    await until(lambda: not lane.server.server_state.connections, "the connections to go")
    await until(lambda: lane.application.hub.subscribers == 0 and lane.application.admission.open == 0, "all places")


def ask(one: Wire, how: str) -> None:
    """Requests that a client may make for the same stream."""
    match how:
        case "plain":
            one.get()
        case "no body":
            one.get(EVENTS, "Content-Length: 0")
        case "close":
            one.get(EVENTS, "Connection: close")
        case "expect":
            one.get(EVENTS, "Expect: 100-continue")
        case "foreign upgrade":
            one.get(EVENTS, "Connection: Upgrade", "Upgrade: h2c")
        case "body":
            one.get(EVENTS, "Content-Length: 4", body=b"body")
        case "chunked body":
            one.get(EVENTS, "Transfer-Encoding: chunked", body=b"4\r\nbody\r\n0\r\n\r\n")
        case "body to come":
            one.get(EVENTS, "Content-Length: 4")
        case "pipelined":
            one.get(body=b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        case "half a second request":
            one.get(body=b"GET /healthz HTT")
        case "old":
            one.get(version="1.0")


TAKEN = ["plain", "no body", "close", "expect", "foreign upgrade"]
LEFT = ["body", "chunked body", "body to come", "pipelined", "half a second request", "old"]


@pytest.mark.parametrize("how", TAKEN + LEFT)
async def test_what_is_taken_over_and_what_is_served_by_uvicorn(fast: Lane, how: str) -> None:
    """Either way the stream opens, tells the snapshot and then events; and nothing is left of it."""
    async with wire(fast) as one:
        ask(one, how)
        assert b"200 OK" in await one.until(b"event: snapshot")
        assert len(fast.outlets) == (how in TAKEN)
        task = await fast.task()
        await one.until(task.encode())
        assert one.seen.count(b"HTTP/1.1 200 OK") == 1
    if how == "pipelined":
        for _ in range(2):
            await fast.task()  # uvicorn does not read from who has asked already: it learns of the end when it writes
    await empty(fast)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS"])
async def test_other_methods_are_no_streams(lane: Lane, method: str) -> None:
    """They are answered and the connection goes on."""
    async with wire(lane) as one:
        one.get(method=method)
        assert b"405" in (await one.until(b"\r\n\r\n")).partition(b"\r\n")[0]
        assert lane.outlets == []


async def test_a_poll_is_an_answer_and_the_connection_is_kept(lane: Lane) -> None:
    """With `Accept: application/json`; the next request on it may become a stream."""
    async with wire(lane) as one:
        one.get(EVENTS, "Accept: application/json")
        assert b"application/json" in await one.until(b'"more":')
        assert lane.outlets == []
        one.get()
        await one.until(b"event: snapshot")


async def test_bytes_on_a_stream_that_was_taken_over_close_it(fast: Lane) -> None:
    """Nothing is to be said on it: whoever does takes it for another connection than it is."""
    async with wire(fast) as one:
        one.get()
        await one.until(b"event: snapshot")
        one.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200 OK" not in (await one.rest()).partition(b"\r\n")[2]
        await empty(fast)


async def test_a_client_that_says_no_more_is_let_go_of(lane: Lane) -> None:
    """Half closed with the request or after the stream began: the connection ends, and nothing of it is left."""
    for late in (False, True):
        async with wire(lane) as one:
            one.get()
            if late:
                await one.until(b"event: snapshot")
            one.writer.write_eof()
            await one.rest()
        await empty(lane)


def held_join(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold the hub's joins: the first event tells of one, the second lets it go on."""
    hub = lane.application.hub
    join, asked, go = hub.join, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        asked.set()
        await go.wait()
        return await join(*args)

    monkeypatch.setattr(hub, "join", slow)
    return asked, go


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_client_that_goes_while_its_stream_is_opened(
    lane: Lane, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Its subscriber leaves as soon as it is there, and every place is given back."""
    asked, go = held_join(lane, monkeypatch)
    async with wire(lane) as one:
        one.get()
        await asked.wait()
        if end == "reset":
            one.reset()
        else:
            one.writer.close()
    await until(lambda: not lane.server.server_state.connections, "the connection to go")
    go.set()
    await empty(lane)


async def test_a_stream_that_is_ended_while_it_is_opened_says_goodbye_once(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node drains meanwhile: one goodbye, nothing after it, and the connection ends."""
    asked, go = held_join(lane, monkeypatch)
    async with wire(lane) as one:
        one.get()
        await asked.wait()
        await lane.application.drain()
        go.set()
        said = await one.until(b'"reason":"draining"}\n\n')
        assert said.count(b"event: goodbye") == 1
        assert b"event: ready" not in said
    await empty(lane)


async def test_nothing_of_the_request_is_kept(fast: Lane) -> None:
    """Of twenty streams and twenty WebSockets no protocol, cycle, scope or task remains, without a collection."""
    gc.collect()
    gc.disable()
    try:
        before = count()
        tasks = len(asyncio.all_tasks())
        async with AsyncExitStack() as stack:
            for _ in range(20):
                one = await stack.enter_async_context(wire(fast))
                one.get()
                await one.until(b"event: snapshot")
                await stack.enter_async_context(websocket_wire(fast, token=bearer()))
            await until(lambda: len(fast.outlets) == 40, "all to be taken over")
            await until(lambda: not fast.server.server_state.tasks, "their tasks to end")
            await until(lambda: len(asyncio.all_tasks()) <= tasks, "all other tasks to end")
            assert count() == before
            assert not any(hasattr(each, "__dict__") for each in fast.outlets if isinstance(each, SseStream))
        await empty(fast)
    finally:
        gc.enable()


def count() -> dict[str, int]:
    """Live objects of what uvicorn keeps for a request."""
    kinds = (HttpToolsProtocol, RequestResponseCycle, WebSocketsSansIOProtocol)
    objects = gc.get_objects()
    found = {kind.__name__: sum(1 for each in objects if isinstance(each, kind)) for kind in kinds}
    scopes = (each for each in objects if type(each) is dict and "http_version" in each and "raw_path" in each)
    return {**found, "scopes": sum(1 for _ in scopes)}


async def test_a_server_without_the_offer_serves_the_same(fast: Lane) -> None:
    """A bare ASGI driver knows no extension: the portable lane answers, and ends when the client goes."""
    gone = asyncio.Event()
    body, head = bytearray(), {}
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            head.update(message)
        else:
            body.extend(message["body"])

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": EVENTS, "raw_path": EVENTS.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"x"), (b"authorization", bearer().encode())], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip

    async def serve() -> None:
        await fast.application.asgi(scope, receive, send)

    serving = asyncio.create_task(serve())
    await until(lambda: b"event: snapshot" in body, "the snapshot")
    task = await fast.task()
    await until(lambda: task.encode() in body, "an event")
    assert head["status"] == 200
    assert fast.outlets == []
    gone.set()
    await serving
    await empty(fast)


async def test_who_left_while_a_place_was_made_is_told_nothing() -> None:
    """On a transport that is closed a stream takes nothing, and raises nothing."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    with there:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
        stream = SseStream(transport, set(), OutletTerms())
        transport.abort()
        assert stream.feed_all([b"a", b"b"]) is False
        assert not stream.full
