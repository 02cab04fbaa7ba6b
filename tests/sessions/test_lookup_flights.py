"""Lookups that meet changes half-way, crowds, new epochs and a store that is away: a node in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from sessioncast_server.app import Application
from sessioncast_server.channels import life
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.sessions import lookup
from sessioncast_server.settings import load
from support.gate import Gate
from support.waiting import DEADLINE_S, STALL_S, until

JSON = {"Content-Type": "application/json"}


class Inside:
    """A node, asked without a network.

    Attributes:
        loads: how many lookups have read the store.
        hold: called in the transaction of each load, after its first read and before its last.
    """

    def __init__(self, application: Application, http: httpx2.AsyncClient) -> None:
        self.application = application
        self.http = http
        self.loads = 0
        self.hold: Callable[[Any], None] = lambda _: None
        self.task = self.session = ""

    async def change(self, method: str, path: str, document: Any) -> Any:
        """What a change is answered."""
        answer = await self.http.request(method, path, json=document, headers=JSON)
        assert answer.is_success, answer.text
        return answer.json()

    async def start(self) -> None:
        """A project with a task and a session."""
        await self.change("PUT", "/v1/projects/p", {})
        self.task = (await self.change("POST", "/v1/projects/p/tasks", {"title": "T"}))["id"]
        wish = {"phase": "run", "model": {"name": "m"}}
        self.session = (await self.change("POST", self.path, wish))["session"]["id"]

    async def move(self, status: str) -> None:
        """Change the session."""
        await self.change("PATCH", f"/v1/sessions/{self.session}", {"status": status})

    async def ask(self, **params: Any) -> httpx2.Response:
        """A lookup's answer."""
        return await self.http.get(self.path, params=params)

    async def status(self) -> str:
        """The session's status in a lookup."""
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        status: str = answer.json()["data"][0]["status"]
        return status

    async def warm(self) -> None:
        """Return once a lookup is answered from memory."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.value("lookup_cache_total", outcome="hit"):
                await self.ask()

    def value(self, name: str, **labels: str) -> float:
        """A figure."""
        return self.application.metrics.registry.get_sample_value(f"sessioncast_{name}", labels) or 0

    @property
    def path(self) -> str:
        """Where the task's sessions are."""
        return f"/v1/tasks/{self.task}/sessions"


@asynccontextmanager
async def inside(url: str, **settings: str) -> AsyncIterator[Inside]:
    """A node on a database, with a session in it."""
    environment = {f"SESSIONCAST_{name.upper()}": value for name, value in settings.items()}
    application = Application(load({"SESSIONCAST_DATABASE_URL": url, **environment}))
    await application.start()
    try:
        transport = httpx2.ASGITransport(app=application.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
            node = Inside(application, http)
            await node.start()
            yield node
    finally:
        await application.stop()


@pytest.fixture
async def node(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inside]:
    """A node on each database, whose loads are counted and can be held."""
    async with inside(database_url, head_check_s="0.05") as node:
        show = lookup.show_sessions

        def held(tx: Any, *args: Any) -> Any:
            node.loads += 1
            view = show(tx, *args)
            node.hold(tx)
            return view

        monkeypatch.setattr(lookup, "show_sessions", held)
        yield node


async def test_a_load_that_a_change_overtakes_is_not_given_to_who_asks_after_it(node: Inside) -> None:
    """It has read, the change is committed and answered, then it lands: who asks after the change sees it."""
    await node.warm()
    await node.move("running")
    gate = Gate()
    node.hold = gate
    before = asyncio.create_task(node.status())
    await until(gate.entered.is_set, "the load to have read")
    await node.move("waiting")
    after = asyncio.create_task(node.status())
    await asyncio.sleep(0)
    gate.open()
    assert await before == "running"
    assert await after == "waiting"
    assert await node.status() == "waiting"


async def test_a_crowd_costs_one_read(node: Inside) -> None:
    """A hundred who ask at once after a change are answered from one load."""
    await node.warm()
    await node.move("running")
    loads, joined = node.loads, node.value("lookup_cache_total", outcome="joined")
    gate = Gate()
    node.hold = gate
    asking = [asyncio.create_task(node.ask()) for _ in range(100)]
    await until(gate.entered.is_set, "the load to have begun")
    gate.open()
    answers = [await each for each in asking]
    assert {answer.json()["data"][0]["status"] for answer in answers} == {"running"}
    assert node.loads == loads + 1
    assert node.value("lookup_cache_total", outcome="joined") == joined + 99


async def test_a_crowd_in_a_project_that_nobody_looked_into_costs_two_reads(node: Inside) -> None:
    """Nothing vouches for the first load yet; the second was begun after all had asked."""
    gate = Gate()
    node.hold = gate
    asking = [asyncio.create_task(node.ask()) for _ in range(100)]
    await until(gate.entered.is_set, "the load to have begun")
    gate.open()
    assert {(await each).status_code for each in asking} == {200}
    assert node.loads <= 2


async def test_what_a_lookup_took_is_told(node: Inside) -> None:
    """An answer from memory took no statement, one that was read took those of its read."""
    labels = {"method": "GET", "route": "/v1/tasks/{task_id}/sessions"}
    await node.warm()
    await node.move("running")
    before = node.value("request_statements_sum", **labels), node.value("request_statements_count", **labels)
    await node.status()
    read = node.value("request_statements_sum", **labels) - before[0]
    assert read > 0
    await node.status()
    assert node.value("request_statements_sum", **labels) - before[0] == read
    assert node.value("request_statements_count", **labels) - before[1] == 2


async def test_a_new_epoch_ends_what_was_kept(node: Inside) -> None:
    """Once the rotation is seen, answers carry positions of the new epoch and their tags; nothing old is left."""
    await node.warm()
    old = (await node.ask()).headers["x-position"].partition(":")[0]
    await node.application.database.write(life.rotate, "p", old)
    answer = await node.ask()
    tag = answer.headers["etag"]
    async with asyncio.timeout(DEADLINE_S):
        while answer.headers["x-position"].startswith(old):
            answer = await node.ask()
    assert answer.headers["etag"] != tag
    await node.move("running")
    assert await node.status() == "running"
    hits = node.value("lookup_cache_total", outcome="hit")
    for _ in range(20):
        assert not (await node.ask()).headers["x-position"].startswith(old)
    assert node.value("lookup_cache_total", outcome="hit") > hits


async def test_a_store_that_is_away_is_told_once_nothing_is_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away what is kept is given; once its life is over the answer is 503, until the store is back."""
    async with inside(database_url, lookup_ttl_s=str(STALL_S)) as node:
        await node.warm()
        assert await node.status() == "pending"
        read = node.application.database.read

        async def away(*_: Any, **__: Any) -> Any:
            raise UnavailableError("io")

        monkeypatch.setattr(node.application.database, "read", away)
        statuses = [(await node.ask()).status_code]
        async with asyncio.timeout(DEADLINE_S):
            while statuses[-1] == 200:
                await asyncio.sleep(0.1)  # its life is seconds long, and asking costs something
                statuses.append((await node.ask()).status_code)
        assert set(statuses) == {200, 503}
        answer = await node.ask()
        document = answer.json()
        assert (document["code"], document["retryable"], answer.headers["retry-after"]) == ("unavailable", True, "1")
        monkeypatch.setattr(node.application.database, "read", read)
        assert await node.status() == "pending"


async def test_nothing_is_followed_that_nobody_asks_for(database_url: str) -> None:
    """After the lives of its answers a project is let go, with its channel and what was kept of it."""
    async with inside(database_url, lookup_ttl_s="0.05", channel_linger_s="0.5") as node:
        await node.ask()
        await until(lambda: node.application.hub.open_channels == 1, "the project to be followed")
        await until(lambda: node.application.hub.open_channels == 0, "the project to be let go")
        await until(lambda: node.value("lookup_cache_entries") == 0, "the answers to be let go")
        assert await node.status() == "pending"


async def test_a_node_that_stops_leaves_no_task(database_url: str) -> None:
    """Loads, watches and loads ahead end with it."""
    before = asyncio.all_tasks()
    async with inside(database_url) as node:
        await node.warm()
        asking = [asyncio.create_task(node.ask()) for _ in range(10)]
        await asyncio.gather(*asking)
    assert {task for task in asyncio.all_tasks() if not task.done()} == before
