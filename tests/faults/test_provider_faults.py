"""Programs, nodes and databases that die or stand still in the middle of updates: the chain stays right."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.api import SECRET, Api, Work
from support.cluster import make_schema
from support.node import Node, NodeFactory
from support.postgres import Postgres
from support.providermodel import totals
from support.updater import Updater
from support.waiting import RENEWED_S, until

pytestmark = pytest.mark.xdist_group("providers")

_KILLS = 2
_UPDATES = 6
_LEASE_S = RENEWED_S
_LIVELY = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_LEASE_LOOK_S": "0.1",
    "SESSIONCAST_TURN_LOOK_S": "0.05",
    "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",
    "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
}


class Case:
    """A session, the programs that update it, and what must hold of it whatever became of them.

    Attributes:
        node: the server.
        id: of the session.
    """

    def __init__(self, node: Node, api: Api, folder: Path) -> None:
        self.node = node
        self.api = api
        self.work: Work = api.work()
        self.id: str = self.work.session()["id"]
        self._folder = folder
        self._everybody: list[Updater] = []

    def updater(self, name: str, **how: Any) -> Updater:
        """A program that is not started yet."""
        token = self.api.token.removeprefix("Bearer ")
        found = Updater(self._folder, name, url=self.node.url, token=token, session=self.id, **how)
        self._everybody.append(found)
        return found

    def kill(self) -> None:
        """Whoever still runs."""
        for updater in self._everybody:
            updater.kill()

    def _get(self, path: str, **params: Any) -> Any:
        return self.api.ok(self.api.get(path, params=params), 200)

    def rows(self) -> list[dict[str, Any]]:
        """The session's provider sessions, oldest first."""
        found: list[dict[str, Any]] = self._get(f"/v1/sessions/{self.id}/chain", limit=200)["data"]
        return found

    def row(self, id_: str) -> dict[str, Any]:
        """One of them."""
        return next(row for row in self.rows() if row["id"] == id_)

    def check(self) -> list[dict[str, Any]]:
        """The rows, once all that must hold of them does.

        None is open; they are those that programs began, once each; each resumed what the one before left; the head is
        the newest id that a provider gave out; what was confirmed is counted once; sums are the rows'; the trail and
        the events tell the same.
        """
        rows = self.rows()
        assert {row["state"] for row in rows} <= {"ended", "abandoned"}
        began = [line for updater in self._everybody for line in updater.told("began")]
        assert sorted(line["row"] for line in began) == sorted(row["id"] for row in rows)
        newest = None
        for row in rows:
            assert row["resumed_from"] == newest, "not the newest id was resumed"
            if row["provider_session_id"] != row["resumed_from"] and not _is_made(row):
                newest = row["provider_session_id"]
            confirmed = max(updater.used(row["id"]) for updater in self._everybody)
            assert (row["usage"]["tokens"] or 0) - confirmed in (0, 1), "more than the one that nobody was told of"
        assert len({row["fence"] for row in rows}) == len(rows), "two had the same turn"
        session = self._get(f"/v1/sessions/{self.id}")
        assert session["head_provider_session_id"] == newest
        assert session["fence"] == rows[-1]["fence"]
        wanted = totals(rows)
        for path in (f"sessions/{self.id}", f"tasks/{self.work.task}", f"projects/{self.work.project}"):
            shown = self._get(f"/v1/{path}/metrics")
            assert {name: shown[name] for name in wanted} == wanted
        self._is_told(rows)
        return rows

    def _is_told(self, rows: list[dict[str, Any]]) -> None:
        """Events amount to the rows, and the trail has each decision, attempt and end, in order."""
        mirror: dict[str, dict[str, Any]] = {}
        fences: list[int] = []
        for event in self.work.events():
            if event["type"].startswith("provider_session."):
                mirror[event["data"]["id"]] = event["data"]
            elif event["type"] == "session.resumed":
                fences.append(event["data"]["fence"])
        assert [{name: mirror[row["id"]][name] for name in row} for row in rows] == rows
        assert fences == list(range(2, rows[-1]["fence"] + 1)), "a fence was given out twice, or not told"
        lines = self._get(f"/v1/projects/{self.work.project}/audit", session=self.id, limit=200)["data"]
        for row in rows:
            theirs = [line["action"] for line in reversed(lines) if line["data"].get("provider_session") == row["id"]]
            story = ["resume_attempted"] if row["resumed_from"] is not None else []
            if story and row["provider_session_id"] != row["resumed_from"]:
                story.append("resume_succeeded")
            assert theirs == [*story, *(["abandoned"] if row["state"] == "abandoned" else [])]
        decided = [line["data"]["fence"] for line in reversed(lines) if line["action"] == "resume_decided"]
        assert decided == fences


def _is_made(row: dict[str, Any]) -> bool:
    """Whether the server made the id, which no provider has told of."""
    return not row["provider_session_id"].startswith("by-")


@asynccontextmanager
async def _case(node_factory: NodeFactory, url: str, folder: Path) -> AsyncIterator[Case]:
    node = await node_factory(env={**_LIVELY, "SESSIONCAST_DATABASE_URL": url})
    api = Api(node.url, database="")
    with api.http, _programs(Case(node, api, folder)) as case:
        yield case


@contextmanager
def _programs(case: Case) -> Iterator[Case]:
    try:
        yield case
    finally:
        case.kill()


@pytest.fixture
async def case(node_factory: NodeFactory, database_url: str, tmp_path: Path) -> AsyncIterator[Case]:
    """A session on each database."""
    async with _case(node_factory, database_url, tmp_path) as found:
        yield found


async def _is_over(*updaters: Updater) -> None:
    for updater in updaters:
        await until(lambda: bool(updater.told("done")), f"{updater.log} to be done", deadline_s=60)  # noqa: B023  awaited here
        assert not updater.told("lost"), updater.tail()


async def test_a_killed_program_is_abandoned_once_its_lease_is_out(case: Case) -> None:
    """Killed before or after it told its id: closed not before its lease is out; the next one resumes the newest id."""
    first = case.updater("by-first")
    first.start()
    await _is_over(first)
    for how in ("silent", "goes on"):
        dying = case.updater(f"by-{how}", how=how, lease_s=_LEASE_S)
        dying.start()
        await until(lambda: len(dying.told("told")) > 2, "it to have told something")  # noqa: B023  awaited here
        waiting = case.updater(f"by-heir-of-{how}")
        waiting.launch()
        row = dying.told("began")[0]["row"]
        assert not waiting.told("began"), "two had the turn"
        dying.kill()
        await _is_over(waiting)
        left = case.row(row)
        assert left["state"] == "abandoned"
        age = datetime.fromisoformat(left["ended_at"]) - datetime.fromisoformat(left["last_used_at"])
        assert age.total_seconds() >= _LEASE_S
    states = [row["state"] for row in case.check()]
    assert states == ["ended", "abandoned", "ended", "abandoned", "ended"]


async def test_a_killed_node_loses_and_doubles_nothing(case: Case) -> None:
    """Killed under two programs that update a session: both go on where they were, and each update is there once."""
    pair = [case.updater(f"by-{name}", count=_UPDATES) for name in ("a", "b")]
    for updater in pair:
        updater.launch()
    for kill in range(1, _KILLS + 1):
        await until(
            lambda: sum(len(updater.told("told")) for updater in pair) > 10 * kill,  # noqa: B023  awaited here
            "updates",
        )
        case.node.kill()
        await case.node.start()
    await _is_over(*pair)
    rows = case.check()
    assert [row["state"] for row in rows] == ["ended"] * 2 * _UPDATES


async def test_a_killed_database_loses_and_doubles_nothing(
    node_factory: NodeFactory, own_postgres: Postgres, tmp_path: Path
) -> None:
    """The same when all of PostgreSQL is killed, and recovers."""
    make_schema(own_postgres.url)
    async with _case(node_factory, own_postgres.url, tmp_path) as case:
        pair = [case.updater(f"by-{name}", count=_UPDATES) for name in ("a", "b")]
        for updater in pair:
            updater.launch()
        for kill in range(1, _KILLS + 1):
            await until(
                lambda: sum(len(updater.told("told")) for updater in pair) > 10 * kill,  # noqa: B023  awaited here
                "updates",
            )
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.start)
        await _is_over(*pair)
        rows = case.check()
        assert [row["state"] for row in rows] == ["ended"] * 2 * _UPDATES


async def test_a_program_that_stood_still_changes_nothing_any_more(case: Case) -> None:
    """Stopped beyond its lease and taken over: its ids are refused, with its fence and without; the head stays."""
    still = case.updater("by-still", how="goes on", lease_s=_LEASE_S)
    still.start()
    await until(lambda: len(still.told("told")) > 2, "it to have told something")
    still.freeze()
    heir = case.updater("by-heir")
    heir.start()
    await _is_over(heir)
    head = case.api.get(f"/v1/sessions/{case.id}").json()["head_provider_session_id"]
    assert head == "by-heir-1"
    still.thaw()
    await until(lambda: bool(still.told("done")), "it to give up")
    refused = still.told("refused", "lost")
    assert [line["code"] for line in refused] == ["fenced"] * 3
    assert refused[1]["id"] == "by-still-late"
    rows = case.check()
    assert [(row["state"], row["provider_session_id"]) for row in rows] == [
        ("abandoned", "by-still-1"),
        ("ended", "by-heir-1"),
    ]
