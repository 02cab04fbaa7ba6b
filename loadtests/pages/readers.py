"""Pages that show one session: as the seed's did, by polling in three places, and on one mirror of ours."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import httpx2

from pages.happening import Sightings, Watched
from sessioncast import Client
from sessioncast_shared.resources import Session

PAGE_S = 1.0
SIDE_BAR_S = 2.0
GIT = "git"
PARTS = ("page-itself", "side-bar", GIT)
"""User agents of the three places, by which the proxy tells them apart; shorter than the HTTP library's own."""

PageName = Literal["before", "polling", "pushing"]
PAGES: tuple[PageName, ...] = ("before", "polling", "pushing")
Reader = Callable[[str, Watched, Sightings], Coroutine[Any, Any, None]]


async def before(url: str, watched: Watched, seen: Sightings) -> None:
    """Poll until cancelled: the page the session each second, the side bar its task every two seconds.

    Each answer renders what it is for: the page with all that is in it, or the side bar. The git section asks for the
    session whenever it is rendered, as long as it does not wait for an answer already.
    """
    loop = asyncio.get_running_loop()
    asking: set[asyncio.Task[None]] = set()

    def note(session: Any) -> None:
        seen.note(loop.time(), session["version"], session["output_seq"])

    async def git(client: httpx2.AsyncClient) -> None:
        note((await _get(client, f"/v1/sessions/{watched.session}", GIT)).json())

    def render(client: httpx2.AsyncClient) -> None:
        if not asking:
            task = asyncio.ensure_future(git(client))
            asking.add(task)
            task.add_done_callback(asking.discard)

    async def page(client: httpx2.AsyncClient) -> None:
        note((await _get(client, f"/v1/sessions/{watched.session}", PARTS[0])).json())
        render(client)

    async def side_bar(client: httpx2.AsyncClient) -> None:
        phases = (await _get(client, f"/v1/tasks/{watched.task}", PARTS[1])).json()["sessions"]
        for session in _sessions(phases):
            note(session)
        render(client)

    async with httpx2.AsyncClient(base_url=url, timeout=30) as client, asyncio.TaskGroup() as group:
        group.create_task(_every(PAGE_S, lambda: page(client)))
        group.create_task(_every(SIDE_BAR_S, lambda: side_bar(client)))


async def _get(client: httpx2.AsyncClient, path: str, part: str) -> httpx2.Response:
    return (await client.get(path, headers={"User-Agent": part})).raise_for_status()


def _sessions(phases: Any) -> list[Any]:
    """The sessions in a task's answer, however they are grouped."""
    if isinstance(phases, list):
        return [found for part in phases for found in _sessions(part)]
    if isinstance(phases, dict):
        return [phases] if "output_seq" in phases else _sessions(list(phases.values()))
    return []


async def _every(seconds: float, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        await ask()
        due = max(due + seconds, loop.time())
        await asyncio.sleep(due - loop.time())


def ours(transport: Literal["auto", "poll"]) -> Reader:
    """A page on one mirror of the session, over this transport."""

    async def follow(url: str, watched: Watched, seen: Sightings) -> None:
        loop = asyncio.get_running_loop()
        async with Client(url) as client:
            mirror: AbstractAsyncContextManager[Any] = client.live(
                watched.project, session=watched.session, transport=transport
            )
            async with mirror as live:
                first: Session = live.sessions[watched.session]
                seen.note(loop.time(), first.version, first.output_seq)
                async for change in live:
                    if isinstance(change.after, Session):
                        seen.note(loop.time(), change.after.version, change.after.output_seq)

    return follow


READERS: dict[PageName, Reader] = {"before": before, "polling": ours("poll"), "pushing": ours("auto")}
