"""The seed's page in real Chromium, as it was and on the browser's module: processor time, and what is rendered."""

import argparse
import asyncio
import math
import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Browser, BrowserType, CDPSession, Page, async_playwright

from pages.happening import SceneName, Sightings, Watched, furnish, happen
from pages.proxy import CountingProxy
from pages.readers import PageName
from pages.verdict import Verdict, fewer, quantile_ms
from sessioncast import Client

_WEB = Path(__file__).parent / "web"
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_FIRST_MS = 60_000
_SETTLE_S = 1.0
"""After the first look: what a page does to begin with is not what it does all day."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One page in one scene.

    Attributes:
        calls, size: requests of the API, and bytes of both directions.
        side_bar, git: how often they were rendered.
        task_s: processor time of the page's main thread, as the browser's developer tools count it.
        browser_s: processor time of all of the browser's processes.
        delays_s: from each change to when it was shown; None: it was not.
    """

    scene: SceneName
    round: int
    page: PageName
    seconds: float
    calls: int
    size: int
    side_bar: int
    git: int
    task_s: float
    browser_s: float
    delays_s: list[float | None]


class _Tab:
    """A page in a browser of its own, so that its processes are its own."""

    def __init__(self, browser: Browser, page: Page, tab: CDPSession, whole: CDPSession) -> None:
        self._browser = browser
        self._page = page
        self._tab = tab
        self._whole = whole
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    @classmethod
    async def open(cls, stack: AsyncExitStack, kind: BrowserType, program: str) -> "_Tab":
        browser = await stack.enter_async_context(await kind.launch(executable_path=program, args=_FLAGS))
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        tab = await page.context.new_cdp_session(page)
        await tab.send("Performance.enable", {"timeDomain": "threadTicks"})
        return cls(browser, page, tab, await browser.new_browser_cdp_session())

    async def look(self, url: str) -> None:
        """Open, until it shows the session."""
        await self._page.goto(url)
        await self._page.wait_for_function("window.view.seen.length > 0", timeout=_FIRST_MS)

    async def used(self) -> dict[str, float]:
        """Seconds so far, and renders so far."""
        metrics = (await self._tab.send("Performance.getMetrics"))["metrics"]
        times = {metric["name"]: float(metric["value"]) for metric in metrics}
        processes = (await self._whole.send("SystemInfo.getProcessInfo"))["processInfo"]
        renders: dict[str, int] = await self._page.evaluate("window.view.renders")
        return {
            "task_s": times["TaskDuration"],
            "browser_s": sum(float(process["cpuTime"]) for process in processes),
            "side_bar": renders["SideBar"],
            "git": renders["GitSection"],
        }

    async def seen(self) -> Sightings:
        """What it showed, in Unix time."""
        seen: list[list[Any]] = await self._page.evaluate("window.view.seen")
        return Sightings([(at / 1000, int(version), int(output_seq)) for at, version, output_seq in seen])


async def browse(url: str, port: int, scene: SceneName, number: int, options: argparse.Namespace) -> list[Looked]:
    """All pages on one session at once, each in a browser of its own.

    Raises:
        FileNotFoundError: there is no Chromium.
        RuntimeError: a page had a fault.
    """
    program = options.chromium or os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("no Chromium: name it by --chromium, or leave it out by --browser-seconds 0")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(url))
        watched = await furnish(client, scene, f"looked-at-{scene}-{number}")
        playwright = await stack.enter_async_context(async_playwright())
        proxies: dict[PageName, CountingProxy] = {}
        tabs: dict[PageName, _Tab] = {}
        pages: tuple[PageName, ...] = options.browser_pages
        for page in pages:
            proxies[page] = await stack.enter_async_context(CountingProxy(port, files=_WEB))
            tabs[page] = await _Tab.open(stack, playwright.chromium, program)
        await asyncio.gather(*(tabs[page].look(_address(proxies[page].url, page, watched)) for page in pages))
        await asyncio.sleep(min(_SETTLE_S, options.browser_seconds))
        began = {page: await tabs[page].used() for page in pages}
        asked = {page: proxies[page].traffic.copy() for page in pages}
        changes = await happen(client, scene, watched.session, options.browser_seconds, options.seed + number)
        found = []
        for page in pages:
            used = await tabs[page].used()
            traffic, before = proxies[page].traffic, asked[page]
            found.append(
                Looked(
                    scene=scene,
                    round=number,
                    page=page,
                    seconds=options.browser_seconds,
                    calls=traffic.calls.total() - before.calls.total(),
                    size=traffic.size.total() - before.size.total(),
                    side_bar=int(used["side_bar"] - began[page]["side_bar"]),
                    git=int(used["git"] - began[page]["git"]),
                    task_s=used["task_s"] - began[page]["task_s"],
                    browser_s=used["browser_s"] - began[page]["browser_s"],
                    delays_s=(await tabs[page].seen()).delays(changes, wall=True),
                )
            )
        faults = [fault for tab in tabs.values() for fault in tab.faults]
        if faults:
            raise RuntimeError(f"pages had faults: {faults}")
        return found


def _address(url: str, page: PageName, watched: Watched) -> str:
    name = "before" if page == "before" else "after"
    query = {"project": watched.project, "task": watched.task, "session": watched.session}
    if page == "polling":
        query["transport"] = "poll"
    return f"{url}/pages/{name}.html?{urlencode(query)}"


def browser_table(rows: list[Looked]) -> Iterator[str]:
    """Every page of every scene and round."""
    yield (
        f"{'Chromium':<8} {'round':>5} {'page':<8} {'calls':>6} {'kB':>8} {'side bar':>9} {'git':>5} {'task ms':>8} "
        f"{'browser ms':>10} {'p50 ms':>8} {'p99 ms':>8}"
    )
    for row in rows:
        delays = [f"{quantile_ms(row.delays_s, share):,.0f}" if row.delays_s else "" for share in (0.5, 0.99)]
        yield (
            f"{row.scene:<8} {row.round:>5} {row.page:<8} {row.calls:>6,} {row.size / 1000:>8,.1f} {row.side_bar:>9,} "
            f"{row.git:>5,} {row.task_s * 1000:>8,.0f} {row.browser_s * 1000:>10,.0f} "
            f"{delays[0]:>8} {delays[1]:>8}"
        )


def browser_verdicts(rows: list[Looked]) -> Iterator[Verdict]:
    """The targets: medians of what each round saved."""
    for scene in dict.fromkeys(row.scene for row in rows):
        for page in dict.fromkeys(row.page for row in rows if row.page != "before"):
            for what, name, wanted in (
                ("processor time of the page's main thread", "task_s", 0.10),
                ("processor time of the whole browser", "browser_s", 0.10),
                ("renders of the side bar", "side_bar", 0.30),
            ):
                share = _saved(rows, scene, page, name)
                if not math.isnan(share):
                    told = f"{scene} session, {page}: {what}"
                    yield Verdict(told, f"≥ {wanted:.0%} fewer", f"{share:.1%} fewer", share >= wanted)


def _saved(rows: list[Looked], scene: SceneName, page: PageName, name: str) -> float:
    by = {(row.round, row.page): getattr(row, name) for row in rows if row.scene == scene}
    shares = [fewer(by[number, page], by[number, "before"]) for number in sorted({number for number, _ in by})]
    return float(statistics.median(shares))
