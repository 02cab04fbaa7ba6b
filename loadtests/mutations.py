"""Starts and replacements per second over HTTP, on the SQLite default, beside FastAPI with async SQLModel.

Both servers run the whole time and are loaded in turns, so that whatever else the machine does falls on both. The
figure that counts is the ratio within a round, and of rounds the median.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import uvloop

from driver import Answered, Measure, Wish, drive
from rule import check_rule, new_project, new_tasks, start
from sides import Side, fastapi_sqlmodel, ours

_PHASES = ("plan", "run", "verify")
_TASKS_PER_S = {True: 400, False: 3000}
"""So many tasks are there for each second of starts, three starts to a task; a round ends when they are used up."""
_GENERATOR_MAX = 0.7
_WARM_UP_S = 0.5


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured load.

    Attributes:
        rate: operations per second.
        p50_ms, p99_ms: latencies.
        server_us: processor time of the server per operation.
        generator: share of a core that the generator used.
    """

    round: int
    side: str
    operation: str
    count: int
    rate: float
    p50_ms: float
    p99_ms: float
    server_us: float
    generator: float


def figure(number: int, side: Side, operation: str, measure: Measure, cpu: float) -> Figure:
    """A measure as it is shown."""
    return Figure(
        number,
        side.name,
        operation,
        measure.count,
        round(measure.rate, 1),
        round(measure.quantile(0.5) * 1000, 2),
        round(measure.quantile(0.99) * 1000, 2),
        round(cpu / measure.count * 1e6, 1),
        round(measure.generator, 3),
    )


class Clients:
    """The clients of one round; each has tasks of its own, and then the sessions it started there."""

    def __init__(self, tasks: list[str], count: int) -> None:
        self._tasks = [tasks[number::count] for number in range(count)]
        self._live: list[dict[tuple[str, str], str]] = [{} for _ in range(count)]

    def starts(self) -> list[Iterator[Wish]]:
        """Each client starts every phase of each of its tasks."""
        return [self._start(*pair) for pair in zip(self._tasks, self._live, strict=True)]

    def replacements(self) -> list[Iterator[Wish]]:
        """Each client restarts the sessions that it started, over and over, confirming the one it knows."""
        return [self._replace(live) for live in self._live]

    def _start(self, tasks: list[str], live: dict[tuple[str, str], str]) -> Iterator[Wish]:
        for task in tasks:
            for phase in _PHASES:
                yield start(task, phase), _keeper(live, (task, phase))

    def _replace(self, live: dict[tuple[str, str], str]) -> Iterator[Wish]:
        while live:
            for task, phase in list(live):
                confirm = {"session_id": live[task, phase]}
                yield start(task, phase, on_conflict="restart", confirm=confirm), _keeper(live, (task, phase))


def _keeper(live: dict[tuple[str, str], str], slot: tuple[str, str]) -> Answered:
    def told(status: int, body: bytes) -> None:
        if status != 201:
            raise RuntimeError(f"answered with {status} {body[:500]!r}")
        live[slot] = orjson.loads(body)["session"]["id"]

    return told


async def measure_round(number: int, side: Side, *, clients: int, seconds: float) -> list[Figure]:
    """Starts, then replacements, on one server, in a new project."""
    tasks = await new_tasks(side, await new_project(side), max(clients, int(_TASKS_PER_S[side.bulk] * seconds)))
    parties = Clients(tasks, clients)
    figures = []
    for operation, wishes in (("start", parties.starts), ("replace", parties.replacements)):
        cpu = side.cpu()
        measure = await drive(side.port, wishes(), seconds)
        figures.append(figure(number, side, operation, measure, side.cpu() - cpu))
    return figures


async def run(sides: tuple[Side, Side], *, clients: int, seconds: float, rounds: int) -> list[Figure]:
    """Check the rule, warm up, then load the servers in turns."""
    for side in sides:
        await check_rule(side)
        await measure_round(0, side, clients=clients, seconds=min(seconds, _WARM_UP_S))
    figures: list[Figure] = []
    show_head()
    for number in range(1, rounds + 1):
        for side in sides:
            for made in await measure_round(number, side, clients=clients, seconds=seconds):
                figures.append(made)
                show(made)
    return figures


def show_head() -> None:
    """The head of the table."""
    print(
        f"{'round':>5}  {'server':<17} {'operation':<9} {'ops/s':>9} "
        f"{'p50 ms':>8} {'p99 ms':>8} {'cpu µs/op':>9} {'gen':>5}"
    )


def show(made: Figure) -> None:
    """A line of it."""
    late = "  the generator was busy: too low a figure" if made.generator > _GENERATOR_MAX else ""
    print(
        f"{made.round or 'med':>5}  {made.side:<17} {made.operation:<9} {made.rate:>9,.0f} {made.p50_ms:>8.2f} "
        f"{made.p99_ms:>8.2f} {made.server_us:>9.0f} {made.generator:>5.0%}{late}",
        flush=True,
    )


def median(figures: list[Figure], side: str, operation: str) -> Figure:
    """The median of each column over the rounds."""
    rows = [made for made in figures if (made.side, made.operation) == (side, operation)]

    def middle(name: str) -> float:
        return float(statistics.median(getattr(row, name) for row in rows))

    return Figure(
        0, side, operation, int(middle("count")),
        *(round(middle(name), 3) for name in ("rate", "p50_ms", "p99_ms", "server_us", "generator")),
    )  # fmt: skip


def ratios(figures: list[Figure], names: tuple[str, str], operation: str) -> list[float]:
    """Ours to the rival's rate, round by round."""
    rates = {(made.round, made.side): made.rate for made in figures if made.operation == operation}
    rounds = sorted({number for number, _ in rates})
    return [round(rates[number, names[0]] / rates[number, names[1]], 2) for number in rounds]


def main() -> int:
    """Run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measured load")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mutations-") as name,
        ours(Path(name)) as mine,
        fastapi_sqlmodel(Path(name)) as rival,
    ):
        work = run((mine, rival), clients=options.clients, seconds=options.seconds, rounds=options.rounds)
        figures = uvloop.run(work)
    names = (mine.name, rival.name)
    result: dict[str, object] = {"figures": [asdict(made) for made in figures]}
    for operation in ("start", "replace"):
        for name in names:
            show(median(figures, name, operation))
    for operation in ("start", "replace"):
        each = ratios(figures, names, operation)
        result[f"{operation}_ratio"] = statistics.median(each)
        print(f"{operation}: {statistics.median(each):.1f} times the rival (rounds: {', '.join(map(str, each))})")
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
