"""A mirror and a stream beside it, and what the server's database says of both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sessioncast import Client, Event, Limits, Live, Session, SessioncastError, StreamState
from sessioncast_shared.resources import Task
from support.waiting import DEADLINE_S, STALL_S, until

SOON = Limits(
    deadline_s=60.0,
    attempt_s=STALL_S,
    connect_s=STALL_S,
    backoff_base_s=0.02,
    backoff_cap_s=0.1,
    idle_s=2.0,
    first_frame_s=STALL_S,
)
"""Notices soon that nothing is heard, and waits long for the first word: a machine that stalls takes no way from a
client. A stream that is given up too soon only comes back."""


@dataclass
class Watched:
    """What a client saw.

    Attributes:
        client: it, on its way through whatever is between.
        live: its mirror.
        offsets: of the events that came on a subscription beside the mirror.
        states: of the mirror's connection.
        failures: what has ended that subscription.
    """

    client: Client
    live: Live
    offsets: list[int] = field(default_factory=list)
    states: list[StreamState] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def assert_in_order(self) -> None:
        """No event came twice, and none after a later one."""
        assert self.offsets == sorted(set(self.offsets))


@asynccontextmanager
async def watched(
    url: str, project: str, *, limits: Limits = SOON, transport: Any = "auto", **rest: Any
) -> AsyncIterator[Watched]:
    """A client with both; it is closed, and nothing of it may be left, at the end."""
    before = asyncio.all_tasks()
    states: list[StreamState] = []
    check_s = rest.pop("check_s", 60.0)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(url, limits=limits, **rest))
        live = client.live(project, transport=transport, on_state=states.append, check_s=check_s)
        async with asyncio.timeout(DEADLINE_S):
            await stack.enter_async_context(live)
        seen = Watched(client, live, states=states)
        beside = client.subscribe(project, transport=transport, position=live.position)

        async def listen() -> None:
            try:
                async for item in beside:
                    if isinstance(item, Event) and item.position:
                        seen.offsets.append(int(item.position.partition(":")[2]))
            except SessioncastError as error:
                seen.failures.append(error)

        listening = asyncio.create_task(listen())
        try:
            yield seen
            assert not seen.failures
        finally:
            await beside.aclose()
            await asyncio.gather(listening, return_exceptions=True)
    await until(lambda: not (mine(before)), f"the client's tasks to end: {mine(before)}")


def mine(before: set["asyncio.Task[Any]"]) -> list["asyncio.Task[Any]"]:
    """Tasks of the client's code that were not there before."""
    return [task for task in asyncio.all_tasks() - before if "sessioncast/" in str(task.get_coro())]


@dataclass
class Works:
    """Somebody who works in a project, and who can ask the server for all that is in it.

    Attributes:
        client: beside the one that is tested.
        changes: how much was done so far.
    """

    client: Client
    project: str
    changes: int = 0

    async def some(self) -> None:
        """Things that come, change, print and go."""
        self.changes += 1
        task = await self.client.tasks.create(self.project, f"T{self.changes}")
        kept = (await self.client.sessions.start(task.id, "run", "m")).session
        gone = (await self.client.sessions.start(task.id, "verify", "m")).session
        await self.client.sessions.append(kept.id, [("log", "a"), ("log", "b")])
        await self.client.sessions.patch(kept.id, status="running", metadata={"n": self.changes})
        await self.client.sessions.delete(gone.id)
        await self.client.tasks.patch(task.id, title=f"changed {self.changes}")

    async def truth(self) -> tuple[dict[str, Task], dict[str, Session]]:
        """Tasks and live sessions by id, as the database has them."""
        tasks: dict[str, Task] = {}
        sessions: dict[str, Session] = {}
        after: str | None = None
        while True:
            page = await self.client.tasks.list(self.project, limit=200, after=after)
            for task in page.data:
                tasks[task.id] = task
                sessions |= {session.id: session for session in await self.client.sessions.list(task.id)}
            after = page.next
            if after is None:
                return tasks, sessions

    async def same(self, live: Live) -> None:
        """Return when the mirror is what the database is, field by field."""
        tasks, sessions = await self.truth()
        await until(
            lambda: dict(live.tasks) == tasks and dict(live.sessions) == sessions,
            f"the mirror to be the database's: {_differ(live.tasks, tasks)} {_differ(live.sessions, sessions)}",
            deadline_s=2 * DEADLINE_S,
        )

    async def told(self, seen: Watched) -> None:
        """Return when the stream beside the mirror has come as far as the log."""
        await self.same(seen.live)
        position = (await self.client.tasks.create(self.project, "last")).position
        assert position is not None
        head = int(position.partition(":")[2])
        await until(
            lambda: bool(seen.failures) or (bool(seen.offsets) and seen.offsets[-1] >= head),
            f"the event {head}",
            deadline_s=2 * DEADLINE_S,
        )
        assert not seen.failures
        seen.assert_in_order()


def _differ(mine: Any, theirs: Any) -> list[str]:
    return [name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name)][:3]


async def state_is(live: Live, condition: Callable[[Live], bool], what: str) -> None:
    """Return when the mirror says so."""
    await until(lambda: condition(live), what, deadline_s=2 * DEADLINE_S)
