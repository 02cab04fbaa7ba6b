"""What it takes to open a provider session, and to add up 10,000 of them, beside reading all rows and adding in Python.

One task with one session has all of them, so that the metrics of the task, of the session, of the milestone and of the
project are over the same rows and every answer can be checked. They are written through the tables, as a past. Both
servers run the whole time and are asked in turns.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop

from bulk import Row, writer
from cluster import admin_url, fresh_database
from crowd.tree import free_port, run
from driver import Answered, Wish, ask, drive, request
from figures import Figure, figure, median, show, show_head
from rule import new_project, start
from sessioncast_server.db.migrate import migrate
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.rules import to_nano
from sides import Side

LEVELS = ("task", "session", "milestone", "project")
CREATE_MS, METRICS_MS = 100.0, 50.0
"""At p99; the seed asks for them without naming a percentile."""
_MILESTONE = "first"
_PAGE = 200
_BATCH = 1000
_ENDED = 200
"""Provider sessions that are ended in a round, in the session that has all of them."""
_FILL_S = 60.0
_WARM_UP_S = 0.3


@dataclass(frozen=True, slots=True)
class Furnished:
    """What a server has.

    Attributes:
        project, task, session: of the provider sessions that are added up.
        others: sessions of as many tasks in another project, where those are opened that are not to be added up.
    """

    project: str
    task: str
    session: str
    others: list[str]

    @property
    def paths(self) -> dict[str, str]:
        """Of the metrics, by level."""
        return {
            "task": f"/v1/tasks/{self.task}/metrics",
            "session": f"/v1/sessions/{self.session}/metrics",
            "milestone": f"/v1/projects/{self.project}/milestones/{_MILESTONE}/metrics",
            "project": f"/v1/projects/{self.project}/metrics",
        }


def usage(number: int) -> dict[str, Any]:
    """What a provider session used. Of every tenth nobody knows the cached tokens, of every twentieth the cost."""
    return {
        "tokens": 50_000 + number,
        "cached_tokens": None if number % 10 == 0 else 40_000,
        "turns": 2,
        "cost_usd": None if number % 20 == 0 else 0.25,
    }


def totals(count: int) -> dict[str, float | bool]:
    """What the metrics of so many must say."""
    used = [usage(number) for number in range(count)]
    tokens = sum(one["tokens"] for one in used)
    return {
        "total_tokens": tokens,
        "total_cached_tokens": sum(one["cached_tokens"] or 0 for one in used),
        "total_turns": 2 * count,
        "total_cost": sum(one["cost_usd"] or 0 for one in used),
        "cost_known": all(one["cost_usd"] is not None for one in used),
        "num_iterations": count,
        "avg_tokens_per_iteration": tokens / count,
    }


async def new_session(side: Side, project: str) -> tuple[str, str]:
    """Ids of a new task, which belongs to the milestone, and of its session."""
    rival = side.bulk
    body = {"count": 1} if rival else {"title": "task", "milestone": _MILESTONE}
    _, made = await ask(side.port, request("POST", f"/v1/projects/{project}/tasks", body))
    task = made[0] if rival else made["id"]
    _, outcome = await ask(side.port, start(task, "run"))
    return task, outcome["session"]["id"]


def openings(side: Side, session: str, numbers: Iterator[int], made: list[str]) -> Iterator[Wish]:
    """Requests that open a provider session each; the ids are kept."""

    def told(status: int, body: bytes) -> None:
        if status != 201:
            raise RuntimeError(f"{side.name}: a provider session was answered with {status} {body[:500]!r}")
        made.append(json.loads(body)["id"])

    path = f"/v1/sessions/{session}/provider-sessions"
    more: dict[str, Any] = {"milestone": _MILESTONE} if side.bulk else {"lease_s": 3600}
    for number in numbers:
        body = {"operation": "iteration", "provider_session_id": str(uuid.uuid4()), "iteration": number, **more}
        yield request("POST", path, body), told


def endings(side: Side, made: Sequence[str]) -> Iterator[Wish]:
    """Requests that say what each used, and end it."""
    for number, id_ in enumerate(made):
        body = {"usage": {name: value for name, value in usage(number).items() if value is not None}, "ended": True}
        yield request("PATCH", f"/v1/provider-sessions/{id_}", body), expecting(side, 200)


def expecting(side: Side, wanted: int) -> Answered:
    """Ends the run on any other answer."""

    def told(status: int, body: bytes) -> None:
        if status != wanted:
            raise RuntimeError(f"{side.name}: answered with {status} {body[:500]!r}")

    return told


async def measured(number: int, side: Side, operation: str, clients: list[Iterator[Wish]], seconds: float) -> Figure:
    """Figures of a load, one request of each client at a time."""
    cpu = side.cpu()
    measure = await drive(side.port, clients, seconds)
    return figure(number, side, operation, measure, side.cpu() - cpu)


async def furnish(side: Side, clients: int) -> Furnished:
    """A task whose session is to have the provider sessions, and sessions for so many clients."""
    project, other = await new_project(side), await new_project(side)
    task, session = await new_session(side, project)
    return Furnished(project, task, session, [(await new_session(side, other))[1] for _ in range(clients)])


def past(place: Furnished, count: int) -> Iterator[Row]:
    """Rows of the table of so many provider sessions, one second each, the last of which ended just now."""
    now = datetime.now(UTC)
    for number in range(count):
        used = usage(number)
        began = now - timedelta(seconds=count - number)
        id_ = str(uuid.uuid4())
        cost = used.pop("cost_usd")
        yield Use(
            id=str(uuid.uuid4()), project_id=place.project, session_id=place.session, task_id=place.task,
            milestone=None, provider_session_id=id_, proved=True, id_created_at=began, operation="iteration",
            iteration=number, resumed_from=None, fork=False, fence=1, started_at=began,
            last_used_at=began + timedelta(seconds=1), model_name="model-a", agent="null", lease_s=60.0, state="ended",
            ended_at=began + timedelta(seconds=1), cost_nano=None if cost is None else to_nano(cost), **used,
        ).columns()  # fmt: skip


async def told_past(side: Side, place: Furnished, count: int) -> None:
    """The same for the rival, by a request that it has for that."""
    path = f"/v1/sessions/{place.session}/past"
    for first in range(0, count, _BATCH):
        rows = [usage(number) for number in range(first, min(count, first + _BATCH))]
        status, _ = await ask(side.port, request("POST", path, {"milestone": _MILESTONE, "rows": rows}))
        if status != 201:
            raise RuntimeError(f"{side.name}: a past was answered with {status}")


async def check(side: Side, paths: dict[str, str], count: int) -> None:
    """Ask for every level once.

    Raises:
        RuntimeError: a sum is not what went in.
    """
    wanted = totals(count)
    for level, path in paths.items():
        status, said = await ask(side.port, request("GET", path))
        wrong = [name for name, value in wanted.items() if status != 200 or not math.isclose(said[name], value)]
        if wrong or len(said["sessions"]) != min(count, _PAGE):
            raise RuntimeError(f"{side.name}: metrics of the {level} were answered with {status}, wrong: {wrong}")


async def measure_round(number: int, side: Side, place: Furnished, seconds: float) -> list[Figure]:
    """Open provider sessions, by one client and by one in each of the other sessions; end some; ask for the metrics."""
    clients = [openings(side, session, itertools.count(), []) for session in place.others]
    figures = [
        await measured(number, side, "open", clients[:1], seconds),
        await measured(number, side, f"open ×{len(clients)}", clients, seconds),
    ]
    made: list[str] = []
    await drive(side.port, [openings(side, place.session, iter(range(_ENDED)), made)], _FILL_S)
    figures.append(await measured(number, side, "end", [endings(side, made)], seconds))
    for level, path in place.paths.items():
        asking = itertools.repeat((request("GET", path), expecting(side, 200)))
        figures.append(await measured(number, side, level, [asking], seconds))
    return figures


async def load(both: tuple[tuple[Side, Furnished], ...], options: argparse.Namespace) -> list[Figure]:
    """Check the sums, warm up, then ask the servers in turns."""
    for side, place in both:
        await check(side, place.paths, options.count)
        await measure_round(0, side, place, min(options.seconds, _WARM_UP_S))
    figures: list[Figure] = []
    show_head()
    for number in range(1, options.rounds + 1):
        for side, place in both:
            for made in await measure_round(number, side, place, options.seconds):
                figures.append(made)
                show(made)
    return figures


@contextmanager
def serving(name: str, url: str, folder: Path) -> Iterator[Side]:
    """Our server, or the rival, on a core of its own."""
    rival = name != "sessioncast"
    program = ("rivals.fastapi_providers",) if rival else ("sessioncast", "serve")
    port = free_port()
    command = [sys.executable, "-m", *program, "--database-url", url, "--port", str(port)]
    places = {"PYTHONPATH": str(Path(__file__).parent)}
    with run(command, port, folder, environment=places, name=name) as pid:
        yield Side(name, url.partition(":")[0], port, pid, rival)


@contextmanager
def both_sides(
    database: str, folder: Path, options: argparse.Namespace
) -> Iterator[tuple[tuple[Side, Furnished], tuple[Side, Furnished]]]:
    """Both servers with a past: on a fresh file each, or on a fresh database each in one durable cluster."""
    with ExitStack() as stack:
        urls = [f"sqlite:///{(folder / name).absolute()}" for name in ("ours.db", "rival.db")]
        if database == "postgresql":
            cluster = stack.enter_context(admin_url(options.postgres_url))
            urls = [stack.enter_context(fresh_database(cluster)) for _ in urls]
        migrate(urls[0])  # on PostgreSQL a server does not do it itself
        with serving("sessioncast", urls[0], folder) as side:
            place = uvloop.run(furnish(side, options.clients))
        with writer(urls[0]) as into:
            into.add("provider_session", list(past(place, options.count)))
            into.finish()
        mine = stack.enter_context(serving("sessioncast", urls[0], folder))
        rival = stack.enter_context(serving("fastapi+sqlmodel", urls[1], folder))
        theirs = uvloop.run(furnish(rival, options.clients))
        uvloop.run(told_past(rival, theirs, options.count))
        yield (mine, place), (rival, theirs)


def judge(database: str, figures: list[Figure], names: tuple[str, str], count: int) -> dict[str, dict[str, Any]]:
    """Print the medians of the rounds beside what is asked for; by operation."""
    found: dict[str, dict[str, Any]] = {}
    operations = dict.fromkeys(made.operation for made in figures)
    medians = {(side, name): median(figures, side, name) for name in operations for side in names}
    for made in medians.values():
        show(made)
    for name in operations:
        mine, theirs = medians[names[0], name], medians[names[1], name]
        limit = METRICS_MS if name in LEVELS else CREATE_MS if name.startswith("open") else None
        verdict = "no target" if limit is None else f"asked: < {limit:g} ms"
        if limit is not None:
            verdict += ", reached" if mine.p99_ms < limit else ", MISSED"
        over = f" over {count:,}" if name in LEVELS else ""
        print(
            f"{database}, {name}{over}: p50 {mine.p50_ms:.2f} ms, p99 {mine.p99_ms:.2f} ms ({verdict}); "
            f"rival: p50 {theirs.p50_ms:.2f} ms, p99 {theirs.p99_ms:.2f} ms"
        )
        each = rounds_ratio(figures, names, name)
        found[name] = {"ours": asdict(mine), "rival": asdict(theirs), "times": each, "limit_ms": limit}
        print(f"    the rival's p50 to ours, by rounds: {', '.join(map(str, each))}; median {statistics.median(each)}")
    return found


def rounds_ratio(figures: list[Figure], names: tuple[str, str], operation: str) -> list[float]:
    """The rival's median latency to ours, round by round."""
    by = {(made.round, made.side): made.p50_ms for made in figures if made.operation == operation}
    rounds = sorted({number for number, _ in by})
    return [round(by[number, names[1]] / by[number, names[0]], 2) for number in rounds]


def compare(database: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure on one database."""
    with (
        tempfile.TemporaryDirectory(prefix="providers-") as name,
        both_sides(database, Path(name), options) as both,
    ):
        figures = uvloop.run(load(both, options))
        found = judge(database, figures, (both[0][0].name, both[1][0].name), options.count)
    return {"figures": [asdict(made) for made in figures], "found": found}


def main() -> int:
    """Run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="sqlite")
    parser.add_argument("--postgres-url", help="a superuser's database in a cluster of yours; none: one of its own")
    parser.add_argument("--count", type=int, default=10_000, help="provider sessions that are added up")
    parser.add_argument("--clients", type=int, default=10, help="that open provider sessions at once, a task each")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measured load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    began = time.monotonic()
    chosen = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    result = {database: compare(database, options) for database in chosen}
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
