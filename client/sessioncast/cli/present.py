"""What there is now."""

from collections.abc import AsyncIterator

from sessioncast.client import Client
from sessioncast.streams.items import Snapshot
from sessioncast_shared.events import Kind
from sessioncast_shared.resources import Session, Task


async def all_tasks(client: Client, project: str) -> AsyncIterator[Task]:
    """A project's tasks, in the server's order."""
    after = None
    while True:
        page = await client.tasks.list(project, limit=200, after=after)
        for task in page.data:
            yield task
        after = page.next
        if after is None:
            return


async def live_sessions(client: Client, project: str) -> list[Session]:
    """All live sessions of a project, at one moment, by task and phase; task by task where they are too many for that.

    Raises:
        NotFound: there is no such project.
    """
    async with client.subscribe(project, kinds=(Kind.SESSION,), snapshot="always") as stream:
        async for item in stream:
            if isinstance(item, Snapshot):
                if item.too_large:
                    break
                return sorted(item.sessions, key=lambda one: (one.task_id, one.phase, one.debug))
    return [one async for task in all_tasks(client, project) for one in await client.sessions.list(task.id)]
