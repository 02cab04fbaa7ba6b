"""What is too large for one snapshot is read in parts."""

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.live.reading import Reading
from sessioncast.sender import Sender
from sessioncast.streams.items import Snapshot
from sessioncast_shared.filters import MAX_IDS, Filter
from sessioncast_shared.resources import Page, Session, Task

_PAGE = 200
Name = tuple[str, str]
"""`task`, `session` or `thread`, and an id."""


class Large:
    """Reads the state that a filter covers, as snapshots of parts of it: each at its own position."""

    def __init__(self, sender: Sender, reading: Reading) -> None:
        self._sender = sender
        self._reading = reading

    async def parts(self) -> AsyncIterator[tuple[Filter, Snapshot]]:
        """The parts, and what each covers.

        Raises:
            ConnectionLost, ProblemError: one cannot be read.
        """
        wanted = self._reading.wanted
        if wanted.whole_project:
            async for tasks in self._tasks():
                async for part in self._parts([("task", task.id) for task in tasks]):
                    yield part
            return
        named = {"task": wanted.tasks, "session": wanted.sessions, "thread": wanted.threads}
        async for part in self._parts([(kind, id_) for kind, ids in named.items() for id_ in ids]):
            yield part

    async def _tasks(self) -> AsyncIterator[Sequence[Task]]:
        path = f"/v1/projects/{quote(self._reading.project, safe='')}/tasks"
        after: str | None = None
        while True:
            query = [("limit", str(_PAGE))] + ([] if after is None else [("after", after)])
            page = decoded(Page[Task], await self._sender.send("GET", path, query=query))
            yield page.data
            after = page.next
            if after is None:
                return

    async def _parts(self, names: Sequence[Name]) -> AsyncIterator[tuple[Filter, Snapshot]]:
        for start in range(0, len(names), MAX_IDS):
            async for part in self._part(names[start : start + MAX_IDS]):
                yield part

    async def _part(self, names: Sequence[Name]) -> AsyncIterator[tuple[Filter, Snapshot]]:
        covered = Filter.of(
            tasks=[id_ for kind, id_ in names if kind == "task"],
            sessions=[id_ for kind, id_ in names if kind == "session"],
            threads=[id_ for kind, id_ in names if kind == "thread"],
        )
        snapshot = await self._reading.of(covered).snapshot()
        if not snapshot.too_large:
            yield covered, snapshot
        elif len(names) > 1:
            half = len(names) // 2
            for some in (names[:half], names[half:]):
                async for part in self._part(some):
                    yield part
        elif covered.tasks:
            yield covered, await self._task(covered.tasks[0], snapshot.position)

    async def _task(self, task: str, position: str) -> Snapshot:
        """A task with more sessions than a snapshot holds: what its list has of them."""
        path = f"/v1/tasks/{task}"
        found: list[Task | Session] = [decoded(Task, await self._sender.send("GET", path))]
        after: str | None = None
        while True:
            query = [("limit", str(_PAGE))] + ([] if after is None else [("after", after)])
            page = decoded(Page[Session], await self._sender.send("GET", f"{path}/sessions", query=query))
            found += page.data
            after = page.next
            if after is None:
                return Snapshot(tuple(found), position)
