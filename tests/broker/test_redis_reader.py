"""What has arrived from Redis is heard in order and completely, however it arrives, and keeps the loop from nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import count, pairwise
from typing import Self
from urllib.parse import urlsplit

import hiredis
import pytest
import redis

from sessioncast_server.broker.codec import encode
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.publisher import redis_channel
from sessioncast_server.broker.redis import RedisBroker
from sessioncast_server.broker.wire import WireError, Wires
from support.ear import Ear, announcement, new_channel
from support.given import Given
from support.valkey import Valkey
from support.waiting import until

LIMITS = RedisLimits(backoff_cap_s=0.2, breaker_s=0.2)
BACKLOG = 20_000

Pieces = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    """As it came."""
    yield data


def small(size: int) -> Pieces:
    """In pieces of so many bytes."""
    return lambda data: (data[start : start + size] for start in range(0, len(data), size))


class Carver:
    """A TCP proxy in front of Redis that passes its answers on in pieces, and says what Redis did not say.

    Attributes:
        url: address of the proxy.
    """

    def __init__(self, url: str, pieces: Pieces = whole) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname, parts.port or 6379
        self._pieces = pieces
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: dict[str, asyncio.StreamWriter] = {}
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def say(self, role: str, data: bytes) -> None:
        """Send this to the `subscriber` or the `publisher`, at once, after all that was passed on before."""
        self._clients[role].write(data)
        with suppress(OSError):
            await self._clients[role].drain()

    def cut(self, role: str) -> None:
        """End its connection, after all that was sent before."""
        self._clients[role].close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for work in (self._up(reader, far_writer, writer), self._down(far_reader, writer)):
            self._tasks.add(asyncio.create_task(work))

    async def _up(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    for role in ("subscriber", "publisher"):
                        if f"sessioncast-{role}-".encode() in data:
                            self._clients[role] = client
                    far.write(data)
                    await far.drain()
        finally:
            far.transport.abort()

    async def _down(self, far: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await far.read(65536):
                    for piece in self._pieces(data):
                        client.write(piece)
                        await asyncio.sleep(0)  # the hearer has a turn to read what there is
        finally:
            client.transport.abort()


class Hearer:
    """A broker, what it calls and why it lost connections."""

    def __init__(self, url: str, limits: RedisLimits = LIMITS) -> None:
        self.ear = Ear()
        self.lost: Counter[str] = Counter()
        self.garbled = 0
        hooks = RedisHooks(
            lost=lambda which, reason: self.lost.update([f"{which} {reason}"]), garbled=self._count_garbled
        )
        self.broker = RedisBroker(url, limits=limits, hooks=hooks)

    def _count_garbled(self) -> None:
        self.garbled += 1

    async def hears_again(self, channel: str, first: int) -> None:
        """Wait until the connection is another one and announcements flow on it."""
        await self.ear.flowing(channel)
        await until(lambda: self.broker.deaf_since() is None, "the node to hear")
        self.broker.announce(announcement(channel, first))
        await until(lambda: first in self.ear.offsets(channel), "an announcement to be carried")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what the test opened."""
    async with AsyncExitStack() as stack:
        yield stack


async def start(stack: AsyncExitStack, url: str, *channels: str, limits: RedisLimits = LIMITS) -> Hearer:
    """A node that hears these channels, with nothing recorded yet."""
    node = Hearer(url, limits)
    await node.broker.start(node.ear.listener)
    stack.push_async_callback(node.broker.close)
    for channel in channels:
        node.broker.listen(channel)
    await until(lambda: node.broker.deaf_since() is None, "the node to hear")
    for channel in channels:
        await node.ear.flowing(channel)
    node.ear.doubted.clear()
    return node


async def start_behind(
    stack: AsyncExitStack, server: Given | Valkey, channel: str, pieces: Pieces = whole
) -> tuple[Carver, Hearer]:
    """The same, behind a proxy."""
    carver = await stack.enter_async_context(Carver(server.url, pieces))
    return carver, await start(stack, carver.url, channel)


def push(channel: str, payload: bytes) -> bytes:
    """A message as Redis sends it."""
    name = redis_channel(channel).encode()
    return b">3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(name), name, len(payload), payload)


def carried(channel: str, first: int) -> bytes:
    """An announcement as Redis sends it."""
    return push(channel, encode(announcement(channel, first), max_bytes=LIMITS.announce_max_bytes))


HELD_UP = RedisLimits(timeout_s=60, ping_s=60)
"""The loop is held while a backlog is published, for seconds where the machine is busy: no connection is late then."""


def publish_backlog(url: str, channel: str) -> None:
    """Publish many announcements; holds the loop meanwhile, so that all of them wait to be read."""
    with redis.Redis.from_url(url) as client:
        for start_ in range(1, BACKLOG + 1, 1000):
            pipeline = client.pipeline(transaction=False)
            for first in range(start_, start_ + 1000):
                payload = encode(announcement(channel, first), max_bytes=LIMITS.announce_max_bytes)
                pipeline.publish(redis_channel(channel), payload)
            pipeline.execute()


async def test_a_backlog_is_heard_in_order_and_completely(stack: AsyncExitStack, valkey: Given | Valkey) -> None:
    """20,000 announcements that waited while the loop was held up all arrive, in order, on the same connection."""
    channel = new_channel()
    node = await start(stack, valkey.url, channel, limits=HELD_UP)

    publish_backlog(valkey.url, channel)

    await until(lambda: len(node.ear.announced) >= BACKLOG, "the backlog")
    assert node.ear.offsets(channel) == list(range(1, BACKLOG + 1))
    assert node.ear.doubted == []
    assert not node.lost


async def test_a_backlog_leaves_the_loop_to_others(stack: AsyncExitStack, valkey: Given | Valkey) -> None:
    """When its time is used up, which is at once here, everybody else on the loop has a turn, after each one heard."""
    channel = new_channel()
    node = await start(stack, valkey.url, channel, limits=replace(HELD_UP, turn_s=0))
    seen: list[int] = []

    async def look() -> None:
        while not seen or seen[-1] < BACKLOG:
            seen.append(len(node.ear.announced))
            await asyncio.sleep(0)

    publish_backlog(valkey.url, channel)
    async with asyncio.timeout(60):
        await look()

    assert max(after - before for before, after in pairwise(seen)) == 1
    assert node.ear.offsets(channel) == list(range(1, BACKLOG + 1))


@pytest.mark.parametrize("size", [1, 3, 64, 1000])
async def test_pieces_change_no_call(stack: AsyncExitStack, valkey: Given | Valkey, size: int) -> None:
    """Behind a proxy that passes on a few bytes at a time a node is called as one is that reads Redis itself."""
    channel = new_channel()
    _, split = await start_behind(stack, valkey, channel, small(size))
    straight = await start(stack, valkey.url, channel)

    with redis.Redis.from_url(valkey.url) as client:
        name = redis_channel(channel)
        client.publish(name, encode(announcement(channel, 1, events=5), max_bytes=LIMITS.announce_max_bytes))
        client.publish(name, b">3\r\n$7\r\nmessage\r\n")
        client.publish(name, b"")
        client.publish(name, encode(announcement(channel, 6, size=5_000), max_bytes=100))
        client.publish(name, encode(announcement(channel, 7, size=5_000), max_bytes=LIMITS.announce_max_bytes))

    for node in (straight, split):
        await node.ear.hears(channel, 1, 7)
    assert split.ear.announced == straight.ear.announced
    assert split.ear.doubted == straight.ear.doubted == [channel] * 3
    assert split.garbled == straight.garbled == 2
    assert not split.lost


@pytest.mark.parametrize("garbage", [b"@garbage\r\n", b"-ERR no\r\n", b"%1\r\n*0\r\n:1\r\n"])
async def test_what_is_no_reply_ends_the_connection(
    stack: AsyncExitStack, valkey: Given | Valkey, garbage: bytes
) -> None:
    """What came before the garbage is heard, what came after it is not; the next connection heals all."""
    channel = new_channel()
    carver, node = await start_behind(stack, valkey, channel)

    await carver.say("subscriber", carried(channel, 1) + carried(channel, 2) + garbage + carried(channel, 3))

    await node.hears_again(channel, 4)
    assert node.ear.offsets(channel) == [1, 2, 4]
    assert None in node.ear.doubted
    assert node.lost == {"subscriber receive": 1}


async def test_half_a_message_is_never_heard(stack: AsyncExitStack, valkey: Given | Valkey) -> None:
    """A connection that closes in the middle of a message is lost, and the half is not taken for a whole."""
    channel = new_channel()
    carver, node = await start_behind(stack, valkey, channel)

    await carver.say("subscriber", carried(channel, 1) + carried(channel, 2)[:-10])
    carver.cut("subscriber")

    await node.hears_again(channel, 3)
    assert node.ear.offsets(channel) == [1, 3]
    assert node.lost == {"subscriber receive": 1}


async def test_a_message_without_end_ends_the_connection(stack: AsyncExitStack, valkey: Given | Valkey) -> None:
    """A server that goes on with one message is not listened to beyond the bound."""
    channel = new_channel()
    carver = await stack.enter_async_context(Carver(valkey.url))
    # Its PONGs are inside the message; the deadline of the PING must not come first.
    node = await start(stack, carver.url, channel, limits=RedisLimits(ping_s=30, timeout_s=30, backoff_cap_s=0.2))

    await carver.say("subscriber", push(channel, b"")[:-5] + b"$999999999\r\n")
    poured = 0
    while not node.lost:
        assert poured <= 2 * node_bound(), "the connection is still there"
        await carver.say("subscriber", bytes(1 << 20))
        poured += 1 << 20

    assert node.lost == {"subscriber receive": 1}
    await node.hears_again(channel, 1)


def node_bound() -> int:
    """Bytes of the longest reply."""
    return LIMITS.reply_max_bytes


async def test_a_message_far_over_the_announcements_bound_is_only_garbage(
    stack: AsyncExitStack, valkey: Given | Valkey
) -> None:
    """Whoever publishes something large costs a reading of the log, and not the connection."""
    channel = new_channel()
    node = await start(stack, valkey.url, channel)

    with redis.Redis.from_url(valkey.url) as client:
        client.publish(redis_channel(channel), bytes(8 << 20))

    await until(lambda: channel in node.ear.doubted, "doubt about the channel")
    assert node.garbled == 1
    assert not node.lost


async def test_replies_that_nobody_asked_for_end_the_publishing_connection(
    stack: AsyncExitStack, valkey: Given | Valkey
) -> None:
    """More replies than commands: which of them says that an announcement was taken is not known any more."""
    channel = new_channel()
    carver, node = await start_behind(stack, valkey, channel)

    await carver.say("publisher", b":1\r\n" * 5)

    await until(lambda: node.lost["publisher receive"] > 0, "the publishing connection to be given up")
    offsets = count(1)

    def one_arrived() -> bool:
        node.broker.announce(announcement(channel, next(offsets)))  # dropped until the next connection is greeted
        return bool(node.ear.announced)

    await until(one_arrived, "an announcement to be carried")


def test_the_bound_of_a_reply_leaves_room_for_announcements() -> None:
    """32 MiB, and twice the largest announcement where that is more."""
    assert RedisLimits().reply_max_bytes == 32 << 20
    assert RedisLimits(announce_max_bytes=20 << 20).reply_max_bytes == 40 << 20


async def test_what_came_with_the_greeting_is_not_lost(stack: AsyncExitStack) -> None:
    """One push and a half, in one piece with the last answer of the greeting: the reader goes on in the middle."""
    rest = asyncio.Event()
    heard = [carried("p", first) for first in (1, 2)]

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        with suppress(OSError):
            while data := await reader.read(65536):
                commands.feed(data)
                while command := commands.gets():
                    if command[0] == b"HELLO":
                        writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                    elif b"lib-ver" in [part.lower() for part in command]:
                        writer.write(b"+OK\r\n" + heard[0] + heard[1][:30])
                        await rest.wait()
                        writer.write(heard[1][30:])
                        writer.close()
                    else:
                        writer.write(b"+OK\r\n")

    server = await stack.enter_async_context(await asyncio.start_server(greet, "127.0.0.1", 0))
    stack.callback(rest.set)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(10), Wires(f"redis://127.0.0.1:{port}", LIMITS).open("me") as wire:
        [first] = await wire.receive()
        rest.set()
        [second] = await wire.receive()
        with pytest.raises(WireError, match="receive: closed by the server"):
            await wire.receive()
    assert [push("p", reply[2]) for reply in (first, second)] == heard
