"""The double that users test with tells a client the same as a real server, for all that it does."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest

from sessioncast import Client, Event, Item, Limits, NotFound, Opened, Session, Snapshot, Status, Subscription, Task
from sessioncast.testing import MemoryBackend
from support.node import NodeProcess
from support.ports import free_port
from support.waiting import DEADLINE_S

LIMITS = Limits(backoff_base_s=0.001, backoff_cap_s=0.01)


class Stage(ABC):
    """A project, things that happen to it, and a client that looks on."""

    client: Client

    def __init__(self) -> None:
        self.project = f"p-{uuid4().hex}"

    @abstractmethod
    async def task(self) -> Task:
        """A new task."""

    @abstractmethod
    async def session(self, task: Task) -> Session:
        """A new session of it."""

    @abstractmethod
    async def status(self, session: Session, status: Status) -> None:
        """It gets another status."""

    @abstractmethod
    async def output(self, session: Session, text: str) -> None:
        """It prints something."""

    @abstractmethod
    async def delete(self, session: Session) -> None:
        """It is deleted."""

    @abstractmethod
    async def cut(self) -> None:
        """All streams break."""


class Real(Stage):
    """On a node."""

    def __init__(self, node: NodeProcess, client: Client, other: Client) -> None:
        super().__init__()
        self.client = client
        self._node = node
        self._other = other

    async def task(self) -> Task:
        await self._other.projects.put(self.project)
        return await self._other.tasks.create(self.project, "T")

    async def session(self, task: Task) -> Session:
        return (await self._other.sessions.start(task.id, "run", "m")).session

    async def status(self, session: Session, status: Status) -> None:
        await self._other.sessions.patch(session.id, status=status)

    async def output(self, session: Session, text: str) -> None:
        await self._other.sessions.append(session.id, [("log", text)])

    async def delete(self, session: Session) -> None:
        await self._other.sessions.delete(session.id)

    async def cut(self) -> None:
        await asyncio.to_thread(self._node.kill)
        await asyncio.to_thread(self._node.start)


class Double(Stage):
    """In memory."""

    def __init__(self, backend: MemoryBackend, client: Client) -> None:
        super().__init__()
        self.client = client
        self._backend = backend
        self._seconds = count()

    async def task(self) -> Task:
        task = Task(
            id=str(uuid4()), project_id=self.project, title="T", version=1, created_at=self._now(),
            updated_at=self._now(),
        )  # fmt: skip
        self._backend.put(task)
        return task

    async def session(self, task: Task) -> Session:
        times = dict.fromkeys(("created_at", "updated_at", "last_activity_at"), self._now())
        session = Session.model_validate(
            {
                "id": str(uuid4()), "project_id": self.project, "task_id": task.id, "phase": "run", "debug": False,
                "model": {"name": "m"}, "user": "local", "status": "pending", "active": True, "version": 1, "fence": 1,
                "output_seq": 0, **times,
            }
        )  # fmt: skip
        self._backend.put(session)
        return session

    async def status(self, session: Session, status: Status) -> None:
        self._change(session, status=status, active=status.active)

    async def output(self, session: Session, text: str) -> None:
        seq = self._known(session).output_seq + 1
        chunk = {"seq": seq, "stream": "log", "text": text, "at": self._now().isoformat()}
        about = {"project": self.project, "task_id": session.task_id, "session_id": session.id}
        self._backend.emit("session.output", {"first": seq, "last": seq, "chunks": [chunk]}, **about)

    async def delete(self, session: Session) -> None:
        self._change(session, deleted_at=self._now())

    async def cut(self) -> None:
        self._backend.cut()

    def _change(self, session: Session, **changes: object) -> None:
        known = self._known(session)
        self._backend.put(known.model_copy(update={"version": known.version + 1, **changes}))

    def _known(self, session: Session) -> Session:
        return self._backend.channel(self.project).sessions[session.id]

    def _now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(self._seconds))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env={}, arguments=()) as started:
        yield started


@pytest.fixture(params=["memory", "node"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """The double, and a real server."""
    if request.param == "memory":
        backend = MemoryBackend(limits=LIMITS)
        async with Client(backend=backend, limits=LIMITS) as client:
            yield Double(backend, client)
    else:
        node: NodeProcess = request.getfixturevalue("node")
        async with Client(node.url, limits=LIMITS) as client, Client(node.url) as other:
            yield Real(node, client, other)


async def items(stream: Subscription, number: int) -> list[Item]:
    """The next items."""
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(stream) for _ in range(number)]


async def events(stream: Subscription, number: int) -> list[Event]:
    """The next events."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < number:
            if isinstance(item := await anext(stream), Event):
                found.append(item)
    return found


async def test_it_begins_with_the_present_state(stage: Stage) -> None:
    """`Opened`, then all that the project has, then what happens."""
    task = await stage.task()
    session = await stage.session(task)
    async with stage.client.subscribe(stage.project) as stream:
        opened, snapshot = await items(stream, 2)
        assert isinstance(opened, Opened)
        assert opened.state == "snapshot"
        assert isinstance(snapshot, Snapshot)
        assert ([one.id for one in snapshot.tasks], [one.id for one in snapshot.sessions]) == ([task.id], [session.id])
        assert snapshot.position == stream.position
        await stage.status(session, Status.RUNNING)
        (event,) = await events(stream, 1)
        assert (event.type, event.session_id, event.data["status"]) == ("session.updated", session.id, "running")


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_events_come_once_and_in_order_over_a_cut(stage: Stage, transport: str) -> None:
    """What happened meanwhile comes after it, and nothing tells of the cut but `resumed`."""
    session = await stage.session(await stage.task())
    async with stage.client.subscribe(stage.project, transport=transport) as stream:  # type: ignore[arg-type]  # one of these
        await items(stream, 2)
        assert stream.transport == transport
        await stage.output(session, "1")
        before = await events(stream, 1)
        await stage.cut()
        await stage.output(session, "2")
        await stage.output(session, "3")
        after = await events(stream, 2)
    texts = [chunk["text"] for event in before + after for chunk in event.data["chunks"]]
    assert texts == ["1", "2", "3"]


async def test_a_filter_narrows_it(stage: Stage) -> None:
    """Of a session nothing but its own comes, of kinds nothing but those."""
    task, other = await stage.task(), await stage.task()
    session, neighbour = await stage.session(task), await stage.session(other)
    async with stage.client.subscribe(stage.project, session=session.id, kinds=["session"]) as stream:
        _, snapshot = await items(stream, 2)
        assert isinstance(snapshot, Snapshot)
        assert [one.id for one in snapshot.sessions] == [session.id]
        assert snapshot.tasks == []
        await stage.status(neighbour, Status.RUNNING)
        await stage.output(session, "x")
        await stage.status(session, Status.IDLE)
        (event,) = await events(stream, 1)
        assert (event.session_id, event.data["status"]) == (session.id, "idle")


async def test_a_kept_position_goes_on(stage: Stage) -> None:
    """In another life, with what happened since."""
    session = await stage.session(await stage.task())
    async with stage.client.subscribe(stage.project) as stream:
        await items(stream, 2)
        kept = stream.position
    await stage.status(session, Status.RUNNING)
    async with stage.client.subscribe(stage.project, position=kept) as stream:
        opened, event = await items(stream, 2)
        assert isinstance(opened, Opened)
        assert (opened.state, opened.from_) == ("resumed", kept)
        assert isinstance(event, Event)


@pytest.mark.parametrize("snapshot", ["auto", "never"])
async def test_a_position_of_another_life_is_a_gap(stage: Stage, snapshot: str) -> None:
    """It is told, with the present state unless none is wanted."""
    session = await stage.session(await stage.task())
    wish = "auto" if snapshot == "auto" else "never"
    async with stage.client.subscribe(stage.project, position="another:7", snapshot=wish) as stream:  # type: ignore[arg-type]  # one of these
        (opened,) = await items(stream, 1)
        assert isinstance(opened, Opened)
        assert (opened.state, opened.from_) == ("gap", "another:7")
        if snapshot == "auto":
            assert isinstance((await items(stream, 1))[0], Snapshot)
        await stage.status(session, Status.RUNNING)
        assert [event.type for event in await events(stream, 1)] == ["session.updated"]


async def test_a_mirror_follows(stage: Stage) -> None:
    """Objects are those of now, changes tell what became of them, a full check finds nothing."""
    task = await stage.task()
    session = await stage.session(task)
    async with asyncio.timeout(DEADLINE_S), stage.client.live(stage.project) as live:
        assert (list(live.tasks), list(live.sessions)) == ([task.id], [session.id])
        assert {(change.kind, change.what) for change in [await anext(live), await anext(live)]} == {
            ("task", "added"),
            ("session", "added"),
        }
        await stage.status(session, Status.RUNNING)
        await stage.output(session, "x")
        running = await live.until(lambda one: one.output_seq == 1, session=session.id)
        assert running.status is Status.RUNNING
        change = await anext(live)
        assert (change.kind, change.id, change.what) == ("session", session.id, "changed")
        await stage.cut()
        await stage.delete(session)
        gone = await live.until(lambda one: one.deleted_at is not None, session=session.id)
        assert gone.id == session.id
        assert dict(live.sessions) == {}
        assert await live.refresh() == []
        assert stage.client.stats().mismatches == 0


async def test_reads_show_what_there_is(stage: Stage) -> None:
    """A session, also a deleted one; a task with its sessions; the list of them."""
    task = await stage.task()
    session = await stage.session(task)
    assert (await stage.client.sessions.get(session.id)).id == session.id
    assert (await stage.client.tasks.get(task.id)).sessions["run"].id == session.id
    found = await stage.client.sessions.find(task.id, "run")
    assert found is not None
    assert found.position is not None
    await stage.delete(session)
    assert await stage.client.sessions.list(task.id) == []
    assert (await stage.client.sessions.get(session.id)).deleted_at is not None
    with pytest.raises(NotFound):
        await stage.client.sessions.get(str(uuid4()))


async def test_cached_reads_follow_what_is_seen(stage: Stage) -> None:
    """Read once, asked for often; as new as what a subscription has told."""
    task = await stage.task()
    session = await stage.session(task)
    client = stage.client
    async with asyncio.timeout(DEADLINE_S), client.live(stage.project) as live:
        assert (await client.cached.session(session.id)).value.status is Status.PENDING
        assert [one.id for one in (await client.cached.sessions(task.id)).value] == [session.id]
        assert (await client.cached.task(task.id)).value.sessions["run"].id == session.id
        await stage.status(session, Status.RUNNING)
        await live.until(lambda one: one.status is Status.RUNNING)
        assert (await client.cached.session(session.id)).value.status is Status.RUNNING
        assert (await client.cached.task(task.id)).value.sessions["run"].status is Status.RUNNING
        assert client.stats().cache_misses == 3
        await stage.delete(session)
        await live.until(lambda one: one.deleted_at is not None, session=session.id)
        assert (await client.cached.sessions(task.id)).value == ()
