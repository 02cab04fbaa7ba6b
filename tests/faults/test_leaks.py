"""A node after many clients that came and went is as it was before them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import pytest
from websockets.asyncio.client import connect

from support.node import Node, NodeFactory
from support.vitals import descriptors, metrics, threads, until_so
from support.writer import Writer

_CYCLES = 300
_AT_ONCE = 20


async def _sse(node: Node, position: str) -> None:
    """A browser that opens a stream and goes away."""
    parts = urlsplit(node.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /v1/projects/p/events HTTP/1.1\r\nHost: %s\r\n\r\n" % parts.netloc.encode())
    await reader.readuntil(b"event: ready")
    writer.transport.abort()


async def _websocket(node: Node, position: str) -> None:
    """A program that subscribes and breaks off without a close."""
    async with connect(node.url.replace("http", "ws", 1) + "/v1/ws", compression=None) as socket:
        await socket.send(json.dumps({"op": "subscribe", "project": "p"}))
        assert json.loads(await socket.recv())["op"] == "subscribed"
        socket.transport.abort()


async def _poll(node: Node, position: str) -> None:
    """A client that waits for an event and loses patience."""
    query = {"position": position, "wait": "25"}
    headers = {"Accept": "application/json"}
    async with httpx2.AsyncClient(base_url=node.url, verify=False, timeout=httpx2.Timeout(30, read=0.2)) as http:
        with suppress(httpx2.ReadTimeout):
            await http.get("/v1/projects/p/events", params=query, headers=headers)
            raise AssertionError("nothing happened, and yet there was an answer")


@pytest.mark.parametrize("visit", [_sse, _websocket, _poll])
async def test_clients_that_come_and_go_leave_nothing(
    node_factory: NodeFactory, visit: Callable[[Node, str], Awaitable[None]]
) -> None:
    """After hundreds of visits no subscription, no descriptor and no thread is left of them."""
    node = await node_factory()
    writer = Writer(node.url, "p")
    await writer.put_project()
    await writer.change()
    await writer.close()
    position = writer.last.position
    before = descriptors(node), threads(node)

    async def visitor() -> None:
        for _ in range(_CYCLES // _AT_ONCE):
            await visit(node, position)

    async with asyncio.timeout(90):
        await asyncio.gather(*(visitor() for _ in range(_AT_ONCE)))
    await _settled(node, before[0])
    assert threads(node) == before[1]
    assert "Traceback" not in node.log()
    assert "never retrieved" not in node.log()


async def _settled(node: Node, allowed: int) -> None:
    """Return when no stream is counted and no more descriptors are open than allowed."""

    async def so() -> bool:
        found = await metrics(node)
        streams = sum(value for name, value in found.items() if name.startswith("sessioncast_subscribers{"))
        return streams == 0 and descriptors(node) <= allowed

    await until_so(so, lambda: f"descriptors: {descriptors(node)} of {allowed}")
