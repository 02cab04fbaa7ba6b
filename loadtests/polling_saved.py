"""What a page saves that follows a session by our client instead of polling it: calls, bytes, delay, processor time.

The page is the seed's: it polls the session each second, its side bar the task every two, its git section asks again
whenever it is rendered. Beside it, on the same sessions and at the same time, one mirror of ours per page, that polls
or that is pushed to. All of it is real HTTP to a real node, counted by a proxy before it. Then the same page, with what
it renders, in real Chromium: as it was, and on the browser's module.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pages.chromium import Looked, browse, browser_table, browser_verdicts
from pages.happening import SCENES, SceneName, Sightings, furnish, happen
from pages.proxy import CountingProxy
from pages.readers import PAGES, PARTS, READERS
from pages.verdict import Counted, Verdict, table, verdicts
from sessioncast import Client
from sides import ours

_PACE_S = 2.0
"""The contract's pace of polls while a session is active."""


async def follow(url: str, port: int, scene: SceneName, seconds: float, seed: int) -> list[Counted]:
    """All pages on one session for some seconds, each through a proxy of its own."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(url))
        watched = await furnish(client, scene, f"saved-{scene}")
        proxies = {
            page: await stack.enter_async_context(CountingProxy(port, parts=PARTS if page == "before" else ()))
            for page in PAGES
        }
        seen = {page: Sightings() for page in PAGES}
        reading = [asyncio.ensure_future(READERS[page](proxies[page].url, watched, seen[page])) for page in PAGES]
        happening = asyncio.ensure_future(happen(client, scene, watched.session, seconds, seed))
        try:
            await asyncio.wait([*reading, happening], return_when=asyncio.FIRST_COMPLETED)
            if not happening.done():
                raise next(task.exception() or RuntimeError("a page ended") for task in reading if task.done())
            changes = happening.result()
            traffic = {page: proxies[page].traffic.copy() for page in PAGES}
        finally:
            for task in (*reading, happening):
                task.cancel()
            await asyncio.gather(*reading, happening, return_exceptions=True)
        return [Counted.of(scene, page, traffic[page], seen[page].delays(changes)) for page in PAGES]


async def measure(options: argparse.Namespace, folder: Path) -> tuple[list[Counted], list[Looked]]:
    """All scenes at once by HTTP; then, one after another, in Chromium."""
    with ours(folder) as side:
        url = f"http://127.0.0.1:{side.port}"
        counted: list[Counted] = []
        if options.seconds > 0:
            scenes = (follow(url, side.port, scene, options.seconds, options.seed) for scene in options.scenes)
            counted = [row for rows in await asyncio.gather(*scenes) for row in rows]
        looked: list[Looked] = []
        if options.browser_seconds > 0:
            for number in range(1, options.rounds + 1):
                for scene in options.browser_scenes:
                    looked += await browse(url, side.port, scene, number, options)
        return counted, looked


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each scene over HTTP, all at once; 0: none")
    parser.add_argument("--scenes", type=_scenes, default=SCENES, help="of quiet,working,ends")
    parser.add_argument("--browser-seconds", type=float, default=30.0, help="of each scene in Chromium; 0: none")
    parser.add_argument("--browser-scenes", type=_scenes, default=("quiet", "working"))
    parser.add_argument("--browser-pages", type=_pages, default=PAGES, help="of before,polling,pushing")
    parser.add_argument("--rounds", type=int, default=1, help="of the scenes in Chromium")
    parser.add_argument("--chromium", help="the program; otherwise the one on the path")
    parser.add_argument("--seed", type=int, default=20260115)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def _scenes(text: str) -> tuple[str, ...]:
    return _some(text, SCENES)


def _pages(text: str) -> tuple[str, ...]:
    return _some(text, PAGES)


def _some(text: str, all_: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(all_):
        raise argparse.ArgumentTypeError(f"there are {', '.join(all_)}")
    return names


def conclude(counted: list[Counted], looked: list[Looked]) -> list[Verdict]:
    """Print the tables, and the targets below them."""
    found: list[Verdict] = []
    if counted:
        print("\n".join(table(counted)))
        found += verdicts(counted, _PACE_S)
    if looked:
        print("\n".join(browser_table(looked)))
        found += browser_verdicts(looked)
    for verdict in found:
        print(verdict.line())
    return found


def main() -> int:
    """Run, print, and write JSON if asked to."""
    options = parse()
    began = time.monotonic()
    print(
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}; "
        f"{options.seconds:g} s over HTTP, {options.rounds} × {options.browser_seconds:g} s in Chromium",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="polling-saved-") as name:
        counted, looked = asyncio.run(measure(options, Path(name)))
    found = conclude(counted, looked)
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        result: dict[str, Any] = {
            "http": [asdict(row) for row in counted],
            "browser": [asdict(row) for row in looked],
            "verdicts": [asdict(verdict) for verdict in found],
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
