"""What our own client takes: a thousand subscriptions in one process, and a hundred thousand events through a mirror.

The subscriptions have a filter each, over WebSockets (a hundred on each) and over server-sent events (a connection
each): memory, and processor time when nothing happens and under fifty events a second. The events are those of a real
node, recorded and carried on, said by a server of its own as fast as they are read: to our mirror, to our subscription,
and to the bare readers of the HTTP library and of the WebSocket library, in turns.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driver import ask, drive, request
from listening.mirror import PROJECT, Followed, conclude, follow_all, warm_up
from listening.recording import carried_on, record
from rule import new_project, new_tasks, start
from sides import Side, ours

_LINE_S = 300.0
_WARM_UP = 10
"""Events."""


@dataclass(frozen=True, slots=True)
class Held:
    """So many subscriptions of one process.

    Attributes:
        connections: streams that its statistics say are open.
        base_mb: memory with one subscription.
        kb: that each of the others takes, as resident memory grew.
        open_s, open_cpu_s: until all had their snapshots, and processor time of that.
        idle, busy: share of a core with no events, and under `rate` events a second.
        published, heard: events meanwhile; each is heard by one subscription.
        p50_ms, p99_ms: from an event's `at`, before its commit, to the program.
    """

    transport: str
    subscriptions: int
    base_mb: float
    kb: float
    open_s: float
    open_cpu_s: float
    idle: float
    busy: float
    rate: float
    published: int
    heard: int
    p50_ms: float
    p99_ms: float


class Child:
    """A program with subscriptions."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self) -> dict[str, Any]:
        """The figures of its next stage.

        Raises:
            RuntimeError: it ended instead.
        """
        assert self._process.stdout is not None
        async with asyncio.timeout(_LINE_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program with subscriptions ended with {await self._process.wait()}")
        figures: dict[str, Any] = json.loads(line)
        return figures

    def go_on(self) -> None:
        """To its next stage."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")


@asynccontextmanager
async def child(side: Side, project: str, transport: str, tasks: Path, seconds: float) -> AsyncIterator[Child]:
    """Start it, and end it."""
    program = Path(__file__).parent / "listening" / "subscribers.py"
    given = ("--url", f"http://127.0.0.1:{side.port}", "--project", project, "--transport", transport)
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, *given, "--tasks", tasks, "--seconds", f"{seconds:g}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def publish(side: Side, sessions: list[str], rate: float, seconds: float) -> int:
    """Output to sessions in turns, at instants that are settled before; how many there were.

    Raises:
        RuntimeError: the server did not take it.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    count = int(rate * seconds)
    body = {"chunks": [{"stream": "log", "text": "A line of output, as long as many are.\n"}]}
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        path = f"/v1/sessions/{sessions[number % len(sessions)]}/output"
        status, said = await ask(side.port, request("POST", path, body))
        if status != 201 and status != 200:
            raise RuntimeError(f"output was answered with {status} {said}")
    return count


async def hold(side: Side, transport: str, folder: Path, options: argparse.Namespace) -> Held:
    """Measure subscriptions over one transport."""
    project = await new_project(side)
    tasks = await new_tasks(side, project, options.subscriptions + 1)
    sessions: list[str] = []

    def begun(status: int, body: bytes) -> None:
        if status != 201:
            raise RuntimeError(f"a start was answered with {status} {body!r}")
        sessions.append(json.loads(body)["session"]["id"])

    await drive(side.port, [iter([(start(task, "run"), begun) for task in tasks[1:]])], _LINE_S)
    file = folder / f"{transport}.json"
    file.write_text(json.dumps(tasks))
    async with child(side, project, transport, file, options.seconds) as program:
        opened = await program.told()
        program.go_on()
        idle = await program.told()
        program.go_on()
        # A bit longer than it counts, on both sides, so that it counts under the full rate alone.
        published = await publish(side, sessions, options.rate, options.seconds + 0.5)
        busy = await program.told()
        program.go_on()
    return Held(
        transport=transport,
        subscriptions=options.subscriptions,
        base_mb=round(opened["rss"] / 1e6, 1),
        kb=round(opened["grown"] / options.subscriptions / 1000, 2),
        open_s=round(opened["open_s"], 2),
        open_cpu_s=round(opened["open_cpu_s"], 2),
        idle=round(idle["core"], 4),
        busy=round(busy["core"], 4),
        rate=options.rate,
        published=published,
        heard=busy["events"],
        p50_ms=round(busy["p50_ms"], 2),
        p99_ms=round(busy["p99_ms"], 2),
    )


def show_held(rows: list[Held]) -> None:
    """A table of them."""
    print(
        f"{'transport':<10} {'subscriptions':>13} {'base MB':>8} {'kB each':>8} {'open s':>7} {'cpu s':>6} {'idle':>7} "
        f"{'busy':>7} {'events/s':>9} {'heard':>6} {'p50 ms':>7} {'p99 ms':>7}"
    )
    for row in rows:
        print(
            f"{row.transport:<10} {row.subscriptions:>13,} {row.base_mb:>8.1f} {row.kb:>8.1f} {row.open_s:>7.1f} "
            f"{row.open_cpu_s:>6.1f} {row.idle:>7.2%} {row.busy:>7.2%} {row.rate:>9g} {row.heard:>6,} "
            f"{row.p50_ms:>7.1f} {row.p99_ms:>7.1f}",
            flush=True,
        )


async def measure(options: argparse.Namespace, folder: Path) -> tuple[list[Held], list[Followed]]:
    """Subscriptions over each transport, then the mirror."""
    with ours(folder) as side:
        held = [await hold(side, transport, folder, options) for transport in options.transports]
        if held:
            show_held(held)
        recording = await record(f"http://127.0.0.1:{side.port}", PROJECT, options.recorded) if options.events else None
    if recording is None:
        return held, []
    played = carried_on(recording, options.events)
    size = sum(map(len, played.pieces))
    print(
        f"{options.events:,} events, {size / options.events:,.0f} bytes each; {options.recorded:,} of them recorded\n"
        f"round {'reader':<22} {'events/s':>12} {'cpu µs/event':>12}"
    )
    await warm_up(carried_on(recording, _WARM_UP), folder)
    followed = await follow_all(played, options.events, options.rounds, folder)
    conclude(followed)
    return held, followed


def main() -> int:
    """Run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transports", type=_names, default=("websocket", "sse"), help="websocket,sse,poll, or none")
    parser.add_argument("--subscriptions", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="that nothing happens, and that something does")
    parser.add_argument("--rate", type=float, default=50.0, help="events a second")
    parser.add_argument("--events", type=int, default=100_000, help="through the mirror; 0: none")
    parser.add_argument("--recorded", type=int, default=2000, help="of these, recorded of a real node")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    began = time.monotonic()
    print(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="clients-") as name:
        held, followed = asyncio.run(measure(options, Path(name)))
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        result = {"held": [asdict(row) for row in held], "followed": [asdict(made) for made in followed]}
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _names(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(text.split(","))
    if not set(names) <= {"websocket", "sse", "poll"}:
        raise argparse.ArgumentTypeError("transports are websocket, sse, poll, or none")
    return names


if __name__ == "__main__":
    sys.exit(main())
