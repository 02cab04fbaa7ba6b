"""Clients that come and go for minutes, and whether the server is afterwards as it was before.

Usage: python loadtests/soak.py [--minutes 10] [--visitors 600] [--database-url URL] [--redis-url URL] [--json FILE]
"""

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crowd.tree import GENERATOR_CORE, pin
from endurance.auditors import Auditor
from endurance.figures import Figures, Row, descriptors, from_inside, from_outside, grown, judge, table, take_census
from endurance.process import Server, serving
from endurance.visitors import Visitors
from endurance.web import Client
from endurance.world import World

_SETTINGS = {
    "SESSIONCAST_LOG_LEVEL": "warning",
    "SESSIONCAST_CHANNEL_LINGER_S": "1",
    "SESSIONCAST_SEND_DEADLINE_S": "3",
    "SESSIONCAST_HEAD_DEADLINE_S": "3",
    "SESSIONCAST_WS_PING_S": "4",
    "SESSIONCAST_HEARTBEAT_S": "2",
    "SESSIONCAST_LOOKUP_TTL_S": "1",
}
_WARM_SHARE, _WARM_LEAST_S = 0.15, 5.0
_HEARD_S = 15.0
_BACK_S = 60.0
_FALLING = ("descriptors", "tasks", "timers")
_WATCHED = Path(__file__).parent / "endurance" / "watched.py"


class Soak:
    """One server, its visitors, and what was seen of it.

    Attributes:
        faults: everything that should not have been.
    """

    def __init__(self, server: Server, census: Path, options: argparse.Namespace) -> None:
        self._server = server
        self._census = census
        self._options = options
        self._client = Client(server.port)
        self._world = World(server.port)
        self.faults: list[str] = []
        self.peak: Figures = {}
        self.numbers: Counter[str] = Counter()

    async def run(self, seconds: float) -> tuple[list[Row], list[str]]:
        """Warm up, measure, churn, wait, measure: the rows, and the types of which there are more."""
        await self._world.begin()
        await self._churn(max(_WARM_LEAST_S, seconds * _WARM_SHARE))
        self.peak.clear()
        self.numbers.clear()
        baseline, before = await self._settled(None)
        await self._churn(seconds)
        after, census = await self._settled(baseline)
        return judge(baseline, self.peak, after), grown(before, census)

    async def _churn(self, seconds: float) -> None:
        world, port, options = self._world, self._server.port, self._options
        visitors = Visitors(world, port, stay_s=options.stay)
        since = world.steady.position
        assert since is not None
        own = world.own_session
        auditors = [
            Auditor(port, since, websocket=websocket, session=session, breaks_s=breaks_s)
            for websocket in (False, True)
            for session in (None, own)
            for breaks_s in (None, 2.0)
        ]
        world.own_positions.clear()
        changing: list[Coroutine[Any, Any, None]] = [
            world.renew(options.renew), world.write_alone(0.2), *(world.write(0.25) for _ in range(options.writers)),
        ]  # fmt: skip
        listening = [asyncio.create_task(auditor.listen()) for auditor in auditors]
        coming = [asyncio.create_task(visitors.visit()) for _ in range(options.visitors)]
        working = [asyncio.create_task(each) for each in changing]
        watching = asyncio.create_task(self._watch(seconds / 2))
        await asyncio.wait([*listening, *coming, *working], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await self._end([*working, watching])
        await self._all_heard(auditors)
        await self._end([*coming, *listening])
        for auditor in auditors:
            self.faults += auditor.faults
            self.numbers["events audited"] += len(auditor.heard)
            self.numbers["connections of auditors"] += auditor.connections
        self.numbers.update(visitors.visits)
        self.numbers.update({f"answers {status}": count for status, count in world.outcomes.items()})
        self.faults += [
            f"{count} changes were answered {status}"
            for status, count in world.outcomes.items()
            if not status.startswith(("2", "4"))
        ]
        world.outcomes.clear()

    async def _all_heard(self, auditors: list[Auditor]) -> None:
        world = self._world

        def missing(auditor: Auditor) -> int:
            return auditor.missing(world.steady.position, world.own_positions if auditor.session else None)

        deadline = time.monotonic() + _HEARD_S
        while any(map(missing, auditors)) and time.monotonic() < deadline:  # noqa: ASYNC110  bytes still on their way
            await asyncio.sleep(0.1)
        for auditor in auditors:
            if count := missing(auditor):
                self.faults.append(f"{auditor.name}: {count} of {count + len(auditor.heard)} events were not heard")

    async def _end(self, tasks: list["asyncio.Task[None]"]) -> None:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.faults.append(f"the generator failed: {outcome!r}")

    async def _watch(self, middle_s: float) -> None:
        """Keep the most of every figure; a census only once, for it takes long."""
        began, counted = time.monotonic(), False
        while True:
            await asyncio.sleep(1)
            found = from_outside(self._server, await self._client.samples())
            if not counted and time.monotonic() - began > middle_s:
                counted = True
                found = from_inside(await asyncio.to_thread(take_census, self._server, self._census), found)
            for figure, value in found.items():
                self.peak[figure] = max(value, self.peak.get(figure, 0.0))

    async def _settled(self, baseline: Figures | None) -> tuple[Figures, dict[str, int]]:
        """The figures once they are back, or, without a baseline, once they fall no more; at last whatever they are."""
        previous: Figures | None = None
        deadline = time.monotonic() + _BACK_S
        while True:
            await asyncio.sleep(1)
            outside = from_outside(self._server, await self._client.samples())
            self._client.close()
            waiting = time.monotonic() < deadline
            if waiting and (outside["subscribers"] or outside["channels"]):
                continue
            await asyncio.sleep(0.5)  # for the server to see that this one has gone too
            outside["descriptors"] = descriptors(self._server)
            census = await asyncio.to_thread(take_census, self._server, self._census)
            found = from_inside(census, outside)
            if baseline is None:
                back = previous is not None and all(found[name] >= previous[name] for name in _FALLING)
            else:
                back = all(row.returned for row in judge(baseline, {}, found))
            if back or not waiting:
                return found, census
            previous = found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the churn; the warm-up takes 15 % of it more")
    parser.add_argument("--visitors", type=int, default=600, help="clients at a time")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--stay", type=float, default=2.0, help="seconds that a visitor stays in the mean")
    parser.add_argument("--renew", type=float, default=4.0, help="seconds until the next project comes")
    parser.add_argument("--database-url", help="an empty database; none: a SQLite file of its own")
    parser.add_argument("--redis-url")
    parser.add_argument("--lane", choices=["auto", "portable"], default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> int:
    """0 when nothing was lost and everything is back, 1 otherwise."""
    options = parse()
    random.seed(options.seed)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pin(GENERATOR_CORE)
    arguments = [
        part
        for name, value in (("--database-url", options.database_url), ("--redis-url", options.redis_url))
        if value
        for part in (name, value)
    ]
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}; "
        f"{options.minutes:g} minutes, {options.visitors} visitors at a time, lane {options.lane}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        census = Path(name) / "census.json"
        settings = {**_SETTINGS, "SESSIONCAST_LANE": options.lane, "SOAK_CENSUS": str(census)}
        with serving(Path(name), environment=settings, arguments=arguments, program=[str(_WATCHED)]) as server:
            soak = Soak(server, census, options)
            rows, more = asyncio.run(soak.run(options.minutes * 60))
            status = server.end()
            if status or "Traceback" in server.said() or "never retrieved" in server.said():
                soak.faults.append(f"exit {status}: {server.said()}")
    return report(soak, rows, more, options.json)


def report(soak: Soak, rows: list[Row], more: list[str], path: Path | None) -> int:
    """Print everything; the exit status."""
    good = not soak.faults and all(row.returned for row in rows)
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(soak.numbers.items())))
    print(table(rows))
    if not all(row.returned for row in rows):
        print("objects that are more than before:", *more, sep="\n")
    for fault, count in Counter(soak.faults).most_common(20):
        print(f"FAULT ({count}): {fault}")
    print("everything is back and nothing was lost" if good else "FAILED")
    if path:
        document = {
            "good": good, "faults": soak.faults, "numbers": soak.numbers, "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        path.write_text(json.dumps(document, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
