"""What provider sessions cost, over HTTP."""

from typing import Any

from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.exchange.reader import Reader, View
from sessioncast_server.problems import invalid
from sessioncast_server.projects.service import get_project
from sessioncast_server.providers import requests
from sessioncast_server.providers.views import metrics_view
from sessioncast_server.sessions.service import Visible, get_session
from sessioncast_server.tasks.service import get_task
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_shared.providers import UsageMetrics


class MetricsApi:
    """The endpoints of totals."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        of_project = "/v1/projects/{project_id}"

        def endpoint(path: str, handler: Any, of: str, query: Any = requests.MetricsQuery) -> Endpoint:
            answers = {200: UsageMetrics, 304: None}
            return Endpoint(
                "GET", path, handler, f"Add up what {of} used", Scope.SESSIONS_READ, query=query, answers=answers,
                tag="provider sessions",
            )  # fmt: skip

        return [
            endpoint("/v1/tasks/{task_id}/metrics", self.task, "a task"),
            endpoint("/v1/sessions/{session_id}/metrics", self.session, "a session"),
            endpoint(f"{of_project}/milestones/{{milestone}}/metrics", self.milestone, "a milestone"),
            endpoint(f"{of_project}/metrics", self.project, "a project", requests.ProjectMetricsQuery),
        ]

    async def task(self, call: Call) -> Response:
        """GET of a task's totals."""
        return await self._reader.show(call, _task, call.uuid("task_id"), call.query, call.principal.may_see)

    async def session(self, call: Call) -> Response:
        """GET of a session's totals."""
        return await self._reader.show(call, _session, call.uuid("session_id"), call.query, call.principal.may_see)

    async def milestone(self, call: Call) -> Response:
        """GET of a milestone's totals; of a label that nothing has, too: zeros."""
        label = call.text("milestone")
        if "\0" in label:
            raise invalid("milestone", "must not contain NUL")
        return await self._reader.show(call, _project, call.project(), call.query, label)

    async def project(self, call: Call) -> Response:
        """GET of a project's totals."""
        return await self._reader.show(call, _project, call.project(), call.query, call.query.milestone)


def _task(tx: ReadTx, task_id: str, query: requests.MetricsQuery, visible: Visible) -> View:
    task = get_task(tx, task_id, visible)
    return metrics_view(tx, task.project_id, "task", query, task_id=task_id)


def _session(tx: ReadTx, session_id: str, query: requests.MetricsQuery, visible: Visible) -> View:
    record = get_session(tx, session_id, visible)
    return metrics_view(tx, record.project_id, "session", query, session_id=session_id)


def _project(tx: ReadTx, project_id: str, query: requests.MetricsQuery, milestone: str | None) -> View:
    get_project(tx, project_id)
    if milestone is None:
        return metrics_view(tx, project_id, "project", query, project_id=project_id)
    return metrics_view(tx, project_id, "milestone", query, project_id=project_id, milestone=milestone)
