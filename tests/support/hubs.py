"""Hubs on a real SQLite database: several of them are several nodes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from sessioncast_server.broker.base import Announcement
from sessioncast_server.broker.memory import MemoryBroker, MemoryBus
from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.hub import Hub, HubLimits
from sessioncast_server.channels.log import Log, head_of
from sessioncast_server.channels.snapshot import SnapshotLimits, Snapshots
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_server.db.database import CommitListener
from sessioncast_server.db.migrate import migrate
from sessioncast_server.db.sqlite import SqliteDatabase
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.projects.service import put_project
from sessioncast_server.sessions.output import fill_output
from sessioncast_server.sessions.snapshots import snapshot_sessions
from sessioncast_server.tasks.service import create_task, patch_task, snapshot_tasks
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.position import Position
from support.sink import FRAMING, Pace, RecordingSink
from support.waiting import until

ALL = Audience(Filter())


class Tally:
    """Counts what a hub counts."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def delivered(self, count: int) -> None:
        """Events to sinks."""
        self.of["delivered"] += count

    def hushed(self, reason: str, count: int) -> None:
        """Whispers that were dropped."""
        self.of[f"hushed {reason}"] += count

    def replayed(self, count: int) -> None:
        """A resume."""
        self.of["replayed"] += 1

    def snapshot(self) -> None:
        """A snapshot query."""
        self.of["snapshot"] += 1

    def lost(self, how: str, reason: str) -> None:
        """A gap or resync."""
        self.of[f"{how} {reason}"] += 1

    def hole(self, count: int, *, healed: bool) -> None:
        """Missing announcements."""
        self.of["healed" if healed else "found"] += count

    def rotated(self) -> None:
        """A new epoch."""
        self.of["rotated"] += 1

    def lag(self, events: int) -> None:
        """Not counted."""


class FaultyBroker(MemoryBroker):
    """Hands each announcement that arrives to `fault`, which says what becomes of it."""

    def __init__(self, bus: MemoryBus) -> None:
        super().__init__(bus)
        self.fault: Callable[[Announcement], list[Announcement]] | None = None

    def deliver(self, announcement: Announcement) -> None:
        """What the fault leaves of it."""
        for each in [announcement] if self.fault is None else self.fault(announcement):
            super().deliver(each)


class Rig:
    """A database and its nodes; the first one hears the database's own commits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Log(fill_output)
        self.database = SqliteDatabase(path, self.log)
        self.bus = MemoryBus()
        self.hubs: list[Hub] = []
        self.brokers: list[FaultyBroker] = []
        self.tallies: list[Tally] = []

    async def node(self, limits: HubLimits | None = None, *, snapshots: SnapshotLimits | None = None) -> Hub:
        """One more node."""
        broker, tally = FaultyBroker(self.bus), Tally()
        sources = Snapshots(
            [(Kind.TASK, "task", snapshot_tasks), (Kind.SESSION, "session", snapshot_sessions)],
            snapshots or SnapshotLimits(),
        )
        hub = Hub(self.database, self.log, sources, broker, limits or HubLimits(head_check_s=0.1), tally)
        await hub.start()
        self.hubs.append(hub)
        self.brokers.append(broker)
        self.tallies.append(tally)
        return hub

    def committed(self, announcements: list[Announcement]) -> None:
        """The database committed."""
        if self.hubs:
            self.hubs[0].committed(announcements)

    async def project(self, name: str = "p") -> None:
        """A project."""
        await self.database.write(put_project, name)

    async def task(self, title: str = "T", project: str = "p", **metadata: Any) -> Any:
        """A task: one event."""
        return (await self.database.write(create_task, project, title, None, metadata)).value

    async def patch(self, task_id: str, title: str) -> None:
        """One event more."""
        changes = {"title": title}
        await self.database.write(patch_task, task_id, changes, lambda _: True, versions=None)

    async def head(self, project: str = "p") -> Position:
        """Where the log ends."""
        head = await self.database.read(head_of, project)
        return Position(head.epoch, head.offset)

    async def truth(self, project: str = "p") -> dict[str, Any]:
        """Titles of the tasks as the database has them."""

        def titles(tx: ReadTx) -> dict[str, Any]:
            found = [orjson.loads(each) for each in snapshot_tasks(tx, project, ALL, 100_000)]
            return {each["id"]: each["title"] for each in found}

        return await self.database.read(titles)

    async def join(
        self,
        hub: Hub,
        pace: Pace = "fast",
        *,
        wish: Wish | None = None,
        audience: Audience = ALL,
        project: str = "p",
    ) -> RecordingSink:
        """A subscriber's sink."""
        sink = RecordingSink(pace)
        sink.subscriber = await hub.join(project, audience, FRAMING, sink, wish or Wish())
        return sink

    async def follower(self, hub: Hub, pace: Pace = "fast", **more: Any) -> RecordingSink:
        """The same, once it follows."""
        sink = await self.join(hub, pace, **more)
        await until(lambda: subscriber_of(sink).state is State.FOLLOWING, f"following; {sink.ops}, {sink.ended}")
        return sink


def subscriber_of(sink: RecordingSink) -> Subscriber:
    """A sink's subscriber."""
    assert sink.subscriber is not None
    return sink.subscriber


@asynccontextmanager
async def rigged(folder: Path) -> AsyncIterator[Rig]:
    """A rig on a new database with a project `p`, and nothing of it left at the end."""
    path = folder / "hub.db"
    await asyncio.to_thread(migrate, f"sqlite:///{path}")
    rig = Rig(path)
    await rig.database.open(CommitListener(rig.committed, lambda: None, lambda *_: None))
    try:
        await rig.project()
        yield rig
    finally:
        for hub in rig.hubs:
            await hub.drain()
            await hub.close()
        await rig.database.close()
