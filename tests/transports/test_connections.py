"""Connections of a node are bounded, whatever they are for, and no more than there are descriptors for."""

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from sessioncast_server.transports import http_protocol
from sessioncast_server.transports.descriptors import HEADROOM, connections_bound, raise_descriptor_limit
from sessioncast_server.transports.http_protocol import HeadLimits, HttpProtocol
from support.asgi import served
from support.waiting import DEADLINE_S, until

BOUND = 3
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Door:
    """A server that takes BOUND connections."""

    def __init__(self, address: str, protocol: type[HttpProtocol], stack: AsyncExitStack) -> None:
        self.protocol = protocol
        self._address = address
        self._stack = stack

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One more."""
        reader, writer = await asyncio.open_connection(*self._address.split(":"))
        self._stack.callback(writer.close)
        return reader, writer

    async def answered(self) -> asyncio.StreamWriter:
        """One more, once it was answered."""
        reader, writer = await self.connect()
        writer.write(REQUEST)
        async with asyncio.timeout(DEADLINE_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        return writer

    async def refusal(self) -> bytes:
        """All that one more is told until it is closed."""
        reader, _ = await self.connect()
        async with asyncio.timeout(DEADLINE_S):
            return await reader.read()


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    """A door."""
    protocol = HttpProtocol.bounded(HeadLimits(connections=BOUND))
    async with served(_ok, http=protocol) as address, AsyncExitStack() as stack:
        yield Door(address, protocol, stack)


async def test_one_connection_more_is_503() -> None:
    """It is told so before it has said anything, with a time to come back, and closed; the others are served on."""
    async with door() as one:
        taken = [await one.answered() for _ in range(BOUND)]
        for _ in range(BOUND * 2):
            head, _, body = (await one.refusal()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"application/problem+json" in head
            assert b"connection: close" in head
            pause = next(line for line in head.lower().splitlines() if line.startswith(b"retry-after: "))
            assert 1 <= int(pause.split()[1]) <= 3
            assert json.loads(body)["code"] == "unavailable"
        taken[0].close()
        await until(lambda: not one.protocol.turned_away, "those turned away to be gone")


async def test_who_was_turned_away_takes_no_place() -> None:
    """As soon as one that was taken is gone, the next is taken, although those turned away still linger."""
    async with door() as one:
        taken = [await one.answered() for _ in range(BOUND)]
        _, lingering = await one.connect()
        await until(lambda: len(one.protocol.turned_away) == 1, "one to be turned away")
        taken[0].close()
        await taken[0].wait_closed()
        while True:
            reader, writer = await one.connect()
            writer.write(REQUEST)
            if (await reader.readline()).startswith(b"HTTP/1.1 200 "):
                break
            writer.close()
        lingering.close()


async def test_those_turned_away_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a flood, those beyond the bound are closed without a word, and take nothing."""
    monkeypatch.setattr(http_protocol, "_LINGERING_MAX", 2)
    async with door() as one:
        for _ in range(BOUND):
            await one.answered()
        for _ in range(2):
            reader, _ = await one.connect()
            await reader.readuntil(b"\r\n\r\n")
        reader, _ = await one.connect()
        with contextlib.suppress(ConnectionError):  # a reset says as little
            assert await reader.read() == b""
        assert len(one.protocol.turned_away) <= 2


def test_the_bound_leaves_descriptors_for_the_rest() -> None:
    """No more connections than wanted, and none without a descriptor; at least one."""
    assert connections_bound(60_000, None) == 60_000
    assert connections_bound(60_000, 1 << 20) == 60_000
    assert connections_bound(60_000, 4096) == 4096 - HEADROOM
    assert connections_bound(60_000, 100) == 1


def test_the_soft_limit_becomes_the_hard_one() -> None:
    """Raised once, it is what the process may have, and is told."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
        told = raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert told == (None if before[1] == resource.RLIM_INFINITY else before[1])
        assert raise_descriptor_limit() == told
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_limit_that_cannot_be_raised_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses, what is in force counts."""

    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_descriptor_limit() == 256
