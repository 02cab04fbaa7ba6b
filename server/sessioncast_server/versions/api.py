"""Project versions over HTTP."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.queries import ReadQuery
from sessioncast_server.exchange.reader import Reader, View
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import not_found
from sessioncast_server.projects.service import get_project
from sessioncast_server.providers.service import name_session
from sessioncast_server.sessions.service import Visible
from sessioncast_server.versions.service import latest_version, version_resource
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import resource_etag
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.providers import ProjectVersion


class CreateVersion(BaseModel):
    """A new version of what a project builds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_id: Annotated[str, StringConstraints(max_length=36)]


class VersionsApi:
    """The endpoints of versions."""

    def __init__(self, mutator: Mutator, reader: Reader) -> None:
        self._mutator = mutator
        self._reader = reader

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        path = "/v1/projects/{project_id}/versions"
        return [
            Endpoint(
                "POST",
                path,
                self.create,
                "Record a version that names a session",
                Scope.SESSIONS_WRITE,
                body=CreateVersion,
                answers={201: ProjectVersion},
                tag="versions",
            ),
            Endpoint(
                "GET",
                f"{path}/latest",
                self.latest,
                "Show the newest version",
                Scope.SESSIONS_READ,
                query=ReadQuery,
                answers={200: ProjectVersion, 304: None},
                tag="versions",
            ),
        ]

    async def create(self, call: Call) -> Response:
        """POST: 201."""
        session_id: str = call.body.session_id
        if not is_uuid(session_id):
            raise not_found()
        principal = call.principal
        return await self._mutator.run(
            call, _create, call.project(), session_id.lower(), principal.sub, principal.may_see
        )

    async def latest(self, call: Call) -> Response:
        """GET of the newest one."""
        return await self._reader.show(call, _latest, call.project())


def _create(tx: WriteTx, project_id: str, session_id: str, user: str, visible: Visible) -> Answer:
    get_project(tx, project_id)
    row = name_session(tx, project_id, session_id, user=user, visible=visible)
    body = json_bytes(version_resource(row))
    return Answer(201, body, {"ETag": resource_etag(row.number, body)})


def _latest(tx: ReadTx, project_id: str) -> View:
    get_project(tx, project_id)
    row = latest_version(tx, project_id)
    body = json_bytes(version_resource(row))
    return View(project_id, resource_etag(row.number, body), lambda: body)
