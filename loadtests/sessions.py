"""Users who start, look up, change, replace and watch sessions, on a server with a past: one table and a gate.

Starts the server on a fresh SQLite file unless told otherwise, fills it, lets Locust's users work, stops everything.
Exit status: 0 all targets met, 1 missed, 2 wrong arguments, 3 void because the generator was busy itself.
"""

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from cluster import admin_url, fresh_database
from gate import Check, Result, is_void, judge, status
from generators import generate
from population import Size
from report import table
from scenarios import SCENARIOS, Scenario, of_users
from seed import SEED, fill
from sides import ours
from swarm.world import OWN, SHARED
from vitals import Vitals

_PROJECTS = 5
"""Made on a server that was there before."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Served:
    """A server to load.

    Attributes:
        pid: None when it is not ours.
        tasks: ids by project.
    """

    url: str
    pid: int | None
    tasks: dict[str, list[str]]


def parse() -> argparse.Namespace:
    """The arguments."""
    size = Size()
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--users", type=int, help="how many; 100 unless a scenario is named")
    which.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--seconds", type=float, help="how long all users work, after they came")
    parser.add_argument("--think", default="1:3", help="seconds between two actions of a user, from:to")
    parser.add_argument("--processes", type=int, default=1, help="generators; more when one is too busy")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="a fresh one")
    where.add_argument("--database-url", help="an empty one of your own")
    where.add_argument("--host", help="http://127.0.0.1:PORT of a running server; token: SESSIONCAST_TOKEN")
    parser.add_argument("--redis-url", help="for the server that is started")
    parser.add_argument("--tasks", type=int, default=size.tasks)
    parser.add_argument("--sessions", type=int, default=size.sessions)
    parser.add_argument("--output-mb", type=float, default=size.output_bytes / 1e6, help="bound on all output")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if options.host is not None and urlsplit(options.host).hostname not in _LOOPBACK:
        parser.error("--host: only servers of this machine")
    return options


def scenario_of(options: argparse.Namespace) -> Scenario:
    """The load that the arguments ask for."""
    chosen = SCENARIOS[options.scenario] if options.scenario else of_users(options.users or 100)
    return chosen if options.seconds is None else replace(chosen, seconds=options.seconds)


@contextmanager
def served(options: argparse.Namespace, folder: Path, users: int) -> Iterator[Served]:
    """The server of the arguments, with something to work on."""
    if options.host is not None:
        yield Served(options.host.rstrip("/"), None, furnish(options.host.rstrip("/"), users))
        return
    with ExitStack() as stack:
        url = options.database_url or f"sqlite:///{(folder / 'load.db').absolute()}"
        if options.database == "postgresql" and options.database_url is None:
            url = stack.enter_context(fresh_database(stack.enter_context(admin_url())))
        size = Size(tasks=options.tasks, sessions=options.sessions, output_bytes=int(options.output_mb * 1e6))
        filled = fill(url, size, seed=options.seed)
        print(f"seed {options.seed}: {filled}", flush=True)
        side = stack.enter_context(ours(folder, database_url=url, redis_url=options.redis_url))
        yield Served(f"http://127.0.0.1:{side.port}", side.pid, filled.tasks)


def furnish(url: str, users: int) -> dict[str, list[str]]:
    """New projects and tasks on a running server; they stay there.

    Raises:
        httpx2.HTTPStatusError: it does not let us.
    """
    from os import environ  # noqa: PLC0415  only here

    token = environ.get("SESSIONCAST_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    count = SHARED + OWN * -(-users // _PROJECTS)
    tasks: dict[str, list[str]] = {}
    with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
        for _ in range(_PROJECTS):
            project = f"load-{uuid.uuid4().hex[:12]}"
            client.put(f"/v1/projects/{project}", json={}).raise_for_status()
            path = f"/v1/projects/{project}/tasks"
            answers = (client.post(path, json={"title": f"Task {number}"}) for number in range(count))
            tasks[project] = [answer.raise_for_status().json()["id"] for answer in answers]
    return tasks


def run(options: argparse.Namespace, folder: Path) -> Result:
    """Serve, load, measure, stop."""
    scenario = scenario_of(options)
    with served(options, folder, scenario.users) as server, ExitStack() as stack:
        vitals = None if server.pid is None else stack.enter_context(Vitals(server.pid))
        load = generate(folder, server.url, server.tasks, scenario, processes=options.processes, think=options.think)
        usage = None if vitals is None else vitals.usage(*load.window)
    seconds = load.window[1] - load.window[0]
    return Result(scenario.users, seconds, load.measures, load.watched, usage, load.busiest)


def as_json(result: Result, checks: list[Check], exit_status: int) -> str:
    """The figures, for programs."""
    operations = {
        name: {
            "count": made.count,
            **{f"p{share * 100:g}_ms": made.quantile_ms(share) for share in (0.5, 0.99, 0.999)},
            "errors": dict(made.errors),
            "outcomes": dict(made.outcomes),
            "resent": made.resent,
        }
        for name, made in result.measures.operations.items()
    }
    rows = [{"name": c.target.name, "whose": c.target.whose, "value": c.value, "verdict": c.verdict} for c in checks]
    document = {
        "users": result.users, "seconds": result.seconds, "operations": operations, "watched": result.watched,
        "usage": None if result.usage is None else asdict(result.usage), "generator": result.generator,
        "checks": rows, "status": exit_status,
    }  # fmt: skip
    return json.dumps(document, indent=2) + "\n"


def main() -> int:
    """Run, print the table, and end with the gate."""
    options = parse()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sessions-") as name:
        result = run(options, Path(name))
    checks = list(judge(result))
    exit_status = status(checks, void=is_void(result))
    print(table(result, checks))
    for fault in result.measures.faults:
        print(f"fault: {fault}")
    outcome = {0: "all that gates was met", 1: "MISSED", 3: "VOID: the generator was too busy"}[exit_status]
    print(f"{outcome} (exit status {exit_status}); took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(as_json(result, checks, exit_status))
    return exit_status


if __name__ == "__main__":
    sys.exit(main())
