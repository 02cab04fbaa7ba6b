"""A node that is told to end says goodbye, and ends."""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

import httpx2
import psycopg
from websockets.asyncio.client import ClientConnection, connect

from support.cluster import make_schema, start_node
from support.node import Node, NodeFactory
from support.waiting import DEADLINE_S, until
from support.writer import Writer

_log = logging.getLogger(__name__)
_STREAMS = 200


class Sse:
    """A stream's raw bytes, to its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.data = b""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, node: Node) -> "Sse":
        """Ask for the project's stream, and return when it has its place."""
        parts = urlsplit(node.url)
        stream = cls(*await asyncio.open_connection(parts.hostname, parts.port))
        stream._writer.write(b"GET /v1/projects/p/events HTTP/1.1\r\nHost: %s\r\n\r\n" % parts.netloc.encode())
        stream.data = await stream._reader.readuntil(b'"more":false}\n\n')
        return stream

    async def ends(self) -> bytes:
        """What came until the server closed it."""
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionResetError):
                while data := await self._reader.read(65536):
                    self.data += data
        self._writer.transport.abort()
        return self.data


async def open_socket(node: Node) -> ClientConnection:
    """A WebSocket that is subscribed to the project and has its place."""
    url = node.url.replace("http", "ws", 1) + "/v1/ws"
    socket = await connect(url, compression=None, ping_interval=None, close_timeout=1)
    await socket.send(json.dumps({"op": "subscribe", "project": "p"}))
    while json.loads(await socket.recv())["op"] != "snapshot":
        pass
    return socket


async def socket_ends(socket: ClientConnection) -> tuple[str, int | None]:
    """The last frame and the close code."""
    last = ""
    async with asyncio.timeout(DEADLINE_S):
        async for text in socket:
            last = str(text)
    return last, socket.close_code


@asynccontextmanager
async def deaf_ears(node: Node, request: bytes, after: bytes = b"") -> AsyncIterator[socket.socket]:
    """A client with a tiny receive buffer that reads the head of the answer and nothing else."""
    parts = urlsplit(node.url)
    loop = asyncio.get_running_loop()
    with socket.socket() as ears:
        ears.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        ears.setblocking(False)
        await loop.sock_connect(ears, (parts.hostname, parts.port))
        await loop.sock_sendall(ears, request.replace(b"\n", b"\r\n"))
        assert (await loop.sock_recv(ears, 64)).startswith(b"HTTP/1.1 ")
        if after:
            await loop.sock_sendall(ears, after)
        yield ears


async def fill(node: Node, number: int) -> None:
    """Make a project whose snapshot is larger than what the kernel holds for a reader that does not read."""
    async with httpx2.AsyncClient(base_url=node.url, timeout=30) as http:
        await http.put("/v1/projects/p", json={})
        for _ in range(number):
            answer = await http.post("/v1/projects/p/tasks", json={"title": "T", "metadata": {"x": "y" * 900_000}})
            assert answer.is_success, answer.text


async def test_every_stream_is_told_goodbye(node_factory: NodeFactory) -> None:
    """SIGTERM under hundreds of streams: each ends with a goodbye and its time to come back, and the exit is 0."""
    node = await node_factory()
    writer = Writer(node.url, "p")
    await writer.put_project()
    streams = [await Sse.open(node) for _ in range(_STREAMS)]
    sockets = [await open_socket(node) for _ in range(_STREAMS)]
    begin = time.monotonic()
    node.term()
    ended = await asyncio.gather(*(stream.ends() for stream in streams))
    closed = await asyncio.gather(*map(socket_ends, sockets))
    assert await node.wait() == 0
    _log.info("%d streams drained in %.2f s", 2 * _STREAMS, time.monotonic() - begin)
    for data in ended:
        assert b"retry: " in data
        assert b'event: goodbye\ndata: {"retry_ms":' in data
        assert b'"reason":"draining"' in data
        assert data.endswith(b"0\r\n\r\n")
    for last, code in closed:
        assert (json.loads(last)["op"], json.loads(last)["reason"], code) == ("goodbye", "draining", 1001)
    await writer.close()
    assert "Traceback" not in node.log()


async def test_readers_that_read_nothing_do_not_hold_up_the_exit(node_factory: NodeFactory) -> None:
    """An event stream and a WebSocket whose buffers are full, and one that never answers a close, are cut off."""
    node = await node_factory()
    await fill(node, 8)
    head = f"Host: {urlsplit(node.url).netloc}\n"
    upgrade = (
        f"GET /v1/ws HTTP/1.1\n{head}Upgrade: websocket\nConnection: Upgrade\n"
        "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n"
    ).encode()
    async with AsyncExitStack() as stack:
        events = f"GET /v1/projects/p/events HTTP/1.1\n{head}\n".encode()
        await stack.enter_async_context(deaf_ears(node, events))
        subscribe = json.dumps({"op": "subscribe", "project": "p"}).encode()
        frame = bytes([0x81, 0x80 | len(subscribe), 0, 0, 0, 0]) + subscribe  # RFC 6455, 5.2: a mask of zeros
        await stack.enter_async_context(deaf_ears(node, upgrade, frame))
        await stack.enter_async_context(deaf_ears(node, upgrade))
        begin = time.monotonic()
        node.term()
        assert await node.wait(deadline_s=15) == 0
        _log.info("exit beside readers that do not read: %.2f s", time.monotonic() - begin)


async def test_a_change_under_way_is_finished(node_factory: NodeFactory, postgres_url: str) -> None:
    """It waits for a lock longer than the drain takes, and is answered rightly although the node is ending."""
    make_schema(postgres_url)
    node = await start_node(node_factory, postgres_url, None, SESSIONCAST_DRAIN_S="0.1")
    writer = Writer(node.url, "p")
    await writer.put_project()
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute("SELECT 1 FROM channel FOR UPDATE")
        change = asyncio.create_task(writer.change())
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:

            async def waiting() -> bool:
                query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                row = await (await admin.execute(query)).fetchone()
                return row is not None and row[0] > 0

            async with asyncio.timeout(DEADLINE_S):
                while not await waiting():
                    pass
        node.term()
        await until(lambda: "Shutting down" in node.log(), "uvicorn's own shutdown, after ours")
        await other.rollback()
    assert await change, writer.failed
    assert await node.wait() == 0
    await node.start()
    async with httpx2.AsyncClient(base_url=node.url) as http:
        tasks = (await http.get("/v1/projects/p/tasks")).json()["data"]
    assert [task["title"] for task in tasks] == [writer.last.title]
    await writer.close()


async def test_writes_amid_a_drain_finish_or_fail_cleanly(node_factory: NodeFactory) -> None:
    """Whatever was acknowledged until the end is there after it, once."""
    node = await node_factory()
    writers = [Writer(node.url, "p", pause_s=0) for _ in range(8)]
    await writers[0].put_project()
    async with AsyncExitStack() as stack:
        for writer in writers:
            await stack.enter_async_context(writer)
        for writer in writers:
            await writer.more(5)
        assert await node.stop() == 0
    await node.start()
    async with httpx2.AsyncClient(base_url=node.url, headers={"Accept": "application/json"}) as http:
        epoch = writers[0].last.position.partition(":")[0]
        titles: list[str] = []
        position, more = f"{epoch}:0", True
        while more:
            page = (await http.get("/v1/projects/p/events", params={"position": position, "snapshot": "never"})).json()
            titles += [event["data"]["title"] for event in page["events"]]
            position, more = page["position"], page["more"]
    assert len(set(titles)) == len(titles)
    assert set(titles) >= {change.title for writer in writers for change in writer.acknowledged}
