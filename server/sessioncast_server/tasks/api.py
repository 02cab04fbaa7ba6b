"""Tasks over HTTP."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.queries import ListQuery, ReadQuery
from sessioncast_server.exchange.reader import Reader, View, list_view, resource_view
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.projects.service import get_project
from sessioncast_server.tasks import service
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import if_match_version, resource_etag
from sessioncast_server.web.page import page_key, page_of
from sessioncast_shared import resources
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.resources import Name

_TASKS = Audience(Filter(kinds=(Kind.TASK.value,)))

LiveSessions = Callable[[ReadTx, str], dict[str, Any]]
"""A task's live sessions by phase, as resources."""


class CreateTask(BaseModel):
    """A new task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Name
    milestone: Name | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class PatchTask(BaseModel):
    """What is to change; `metadata` is merged (RFC 7396)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Name = ""
    milestone: Name | None = None
    metadata: dict[str, Any] | None = None


class TasksQuery(ListQuery):
    """Parameters of the list of tasks."""

    title: str | None = Field(None, description="only tasks with exactly this title")


class TasksApi:
    """The endpoints of tasks.

    Args:
        live_sessions: shows a task's live sessions, which are another feature's.
    """

    def __init__(self, mutator: Mutator, reader: Reader, *, live_sessions: LiveSessions) -> None:
        self._mutator = mutator
        self._reader = reader
        self._live_sessions = live_sessions

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        of_project, one = "/v1/projects/{project_id}/tasks", "/v1/tasks/{task_id}"
        if_match = {"If-Match": "versions that the change may meet"}
        read, write = Scope.SESSIONS_READ, Scope.SESSIONS_WRITE
        return [
            Endpoint(
                "POST",
                of_project,
                self.create,
                "Make a task",
                write,
                body=CreateTask,
                answers={201: resources.Task},
                tag="tasks",
            ),
            Endpoint(
                "GET",
                of_project,
                self.list,
                "List tasks, newest first",
                read,
                query=TasksQuery,
                answers={200: resources.Page[resources.Task], 304: None},
                tag="tasks",
            ),
            Endpoint(
                "GET",
                one,
                self.get,
                "Show a task with its live sessions by phase",
                read,
                query=ReadQuery,
                answers={200: resources.TaskDetail, 304: None},
                tag="tasks",
            ),
            Endpoint(
                "PATCH",
                one,
                self.patch,
                "Change a task",
                write,
                body=PatchTask,
                answers={200: resources.Task},
                tag="tasks",
                headers=if_match,
            ),
        ]

    async def create(self, call: Call) -> Response:
        """POST."""
        return await self._mutator.run(call, _create, call.project(), call.body)

    async def list(self, call: Call) -> Response:
        """GET of the list."""
        return await self._reader.show(call, _list, call.project(), call.query, page_key(call.query.after))

    async def get(self, call: Call) -> Response:
        """GET of one."""
        return await self._reader.show(call, _get, call.uuid("task_id"), call.principal.may_see, self._live_sessions)

    async def patch(self, call: Call) -> Response:
        """PATCH."""
        return await self._mutator.run(
            call,
            _patch,
            call.uuid("task_id"),
            call.body.model_dump(exclude_unset=True),
            call.principal.may_see,
            if_match_version(call.request.headers.get("if-match")),
        )


def _create(tx: WriteTx, project_id: str, body: CreateTask) -> Answer:
    get_project(tx, project_id)
    row = service.create_task(tx, project_id, body.title, body.milestone, body.metadata)
    return _answer(201, row)


def _patch(
    tx: WriteTx,
    task_id: str,
    changes: dict[str, Any],
    visible: service.Visible,
    versions: frozenset[int] | None,
) -> Answer:
    return _answer(200, service.patch_task(tx, task_id, changes, visible, versions=versions))


def _answer(status: int, row: Any) -> Answer:
    body = json_bytes(service.task_resource(row))
    return Answer(status, body, {"ETag": resource_etag(row.version, body)})


def _get(tx: ReadTx, task_id: str, visible: service.Visible, live_sessions: LiveSessions) -> View:
    row = service.get_task(tx, task_id, visible)
    resource = service.task_resource(row) | {"sessions": live_sessions(tx, task_id)}
    return resource_view(row.project_id, row.version, json_bytes(resource))


def _list(tx: ReadTx, project_id: str, query: TasksQuery, before: tuple[datetime, str] | None) -> View:
    get_project(tx, project_id)

    def body() -> bytes:
        rows = service.list_tasks(tx, project_id, limit=query.limit + 1, before=before, title=query.title)
        return page_of(rows, query.limit, service.task_resource)

    return list_view(tx, project_id, _TASKS, body)
