"""Fan-out beside its rivals: one event to thousands of subscribers, by SSE and WebSocket, on one core.

Usage: python loadtests/fanout.py [--sides …] [--transports sse,ws] [--columns …] [--rounds 3] [--json FILE]
"""

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from crowd.audit import Auditor
from crowd.budgets import budgets
from crowd.curve import FLAT, curve, flat
from crowd.figures import Figure
from crowd.frames import BrokenStreamError, SseParser
from crowd.groups import groups
from crowd.ours import ours
from crowd.publisher import Publisher
from crowd.reactor import Reactor
from crowd.receivers import Crowd
from crowd.rivals import NotInstalledError, nchan, pushpin, python_rival
from crowd.scene import Extent, Scene
from crowd.side import SSE, WEBSOCKET, Side
from crowd.table import ours_alone, table
from crowd.tree import GENERATOR_CORE, pin

_EACH = 10
"""Subscribers of a channel in the curve over channels."""
_LANES = {"fast": "auto", "portable": "portable"}
_COLUMNS = ("saturated", "latency", "many", "groups")
Starter = Callable[[Path], AbstractContextManager[Side]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A side by name, the transports that it has, and how it is started in a folder."""

    name: str
    transports: tuple[str, ...]
    start: Starter
    lane: str | None = None


def entries(options: argparse.Namespace, size: int) -> list[Entry]:
    """All sides, ours first."""
    both = (SSE, WEBSOCKET)
    made = [
        Entry(f"sessioncast {name}", both, lambda folder, lane=lane: ours(folder, lane=lane, text=options.text), lane)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        for name, lane in _LANES.items()
    ]
    for name, program, modules, transports in (
        ("starlette-queue", "starlette_queue.py", "starlette, sse_starlette, uvicorn, uvloop, httptools", both),
        ("python-socketio", "socketio_asgi.py", "socketio, uvicorn, uvloop, httptools", (WEBSOCKET,)),
        ("django-channels", "channels_daphne.py", "channels, daphne", (WEBSOCKET,)),
    ):

        def start(folder: Path, n: str = name, p: str = program, m: str = modules) -> AbstractContextManager[Side]:
            return python_rival(n, p, m, folder, size=size, pythons=(options.rivals_python, sys.executable))

        made.append(Entry(name, transports, start))
    made.append(Entry("nchan", both, lambda folder: nchan(folder, size=size)))
    made.append(Entry("pushpin", both, lambda folder: pushpin(folder, size=size)))
    return made


def event_bytes(text: int) -> int:
    """How long the JSON of one of our events is, heard from our own server."""
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder), sessions=6, text=text) as side:
        reactor, auditor = Reactor(), Auditor(SseParser)
        crowd = Crowd(reactor, side.port, {0: auditor})
        publisher = Publisher(reactor, side.port, side.compose, connections=1)
        try:
            crowd.connect(1, lambda index: side.steps(SSE, index))
            publisher.one()
            if not reactor.run(lambda: auditor.events > 0, 10):
                raise TimeoutError("an event of our own did not come")
        finally:
            publisher.close()
            crowd.close()
            reactor.close()
        return auditor.size


def measure(entry: Entry, transport: str, number: int, options: argparse.Namespace, extent: Extent) -> Iterator[Figure]:
    """Every chosen column of one side and transport, each group of columns on a server of its own.

    Raises:
        NotInstalledError: the side is not on this machine.
    """
    wanted = options.columns
    for some in (wanted & {"saturated", "latency"}, wanted & {"many"}):
        if not some:
            continue
        with tempfile.TemporaryDirectory() as folder, entry.start(Path(folder)) as side:
            scene = Scene(side, transport, extent, number)
            try:
                if "saturated" in some:
                    yield scene.saturated()
                if "latency" in some:
                    yield scene.latency()
                if "many" in some:
                    yield from scene.many()
            finally:
                scene.close()
    if entry.lane is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        if "groups" in wanted:
            yield groups(
                Path(folder), lane=entry.lane, transport=transport, round_number=number, many=options.groups,
                few=min(100, options.groups), seconds=extent.seconds, settle_s=extent.settle_s, text=options.text,
            )  # fmt: skip
        if options.curve:
            yield from curve(
                Path(folder), lane=entry.lane, transport=transport, round_number=number,
                subscribers=options.curve_subscribers, channels=options.curve_channels, each=_EACH,
                deliveries=options.curve_rate, seconds=extent.seconds,
            )  # fmt: skip


def collect(chosen: list[Entry], options: argparse.Namespace, extent: Extent) -> tuple[list[Figure], dict[str, str]]:
    """All rounds, the sides in turns; and what is not installed. A measurement that fails is said and left out."""
    figures: list[Figure] = []
    absent: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        for entry in chosen:
            for transport in entry.transports:
                if transport not in options.transports or entry.name in absent:
                    continue
                try:
                    for made in measure(entry, transport, number, options, extent):
                        figures.append(made)
                        print(made.line(), flush=True)
                except NotInstalledError as error:
                    absent[entry.name] = str(error)
                except (OSError, RuntimeError, TimeoutError, BrokenStreamError) as error:
                    print(f"round {number}  {entry.name} {transport}: FAILED: {error}", flush=True)
                gc.collect()
    return figures, absent


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; ends the process where it makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [entry.name for entry in entries(argparse.Namespace(text=0, rivals_python=""), 0)]

    def some(of: Sequence[str]) -> Callable[[str], set[str]]:
        def chosen(text: str) -> set[str]:
            wanted = {part.strip() for part in text.split(",")}
            if wanted - set(of):
                raise argparse.ArgumentTypeError(f"not among {', '.join(of)}: {', '.join(wanted - set(of))}")
            return wanted

        return chosen

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser.add_argument("--sides", type=some(names), default=set(names), help=f"of {', '.join(names)}")
    parser.add_argument("--transports", type=some((SSE, WEBSOCKET)), default={SSE, WEBSOCKET}, help="of sse, ws")
    parser.add_argument("--columns", type=some(_COLUMNS), default=set(_COLUMNS), help=f"of {', '.join(_COLUMNS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a saturated load; an open-loop one: twice that")
    parser.add_argument("--few", type=int, default=1_000, help="subscribers of the loads")
    parser.add_argument("--many", type=int, default=10_000, help="subscribers of connect, memory, last and storm")
    parser.add_argument("--groups", type=int, default=10_000, help="groups of one subscriber")
    parser.add_argument("--rate", type=float, default=50.0, help="events per second of the open-loop load")
    parser.add_argument("--singles", type=int, default=10, help="events whose last delivery is timed")
    parser.add_argument("--missed", type=int, default=20, help="events published before the storm")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds before memory is read")
    parser.add_argument("--text", type=int, default=200, help="bytes of output in an event of ours")
    parser.add_argument("--bytes", type=int, default=0, help="of a rival's event; 0: as many as one of ours has")
    parser.add_argument("--rivals-python", default=sys.executable, help="a Python that has the rivals' packages")
    parser.add_argument("--curve", action="store_true", help="the cost of a delivery by subscribers and by channels")
    parser.add_argument("--curve-subscribers", type=numbers, default=[100, 1_000, 10_000, 18_000])
    parser.add_argument("--curve-channels", type=numbers, default=[1, 10, 100, 1_000])
    parser.add_argument("--curve-rate", type=float, default=20_000.0, help="deliveries per second of it")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, print one table and the verdicts; 0 whatever they are, for figures depend on the machine."""
    options = parse()
    _allow_descriptors()
    pinned = pin(GENERATOR_CORE)
    size = options.bytes or event_bytes(options.text)
    extent = Extent(
        options.few, options.many, options.seconds, options.rate, options.singles, options.missed, options.settle, size
    )
    where = "servers on core 0, the generator on core 1" if pinned else "one core for all: figures mean little"
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}; {where}; "
        f"an event has {size} B of JSON; {options.few:,} and {options.many:,} subscribers"
    )
    chosen = [entry for entry in entries(options, size) if entry.name in options.sides]
    gc.disable()  # the generator's pauses would be counted as the servers'
    figures, absent = collect(chosen, options, extent)
    print(f"\n{table(figures, absent)}\n\n{ours_alone(figures)}\n")
    verdicts = budgets(figures)
    for verdict in verdicts:
        print(verdict.line())
    _say_curve(figures)
    if options.json:
        document = {
            "event_bytes": size,
            "figures": [made.plain() for made in figures],
            "not_installed": absent,
            "budgets": [{"text": each.text, "value": each.value, "met": each.met} for each in verdicts],
        }
        options.json.write_text(json.dumps(document, indent=1))
    return 0


def _say_curve(figures: list[Figure]) -> None:
    for side, transport in dict.fromkeys((made.side, made.transport) for made in figures):
        own = [made for made in figures if (made.side, made.transport) == (side, transport)]
        for kind in ("subscribers", "channels"):
            found = flat(own, kind)
            if found is not None:
                verdict = "met" if found <= 1 + FLAT else "MISSED"
                text = f"{side} {transport}: a delivery by {kind}, dearest by cheapest ≤ {1 + FLAT:g}"
                print(f"{verdict:<12}  {text}: {found:.2f}")


def _allow_descriptors() -> None:
    """As many sockets as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
