"""What resuming saves: one history of updates, by somebody who begins afresh every time and by somebody who resumes.

Both work through a real server with a fake provider, a process per use, that charges for what a run reads; in turns,
and for projects of several sizes. Money is what the provider charges, compactions and lost sessions included. Time is
measured from outside, with the waits for a locked session, the processes and our own requests. The provider's seconds
are shortened, those of the machine are not: what we take counts as many times more than it would.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import stamina

from cluster import admin_url, fresh_database
from resuming.history import updates
from resuming.replay import Replay, Replayed
from resuming.savings import AIMS, Saved, line, saved, show_head
from sessioncast import Client
from sides import ours
from support.fakeprovider import CACHED_PER_S, CACHED_USD, FULL_PER_S, FULL_USD, WRITTEN_PER_S, WRITTEN_USD
from support.provider import Habits

_LOCK_S = 2.0
_TOLD = "sessioncast_resume_saved_cost_usd "


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project-tokens", default="20000,60000,120000", help="sizes of projects")
    parser.add_argument("--updates", type=int, default=15)
    parser.add_argument("--compact-every", type=int, default=5, help="updates; 0: never")
    parser.add_argument("--rounds", type=int, default=3, help="the history is the same, what gets lost is not")
    parser.add_argument(
        "--faster", type=float, default=50.0, help="times that the provider's clock is faster than ours"
    )
    for name, share in (("forgets", 0.02), ("corrupts", 0.02), ("hangs", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=share, help=f"share of the provider's uses; {share:g}")
    parser.add_argument("--cold", action="store_true", help="updates are so far apart that the cache has lost all")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite", help="a fresh one")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


async def measure_round(url: str, folder: Path, number: int, options: argparse.Namespace) -> list[Replayed]:
    """One history on projects of each size, all at once: they mostly wait for the provider."""
    pace = 1 / options.faster
    async with Client(url) as client:

        async def replay(tokens: int) -> Replayed:
            name = f"round-{number}-{tokens}"
            habits = Habits(
                seed=f"{options.seed}-{name}",
                lock_s=_LOCK_S * pace,
                pace=pace,
                forgets=options.forgets,
                corrupts=options.corrupts,
                hangs=options.hangs,
                cold=options.cold,
            )
            history = updates(tokens, count=options.updates, compact_every=options.compact_every, seed=options.seed)
            return await Replay(client, folder / name, habits).run(name, tokens, list(history))

        return list(await asyncio.gather(*map(replay, map(int, options.project_tokens.split(",")))))


def measure(options: argparse.Namespace, folder: Path) -> tuple[list[tuple[int, Replayed]], float]:
    """All rounds on one server, printed as they come; and how many US dollars its metrics say were saved."""
    with ExitStack() as stack:
        database_url = None
        if options.database == "postgresql":
            database_url = stack.enter_context(fresh_database(stack.enter_context(admin_url())))
        side = stack.enter_context(ours(folder, database_url=database_url))
        url = f"http://127.0.0.1:{side.port}"
        found = []
        show_head()
        for number in range(1, options.rounds + 1):
            for made in asyncio.run(measure_round(url, folder, number, options)):
                found.append((number, made))
                print(line(str(number), saved(made)), flush=True)
        return found, told(url)


def told(url: str) -> float:
    """US dollars that clients told a server they saved."""
    metrics = httpx2.get(f"{url}/metrics", timeout=10).raise_for_status().text
    return float(next(row.split()[1] for row in metrics.splitlines() if row.startswith(_TOLD)))


def conclude(found: list[tuple[int, Replayed]]) -> dict[str, dict[str, float]]:
    """Print the medians beside the seed's targets; the medians by size of project."""
    medians: dict[str, dict[str, float]] = {}
    for tokens in sorted({made.project_tokens for _, made in found}):
        rounds = [saved(made) for _, made in found if made.project_tokens == tokens]
        middle = {name: statistics.median(getattr(one, name) for one in rounds) for name in Saved.__dataclass_fields__}
        print(line("med", Saved(**middle)))
        medians[str(tokens)] = middle
    for aim in AIMS:
        for size, middle in medians.items():
            print(aim.verdict(int(size), middle[aim.name]))
    return medians


def main() -> int:
    """Run, print, and write JSON if asked to."""
    options = parse()
    began = time.monotonic()
    stamina.instrumentation.set_on_retry_hooks(())  # they would print a line for each wait into the table
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}; "
        f"{options.database}; {options.updates} updates, compacted before every {options.compact_every}; "
        f"{options.forgets:.0%} forgotten, {options.corrupts:.0%} corrupted, {options.hangs:.0%} hang; "
        f"{'cold' if options.cold else 'warm'} cache\n"
        f"a million tokens read, cached, written: {FULL_USD * 1e6:g}, {CACHED_USD * 1e6:g}, {WRITTEN_USD * 1e6:g} USD; "
        f"in a second {FULL_PER_S:,}, {CACHED_PER_S:,}, {WRITTEN_PER_S:,}; {options.faster:g} times as fast"
    )
    with tempfile.TemporaryDirectory(prefix="resume-saved-") as name:
        found, told_usd = measure(options, Path(name))
    medians = conclude(found)
    reckoned = sum(made.reckoned_usd for _, made in found)
    print(
        f"updates that resumed were {reckoned:.2f} USD cheaper than fresh ones; the server's metrics say {told_usd:.2f}"
    )
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        rounds: list[Any] = [{"round": number, **asdict(made)} for number, made in found]
        options.json.write_text(
            json.dumps({"rounds": rounds, "medians": medians, "told_usd": told_usd}, indent=2) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
