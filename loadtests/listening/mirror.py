"""How fast one program follows a stream: by our mirror, by our subscription, and by the libraries below alone."""

import asyncio
import json
import pickle
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from websockets.asyncio.client import connect

from listening.recording import Played
from sessioncast import Client
from sessioncast_shared.events import Event

PROJECT = "played"
_ROUND_S = 600.0
Push = Literal["sse", "websocket"]
TRANSPORTS: tuple[Push, ...] = ("sse", "websocket")
BARE: dict[Push, str] = {"sse": "httpx2 sse, json", "websocket": "websockets, json"}
"""Readers that do no more than read and parse."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One round of one reader.

    Attributes:
        rate: events per second, from connecting to the last event.
        cpu_us: processor time per event.
    """

    reader: str
    round: int
    rate: float
    cpu_us: float


async def live(url: str, transport: Push, played: Played) -> int:
    """A mirror, whose changes are read; it must end as the stream says. How many changes were told."""
    told = 0
    async with Client(url) as client, client.live(PROJECT, transport=transport) as mirror:
        async for change in mirror:
            told += 1
            if change.position == played.position:
                break
        found = {id_: (session.version, session.output_seq) for id_, session in mirror.sessions.items()}
    if found != played.sessions:
        raise RuntimeError(f"the mirror ended with {found} instead of {played.sessions}")
    return told


async def subscription(url: str, transport: Push, played: Played) -> int:
    """Events one by one, as objects."""
    told = 0
    async with Client(url) as client, client.subscribe(PROJECT, transport=transport) as items:
        async for item in items:
            told += isinstance(item, Event)
            if items.position == played.position:
                break
    return told


async def bare(url: str, transport: Push, played: Played) -> int:
    """The library's own reader, and each event's JSON."""
    told = 0
    if transport == "websocket":
        async with connect(f"ws{url.removeprefix('http')}/v1/ws", compression=None, max_size=None) as socket:
            await socket.send(json.dumps({"op": "subscribe", "project": PROJECT, "ref": "1"}))
            async for message in socket:
                events = json.loads(message).get("events", ())
                told += len(events)
                if events and events[-1]["position"] == played.position:
                    break
        return told
    path = f"{url}/v1/projects/{PROJECT}/events"
    async with httpx2.AsyncClient(timeout=60) as client, client.sse(path) as source:
        async for event in source:
            body = json.loads(event.data)
            if event.event == "message":
                told += 1
                if body["position"] == played.position:
                    break
    return told


Follow = Callable[[str, Push, Played], Coroutine[Any, Any, int]]


def readers(transport: Push) -> dict[str, Follow]:
    """By name, ours first."""
    return {f"live(), {transport}": live, f"subscribe(), {transport}": subscription, BARE[transport]: bare}


@asynccontextmanager
async def replaying(played: Played, folder: Path) -> AsyncIterator[dict[Push, str]]:
    """The addresses of a server that says the stream."""
    file = folder / "stream.pickle"
    file.write_bytes(pickle.dumps(played.pieces))
    process = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("replay.py"), file, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        ports = (await process.stdout.readline()).split()
        yield {transport: f"http://127.0.0.1:{int(port)}" for transport, port in zip(TRANSPORTS, ports, strict=True)}
    finally:
        process.terminate()
        await process.wait()


async def warm_up(played: Played, folder: Path) -> None:
    """Load what is loaded once: it is no event's price."""
    async with replaying(played, folder) as urls:
        for transport in TRANSPORTS:
            for follow in readers(transport).values():
                await follow(urls[transport], transport, played)


async def follow_all(played: Played, count: int, rounds: int, folder: Path) -> list[Followed]:
    """All readers in turns, over the rounds; printed as they come.

    Raises:
        RuntimeError: one did not read what was said.
    """
    found = []
    async with replaying(played, folder) as urls:
        for number in range(1, rounds + 1):
            for transport in TRANSPORTS:
                for name, follow in readers(transport).items():
                    began, used = time.perf_counter(), time.process_time()
                    async with asyncio.timeout(_ROUND_S):
                        told = await follow(urls[transport], transport, played)
                    seconds, cpu = time.perf_counter() - began, time.process_time() - used
                    if follow is not live and told != count:
                        raise RuntimeError(f"{name} heard {told} of {count} events")
                    made = Followed(name, number, round(count / seconds, 1), round(cpu / count * 1e6, 2))
                    print(f"{number:>5} {name:<22} {made.rate:>12,.0f} {made.cpu_us:>12.1f}", flush=True)
                    found.append(made)
    return found


def ratios(found: list[Followed], name: str, bare: str) -> list[float]:
    """Processor time per event to another reader's, round by round."""
    by = {(made.round, made.reader): made.cpu_us for made in found}
    return [round(by[number, name] / by[number, bare], 2) for number in sorted({number for number, _ in by})]


def conclude(found: list[Followed]) -> None:
    """The medians, and what our own readers take beside the bare ones."""
    for name in dict.fromkeys(made.reader for made in found):
        rows = [made for made in found if made.reader == name]
        rate, cpu = (statistics.median(getattr(made, what) for made in rows) for what in ("rate", "cpu_us"))
        print(f"{'med':>5} {name:<22} {rate:>12,.0f} {cpu:>12.1f}")
    for transport in TRANSPORTS:
        for name in readers(transport):
            if name != BARE[transport]:
                each = ratios(found, name, BARE[transport])
                told = f"{', '.join(map(str, each))}; median {statistics.median(each):.2f}"
                print(f"{name}: processor time per event to {BARE[transport]}: {told}")
