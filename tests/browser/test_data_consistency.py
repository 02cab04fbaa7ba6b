"""The plan by which the data that a page shows is validated, scenario by scenario, in a real Chromium."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import CDPSession

from sessioncast import Client, Session
from sessioncast_server.db.migrate import migrate
from support.modulepage import ModulePage, Tabs
from support.node import Node
from support.waiting import DEADLINE_S

WAYS = ["websocket", "sse", "poll"]
QUICK = {"pollFactor": 0.05, "backoffBaseS": 0.05, "backoffCapS": 0.2, "checkS": 0.5}
"""Polls, and full checks, come sooner than for users."""


@dataclass(frozen=True)
class Setting:
    """A tab that follows a session of a project of its own, and who changes it."""

    tab: ModulePage
    client: Client
    session: Session
    file: Path

    async def shows(self, **fields: Any) -> None:
        """Return once the tab shows the session with these."""
        await self.tab.until(f"{_session(self.session)} && {_like(self.session, fields)}")

    async def same(self) -> None:
        """Return once what the tab shows is what the database has, field by field."""
        truth = (await self.client.sessions.get(self.session.id)).model_dump(mode="json")
        await self.tab.until(f"{_session(self.session)} && {_like(self.session, {'version': truth['version']})}")
        shown = await self.tab.look(_session(self.session))
        assert Session.model_validate(shown) == Session.model_validate(truth)

    def write(self, statement: str, *values: object) -> None:
        """What somebody does who goes to the database directly."""
        with sqlite3.connect(self.file, timeout=DEADLINE_S) as database:
            assert database.execute(statement, values).rowcount == 1
        database.close()


def _session(session: Session) -> str:
    return f"live.sessions.get({json.dumps(session.id)})"


def _like(session: Session, fields: dict[str, Any]) -> str:
    return " && ".join(f"{_session(session)}.{name} === {json.dumps(value)}" for name, value in fields.items())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Node, Path]]:
    """A node, and the file that is its database."""
    folder = tmp_path_factory.mktemp("node")
    url = f"sqlite:///{folder}/x.db"
    migrate(url)
    async with Node(folder, env={"SESSIONCAST_DATABASE_URL": url}) as node:
        yield node, folder / "x.db"


@pytest_asyncio.fixture(loop_scope="session", params=WAYS)
async def setting(request: pytest.FixtureRequest, tabs: Tabs, place: tuple[Node, Path]) -> AsyncIterator[Setting]:
    """One for each transport."""
    node, file = place
    async with Client(node.url) as client:
        project = f"p-{uuid4().hex[:12]}"
        await client.projects.put(project)
        session = (await client.sessions.start((await client.tasks.create(project, "T")).id, "run", "m")).session
        tab = await tabs.open(node.url)
        await tab.begin(project, transport=request.param, limits=QUICK)
        yield Setting(tab, client, session, file)
        await tab.look("c.close()")


pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_normal_operation(setting: Setting) -> None:
    """Each change is seen, and what is seen is what there is."""
    for status in ("running", "waiting", "completed"):
        await setting.client.sessions.patch(setting.session.id, status=status)
        await setting.shows(status=status)
    await setting.same()


async def test_slow_network(setting: Setting) -> None:
    """With a second more on each way and a thin line it is seen late, and in the end all the same."""
    cdp: CDPSession = await setting.tab.page.context.new_cdp_session(setting.tab.page)
    await cdp.send("Network.enable")
    slow = {"offline": False, "latency": 1000, "downloadThroughput": 20_000, "uploadThroughput": 20_000}
    await cdp.send("Network.emulateNetworkConditions", slow)
    for number in range(5):
        await setting.client.sessions.patch(setting.session.id, metadata={"n": number, "text": "x" * 2000})
    await setting.client.sessions.patch(setting.session.id, status="running")
    await setting.shows(status="running")
    await setting.same()


async def test_concurrent_updates(setting: Setting) -> None:
    """Of two users at once no update is lost: the page ends where the database ends."""

    async def work(name: str) -> None:
        for number in range(10):
            await setting.client.sessions.patch(setting.session.id, metadata={name: number})

    await asyncio.gather(work("a"), work("b"))
    await setting.same()
    assert await setting.tab.look(f"{_session(setting.session)}.metadata") == {"a": 9, "b": 9}


async def test_background_updates(setting: Setting) -> None:
    """What a process in the background does is seen as what a user does: output, too."""
    async with Client(setting.client._backend.url) as worker:
        await worker.sessions.patch(setting.session.id, status="working")
        recorded = await worker.sessions.append(setting.session.id, [("log", f"line {n}\n") for n in range(20)])
        await worker.sessions.patch(setting.session.id, status="completed")
    await setting.shows(status="completed", output_seq=recorded.last)
    await setting.same()


async def test_changes_that_nobody_told_of(setting: Setting) -> None:
    """What is changed in the database directly is found by the full check, put right and reported."""
    await setting.shows(status="pending")
    setting.write("UPDATE session SET status = 'failed', version = version + 1 WHERE id = ?", setting.session.id)
    await setting.shows(status="failed")
    await setting.tab.until("told.mismatches.length > 0 && c.stats().reports > 0")


async def test_stale_data_is_detected(setting: Setting) -> None:
    """What was put into the page's state by hand is noticed, put right and reported, more than once."""
    await setting.shows(status="pending")
    for count in (1, 2):
        await setting.tab.look(f"void Object.assign({_session(setting.session)}, {{ status: 'forged' }})")
        await setting.shows(status="pending")
        await setting.tab.until(f"c.stats().mismatches >= {count}")
    await setting.same()
