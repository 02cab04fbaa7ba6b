"""Tasks: pieces of work in a project."""

from typing import Any
from urllib.parse import quote

from sessioncast.decode import decoded
from sessioncast.sender import Sender
from sessioncast_shared.resources import Page, Task, TaskDetail


class Tasks:
    """`client.tasks`."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def create(
        self, project: str, title: str, *, milestone: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Task:
        """Create a task; titles need not be unique."""
        body: dict[str, Any] = {"title": title}
        if milestone is not None:
            body["milestone"] = milestone
        if metadata is not None:
            body["metadata"] = metadata
        return decoded(
            Task, await self._sender.send("POST", f"/v1/projects/{quote(project, safe='')}/tasks", body=body)
        )

    async def get(self, task: str) -> TaskDetail:
        """Read it with its live sessions by phase.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return decoded(TaskDetail, await self._sender.send("GET", f"/v1/tasks/{quote(task, safe='')}"))

    async def list(
        self, project: str, *, title: str | None = None, limit: int | None = None, after: str | None = None
    ) -> Page[Task]:
        """One page of a project's tasks.

        Args:
            title: only tasks with exactly this title.
            limit: 1 to 200.
            after: the `next` of the page before.
        """
        wishes = {"title": title, "limit": limit, "after": after}
        query = [(name, str(value)) for name, value in wishes.items() if value is not None]
        answer = await self._sender.send("GET", f"/v1/projects/{quote(project, safe='')}/tasks", query=query)
        return decoded(Page[Task], answer)

    async def find(self, project: str, title: str) -> Task | None:
        """A task with exactly this title, None when there is none; of several the first in the server's order."""
        page = await self.list(project, title=title, limit=1)
        return page.data[0] if page.data else None

    async def patch(self, task: str, **changes: Any) -> Task:
        """Change `title`, `milestone` or `metadata` (merged, RFC 7396); what is not named stays."""
        return decoded(Task, await self._sender.send("PATCH", f"/v1/tasks/{quote(task, safe='')}", body=changes))
