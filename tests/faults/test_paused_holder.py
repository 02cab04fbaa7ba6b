"""Who was paused, a holder or a whole node, changes nothing that others were given meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from sessioncast_shared.texts import BUSY
from support.api import SECRET, Api, Work, problem
from support.bulk import Field, codes, wish
from support.holder import Holder
from support.node import Node, NodeFactory
from support.racing import Crowd, check_log
from support.waiting import until

pytestmark = pytest.mark.xdist_group("paused")

_PAUSE_S = 6.0
_PATIENCE_S = "8"  # long enough that others are served meanwhile, even on a machine that stalls
_WAITING: LiteralString = (
    "SELECT coalesce(max(pid), 0) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
)
_SERVED: LiteralString = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Client'"
_HAS_TURN: LiteralString = "SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'advisory' AND granted"
_TURN: LiteralString = (
    "(1836016741, hashtext(%s || '/m'))"  # what a start with the model `m` waits for, once it has its task
)


def _env(url: str) -> dict[str, str]:
    return {
        "SESSIONCAST_DATABASE_URL": url,
        "SESSIONCAST_JWT_SECRET": SECRET,
        "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",
        "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
    }


async def test_a_paused_holder_cannot_write_after_it_was_replaced(
    node_factory: NodeFactory, database_url: str, tmp_path: Path
) -> None:
    """Stopped for six seconds and replaced: all it tries is 409 `session_replaced`, and nothing of it appears."""
    node = await node_factory(env=_env(database_url))
    api = Api(node.url, database="")
    with api.http:
        work = api.work()
        old = work.session("m")
        token = api.token.removeprefix("Bearer ")
        holder = Holder(tmp_path, url=node.url, token=token, session=old)
        await asyncio.to_thread(holder.start)
        try:
            holder.freeze()
            wish = {
                "phase": "run",
                "model": {"name": "n"},
                "on_conflict": "replace",
                "confirm": {"session_id": old["id"]},
            }
            answer = api.ok(api.acting(sub="bob").post(work.path, wish), 201)
            await asyncio.sleep(_PAUSE_S)  # the pause is what is tested
            before = len(work.events())
            holder.thaw()
            await until(lambda: holder.told()[-1]["tried"] == "all", "the holder to have tried everything")
        finally:
            holder.kill()
        refused = [line for line in holder.told() if line["refused"] is not None]
        assert [line["tried"].rstrip(" 0123456789") for line in refused] == [
            "print", "print without fence", "patch", "patch without fence"
        ]  # fmt: skip
        for line in refused:
            document = line["refused"]
            assert (document["status"], document["code"]) == (409, "session_replaced")
            assert document["replaced_by"] == answer["session"]["id"]
            assert document["replaced_at"] == answer["replaced"]["deleted_at"]
            assert document["by"] == "bob"
        assert len(work.events()) == before
        last = api.ok(api.get(f"/v1/sessions/{old['id']}"), 200)
        assert last == answer["replaced"]
        assert api.ok(api.get(f"/v1/sessions/{answer['session']['id']}"), 200) == answer["session"]
        check_log(work)


class Stranger:
    """Keeps the turn of a model, which a start asks for when it has its task."""

    def __init__(self, url: str, project: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._project = project

    def keep(self) -> None:
        """Take it."""
        self._connection.execute(f"SELECT pg_advisory_lock{_TURN}", [self._project])

    def release(self) -> None:
        """Give it back."""
        self._connection.execute(f"SELECT pg_advisory_unlock{_TURN}", [self._project])

    def waiting(self) -> int:
        """Process of the connection that waits for the turn, 0 when there is none."""
        return self._number(_WAITING)

    def finds(self, query: LiteralString, pid: int) -> bool:
        """Whether a query about a connection finds something."""
        return self._number(query, pid) > 0

    def _number(self, query: LiteralString, *values: object) -> int:
        row = self._connection.execute(query, values).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


@pytest.fixture
async def pair(node_factory: NodeFactory, migrated_postgres_url: str) -> AsyncIterator[list[tuple[Node, Api]]]:
    """Two nodes on one PostgreSQL."""
    async with AsyncExitStack() as stack:
        env = _env(migrated_postgres_url) | {"SESSIONCAST_LOCK_TIMEOUT_S": _PATIENCE_S}
        nodes = [await node_factory(env=env) for _ in range(2)]
        apis = [Api(node.url, database="postgresql") for node in nodes]
        for api in apis:
            stack.callback(api.http.close)
        yield list(zip(nodes, apis, strict=True))


async def _stopped_with_the_task(
    node: Node, stranger: Stranger, begin: Callable[[], "asyncio.Task[list[Any]]"]
) -> "asyncio.Task[list[Any]]":
    """Stop a node in the middle of a start: it has the lock of the task, and its next step is its own."""
    start = begin()
    while True:
        await until(lambda: stranger.waiting() != 0 or start.done(), "the start to wait with its task locked")  # noqa: B023  read at once
        if start.done():  # on a busy machine its patience may end before it was caught
            start = begin()
            continue
        pid = stranger.waiting()
        node.freeze()
        stranger.release()
        await until(partial(stranger.finds, _SERVED, pid), "the server to wait for the node")
        if stranger.finds(_HAS_TURN, pid):
            return start
        stranger.keep()  # its slice of waiting had ended: once more
        node.thaw()


async def test_a_node_that_is_paused_with_a_lock_holds_up_its_task_only(
    pair: list[tuple[Node, Api]], migrated_postgres_url: str
) -> None:
    """Stopped with a task locked, a node makes others' starts of it BUSY; no other task waits, and it may finish."""
    (paused, its), (_, other) = pair
    work = its.work()
    beside = Field(other, 3, project=work.project)
    stranger = Stranger(migrated_postgres_url, work.project)
    try:
        stranger.keep()
        wished: dict[str, Any] = {"phase": "run", "model": {"name": "m"}}

        def begin() -> "asyncio.Task[list[Any]]":
            return asyncio.create_task(Crowd(its).all([("POST", work.path, wished)]))

        start = await _stopped_with_the_task(paused, stranger, begin)
        try:
            refused = asyncio.create_task(Crowd(other).all([("POST", work.path, wished | {"model": {"name": "n"}})]))
            items = (await asyncio.to_thread(beside.bulk, replace=[wish(task) for task in beside.tasks[:2]]))["replace"]
            assert codes(items) == ["created", "created"]
            assert not refused.done(), "who waits for the task was served before those who do not"
            mixed = [wish(work.task, "o"), wish(beside.tasks[2])]
            items = (await asyncio.to_thread(beside.bulk, replace=mixed))["replace"]
            assert codes(items) == ["session_being_modified", "created"]
            (answer,) = await refused
            assert problem(answer, 409, "session_being_modified")["detail"] == BUSY
            assert answer.headers["retry-after"] == "1"
        finally:
            paused.thaw()
        (late,) = await start
        assert late.status_code in (201, 409, 503), late.text
        live = other.ok(other.get(work.path), 200)["data"]
        assert [row["model"]["name"] for row in live] == (["m"] if late.status_code == 201 else [])
        _assert_order(work)
        after = other.ok(other.post(work.path, wished), 200 if live else 201)
        assert after["session"]["model"] == {"name": "m"}
    finally:
        stranger.close()


def _assert_order(work: Work) -> None:
    """Offsets without a hole, and one session for each task."""
    events = work.events()
    assert [int(event["position"].partition(":")[2]) for event in events] == list(range(1, len(events) + 1))
    tasks = [event["task_id"] for event in events if event["type"] == "session.created"]
    assert len(set(tasks)) == len(tasks)
