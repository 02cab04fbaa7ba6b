"""Projects over HTTP."""

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.queries import ReadQuery
from sessioncast_server.exchange.reader import Reader, View, resource_view
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import invalid
from sessioncast_server.projects.service import get_project, is_project_id, put_project
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_shared import resources


class PutProject(BaseModel):
    """A project has no properties of its own yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProjectsApi:
    """The endpoints of projects."""

    def __init__(self, mutator: Mutator, reader: Reader) -> None:
        self._mutator = mutator
        self._reader = reader

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        path = "/v1/projects/{project_id}"
        return [
            Endpoint(
                "PUT",
                path,
                self.put,
                "Make a project, unless it is there",
                Scope.SESSIONS_WRITE,
                body=PutProject,
                answers={200: resources.Project, 201: resources.Project},
                tag="projects",
            ),
            Endpoint(
                "GET",
                path,
                self.get,
                "Show a project",
                Scope.SESSIONS_READ,
                query=ReadQuery,
                answers={200: resources.Project, 304: None},
                tag="projects",
            ),
        ]

    async def put(self, call: Call) -> Response:
        """PUT: 201 when it was made, 200 when it was there."""
        project_id = call.project()
        if not is_project_id(project_id):
            raise invalid("project_id", "must be [a-z0-9][a-z0-9-]{0,62}")
        return await self._mutator.run(call, _put, project_id)

    async def get(self, call: Call) -> Response:
        """GET."""
        return await self._reader.show(call, _get, call.project())


def _put(tx: WriteTx, project_id: str) -> Answer:
    row, made = put_project(tx, project_id)
    head = head_of(tx, project_id)
    body = json_bytes(row._asdict())
    headers = {"X-Position": f"{head.epoch}:{head.offset}", "ETag": resource_view(project_id, 1, body).etag}
    return Answer(201 if made else 200, body, headers)


def _get(tx: ReadTx, project_id: str) -> View:
    return resource_view(project_id, 1, json_bytes(get_project(tx, project_id)._asdict()))
