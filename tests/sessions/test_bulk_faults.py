"""Bulks that are cut off: what is said is what happened, and the same key does the rest, once."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Self

import httpx2
import pytest

from sessioncast_shared.position import Position
from support.api import SECRET, Api
from support.bulk import Field, codes, new_key, wish
from support.cluster import make_schema
from support.commitproxy import CommitProxy
from support.node import Node, NodeFactory
from support.postgres import Postgres
from support.waiting import until, wait_until

_TASKS = 200


def _env(url: str) -> Mapping[str, str]:
    """One task in a commit, so that there is a middle to be cut off in."""
    return {
        "SESSIONCAST_DATABASE_URL": url,
        "SESSIONCAST_JWT_SECRET": SECRET,
        "SESSIONCAST_BULK_CHUNK": "1",
        "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",
        "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
    }


Reach = Callable[[Node], Api]


@pytest.fixture
def reach() -> Iterator[Reach]:
    """Makes clients of nodes, and closes them after the test."""
    with ExitStack() as stack:

        def make(node: Node) -> Api:
            api = Api(node.url, database="")
            stack.enter_context(api.http)
            return api

        yield make


class Bulk:
    """Two hundred replacements or deletions, under way.

    Attributes:
        sent: the answer to come.
    """

    sent: asyncio.Task[httpx2.Response]

    def __init__(self, node: Node, reach: Reach, *, deletes: bool = False) -> None:
        self._node = node
        self._reach = reach
        self._watcher = reach(node)
        self.field = Field(reach(node), _TASKS)
        live = self.field.sessions("m")
        self.deletes = deletes
        self.body: dict[str, Any] = {
            "replace": [wish(task, "n", confirm=id_) for task, id_ in zip(self.field.tasks, live, strict=True)]
        }
        if deletes:
            self.body = {"delete": [{"session_id": id_} for id_ in live]}
        self.key = new_key()
        self._start = self._offset()

    @classmethod
    async def begun(cls, node: Node, reach: Reach, *, deletes: bool = False) -> Self:
        """Prepare, and send it; in threads, for the test may be the one who passes the bytes on."""
        bulk = await asyncio.to_thread(cls, node, reach, deletes=deletes)
        bulk.sent = asyncio.create_task(asyncio.to_thread(bulk.field.ask, **bulk.body, key=bulk.key))
        return bulk

    def _offset(self) -> int:
        path = f"/v1/projects/{self.field.project}"
        return Position.parse(self._watcher.get(path).headers["X-Position"]).offset

    def is_in_the_middle(self) -> bool:
        """Whether some of it is done."""
        return self._offset() > self._start + 20

    async def repeated(self) -> list[Any]:
        """The outcomes when it is asked for once more, with its key."""
        shown = await asyncio.to_thread(self.field.bulk, **self.body, key=self.key)
        return codes([*shown["replace"], *shown["delete"]])

    async def restarted(self) -> None:
        """The node once more: connections that broke are no longer its own."""
        await self._node.restart()
        self.field.api = self._reach(self._node)

    def made(self) -> int:
        """How many replacements or deletions the log tells of; each of another session, and all of them whole."""
        events = self.field.events()[_TASKS:]
        if not self.deletes:
            assert [event["type"] for event in events] == ["session.replaced", "session.created"] * (len(events) // 2)
            events = events[::2]
        assert len({event["session_id"] for event in events}) == len(events)
        return len(events)


# Each kind of item and each database once: what is kept of a bulk is kept for both kinds alike.
@pytest.mark.parametrize(
    ("database_url", "deletes"), [("sqlite", False), ("postgresql", True)], indirect=["database_url"]
)
async def test_a_bulk_of_a_killed_node_is_finished_by_its_repetition(
    node_factory: NodeFactory, database_url: str, reach: Reach, deletes: bool
) -> None:
    """Killed between its commits, and asked for again with its key, all of a bulk is done, and no part of it twice."""
    node = await node_factory(env=_env(database_url))
    bulk = await Bulk.begun(node, reach, deletes=deletes)
    await until(bulk.is_in_the_middle, "a few commits of the bulk")
    node.kill()
    with pytest.raises(httpx2.TransportError):
        await bulk.sent
    await bulk.restarted()
    assert 0 < bulk.made() < _TASKS
    first = await bulk.repeated()
    assert first == [204 if deletes else "replaced"] * _TASKS
    assert bulk.made() == _TASKS
    assert await bulk.repeated() == first
    assert bulk.made() == _TASKS
    assert bulk.field.live() == ({} if deletes else dict.fromkeys(bulk.field.tasks, "n"))


def _assert_told(told: list[Any], live: dict[str, str], tasks: list[str]) -> None:
    """First what was done, then perhaps one whose outcome is unknown, then what was not begun."""
    unsure = [index for index, code in enumerate(told) if code == "commit_unknown"]
    done = told.index("unavailable") - len(unsure)
    assert told == ["replaced"] * done + ["commit_unknown"] * len(unsure) + ["unavailable"] * (
        len(told) - done - len(unsure)
    )
    assert len(unsure) <= 1
    for index, (task, code) in enumerate(zip(tasks, told, strict=True)):
        if index not in unsure:
            assert live[task] == ("n" if code == "replaced" else "m")


async def test_a_bulk_says_what_it_knows_when_the_database_goes(
    node_factory: NodeFactory, own_postgres: Postgres, reach: Reach
) -> None:
    """What was committed is told as done, what was not begun as 503, and nothing else is claimed."""
    make_schema(own_postgres.url)
    node = await node_factory(env=_env(own_postgres.url))
    bulk = await Bulk.begun(node, reach)
    await until(bulk.is_in_the_middle, "a few commits of the bulk")
    own_postgres.kill()
    answer = await bulk.sent
    assert answer.status_code == 207
    told = codes(answer.json()["replace"])
    assert 0 < told.count("replaced") < _TASKS
    own_postgres.start()
    await bulk.restarted()
    _assert_told(told, bulk.field.live(), bulk.field.tasks)
    assert await bulk.repeated() == ["replaced"] * _TASKS
    assert bulk.made() == _TASKS


async def test_a_bulk_says_that_a_commit_is_unknown(
    node_factory: NodeFactory, migrated_postgres_url: str, reach: Reach
) -> None:
    """When the answer to a COMMIT is lost its item is `commit_unknown`, others are not tried; the key settles it."""
    async with CommitProxy(migrated_postgres_url) as proxy:
        node = await node_factory(env=_env(proxy.url))
        bulk = await Bulk.begun(node, reach)
        await asyncio.to_thread(wait_until, bulk.is_in_the_middle, "a few commits of the bulk")
        while not bulk.sent.done():
            proxy.armed = True  # reads commit as well, and may be hit in its place
            await asyncio.sleep(0)
        answer = await bulk.sent
        told = codes(answer.json()["replace"])
        assert told.count("commit_unknown") == 1
        proxy.armed = False
        await bulk.restarted()
        live = await asyncio.to_thread(bulk.field.live)
        _assert_told(told, live, bulk.field.tasks)
        assert live[bulk.field.tasks[told.index("commit_unknown")]] == "n"
        assert await bulk.repeated() == ["replaced"] * _TASKS
        assert await asyncio.to_thread(bulk.made) == _TASKS
