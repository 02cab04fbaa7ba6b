"""Starts and replacements per second over HTTP, on SQLite and PostgreSQL, beside FastAPI with async SQLModel.

On each database both servers run the whole time and are loaded in turns, so that whatever else the machine does falls
on both. The figure that counts is the ratio within a round, and of rounds the median.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import uvloop

from cluster import admin_url, fresh_database
from driver import Answered, Wish, drive
from figures import Figure, figure, median, ratios, show, show_head
from rule import check_rule, new_project, new_tasks, start
from sides import Side, fastapi_sqlmodel, ours

AIMS = {"sqlite": 10, "postgresql": 4}
"""Times the rival's rate."""
OPERATIONS = ("start", "replace")
_PHASES = ("plan", "run", "verify")
_TASKS_PER_S = {True: 400, False: 1500}
"""So many tasks are there for each second of starts, three starts to a task; a round ends when they are used up."""
_WARM_UP_S = 0.5


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
    for operation, wishes in zip(OPERATIONS, (parties.starts, parties.replacements), strict=True):
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


@contextmanager
def both_sides(database: str, folder: Path, postgres_url: str | None) -> Iterator[tuple[Side, Side]]:
    """Both servers: a fresh file each, or a fresh database each in one durable cluster."""
    with ExitStack() as stack:
        urls: tuple[str | None, ...] = (None, None)
        if database == "postgresql":
            cluster = stack.enter_context(admin_url(postgres_url))
            urls = tuple(stack.enter_context(fresh_database(cluster)) for _ in range(2))
        mine = stack.enter_context(ours(folder, database_url=urls[0]))
        yield mine, stack.enter_context(fastapi_sqlmodel(folder, database_url=urls[1]))


def compare(database: str, options: argparse.Namespace) -> tuple[list[Figure], dict[str, float]]:
    """Measure on one database; the figures, and by operation the median of the ratios."""
    with (
        tempfile.TemporaryDirectory(prefix="mutations-") as name,
        both_sides(database, Path(name), options.postgres_url) as sides,
    ):
        work = run(sides, clients=options.clients, seconds=options.seconds, rounds=options.rounds)
        figures = uvloop.run(work)
    names = (sides[0].name, sides[1].name)
    found: dict[str, float] = {}
    for operation in OPERATIONS:
        for side in names:
            show(median(figures, side, operation))
    for operation in OPERATIONS:
        each = ratios(figures, names, operation)
        found[operation] = statistics.median(each)
        verdict = "reached" if found[operation] >= AIMS[database] else "MISSED"
        print(
            f"{database}, {operation}: {found[operation]:.1f} times the rival "
            f"(rounds: {', '.join(map(str, each))}); aim: {AIMS[database]} times, {verdict}"
        )
    return figures, found


def main() -> int:
    """Run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=(*AIMS, "both"), default="both")
    parser.add_argument("--postgres-url", help="a superuser's database in a cluster of yours; none: one of its own")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measured load")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    began = time.monotonic()
    result: dict[str, Any] = {"figures": [], "ratios": {}}
    for database in AIMS if options.database == "both" else (options.database,):
        figures, result["ratios"][database] = compare(database, options)
        result["figures"] += [asdict(made) for made in figures]
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
