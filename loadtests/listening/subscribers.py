"""A program, in a process of its own, with many subscriptions: what they take of memory and processor.

It prints a line of JSON after each stage, and goes on to the next when it reads a line.
"""

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from pathlib import Path

import psutil

from sessioncast import Client
from sessioncast.streams.items import Snapshot
from sessioncast.streams.subscription import Subscription
from sessioncast_shared.events import Event

_OPEN_S = 180.0
_TOGETHER = 100
"""Subscriptions that are on their way at a time."""


class Audience:
    """Subscriptions, each to a task of its own, and each read by a task of its own.

    Attributes:
        delays_s: of the events that were heard: from their `at` to when they were read.
    """

    def __init__(self, client: Client, project: str, transport: str) -> None:
        self._client = client
        self._project = project
        self._transport = transport
        self._reading: list[asyncio.Task[None]] = []
        self.delays_s: list[float] = []

    async def join(self, tasks: list[str]) -> None:
        """Subscribe to each, and wait until every one has its snapshot."""
        for first in range(0, len(tasks), _TOGETHER):
            opened = [asyncio.get_running_loop().create_future() for _ in tasks[first : first + _TOGETHER]]
            for task, done in zip(tasks[first : first + _TOGETHER], opened, strict=True):
                subscription = self._client.subscribe(self._project, task=task, transport=self._transport)  # type: ignore[arg-type]  # the argument parser has looked at it
                self._reading.append(asyncio.ensure_future(self._read(subscription, done)))
            async with asyncio.timeout(_OPEN_S):
                await asyncio.gather(*opened)

    async def leave(self) -> None:
        """Give all up."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    async def _read(self, subscription: Subscription, opened: "asyncio.Future[None]") -> None:
        async with subscription:
            async for item in subscription:
                if isinstance(item, Snapshot) and not opened.done():
                    opened.set_result(None)
                elif isinstance(item, Event):
                    self.delays_s.append(time.time() - item.at.timestamp())


async def told() -> None:
    """Until the parent says so."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def rss() -> int:
    """Resident bytes, after what is not needed was thrown away."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def core(seconds: float) -> float:
    """Share of a core that this process uses for so long."""
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - used) / (time.perf_counter() - began)


def say(**figures: object) -> None:
    """Tell the parent."""
    print(json.dumps(figures), flush=True)


async def run(options: argparse.Namespace) -> None:
    """All stages."""
    warm, *tasks = json.loads(options.tasks.read_text())
    async with Client(options.url) as client:
        audience = Audience(client, options.project, options.transport)
        await audience.join([warm])  # what is loaded for the first one is not the price of each
        before, began, used = rss(), time.perf_counter(), time.process_time()
        await audience.join(tasks)
        took, used = time.perf_counter() - began, time.process_time() - used
        grown = rss() - before
        say(rss=before, grown=grown, open_s=took, open_cpu_s=used, transports=dict(client.stats().transports))
        await told()
        say(core=await core(options.seconds))
        await told()
        audience.delays_s.clear()
        busy = await core(options.seconds)
        delays = sorted(audience.delays_s)
        p50, p99 = (statistics.quantiles(delays, n=100)[share] for share in (49, 98)) if len(delays) > 1 else (0, 0)
        say(core=busy, events=len(delays), p50_ms=p50 * 1000, p99_ms=p99 * 1000, stats=client.stats().reconnects)
        await told()
        await audience.leave()


def main() -> None:
    """As its parent told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--transport", choices=("websocket", "sse", "poll"), required=True)
    parser.add_argument("--tasks", type=Path, required=True, help="a file with their ids; the first one warms up")
    parser.add_argument("--seconds", type=float, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
