"""Models over HTTP."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.queries import ListQuery
from sessioncast_server.exchange.reader import Reader, View, list_view
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.models import service
from sessioncast_server.projects.service import get_project
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.cursor import decode, encode
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import resource_etag
from sessioncast_server.web.inputs import validated
from sessioncast_shared import resources
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.resources import Name

_MODELS = Audience(Filter(kinds=(Kind.MODEL.value,)))


class Mark(Protocol):
    """Tells the live sessions of a model whether it is there, in the same transaction."""

    def __call__(self, tx: WriteTx, project_id: str, model_name: str, /, *, available: bool) -> int:
        """How many sessions were told."""


class PutModel(BaseModel):
    """A registered model has no properties of its own yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Named(BaseModel):
    """What a model can be called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name


class ModelsApi:
    """The endpoints of models.

    Args:
        mark: tells sessions, which are another feature's.
    """

    def __init__(self, mutator: Mutator, reader: Reader, mark: Mark) -> None:
        self._mutator = mutator
        self._reader = reader
        self._mark = mark

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        of_project = "/v1/projects/{project_id}/models"
        one = f"{of_project}/{{name:path}}"
        return [
            Endpoint(
                "GET",
                of_project,
                self.list,
                "List registered models, by name",
                Scope.SESSIONS_READ,
                query=ListQuery,
                answers={200: resources.Page[resources.RegisteredModel], 304: None},
                tag="models",
            ),
            Endpoint(
                "PUT",
                one,
                self.put,
                "Register a model, unless it is there",
                Scope.SESSIONS_WRITE,
                body=PutModel,
                answers={200: resources.RegisteredModel, 201: resources.RegisteredModel},
                tag="models",
            ),
            Endpoint(
                "DELETE",
                one,
                self.delete,
                "Delete a model; its sessions stay, marked",
                Scope.SESSIONS_WRITE,
                answers={204: None},
                tag="models",
            ),
        ]

    async def list(self, call: Call) -> Response:
        """GET of the list."""
        after = call.query.after
        before = None if after is None else str(decode(after, str)[0])
        return await self._reader.show(call, _list, call.project(), call.query.limit, before)

    async def put(self, call: Call) -> Response:
        """PUT: 201 when it was registered now, 200 when it was there."""
        return await self._mutator.run(call, _put, call.project(), _name(call), self._mark)

    async def delete(self, call: Call) -> Response:
        """DELETE: 204, also again."""
        return await self._mutator.run(call, _delete, call.project(), _name(call), self._mark)


def _name(call: Call) -> str:
    named = validated(_Named, {"name": call.text("name")}, whole="name")
    assert isinstance(named, _Named)  # noqa: S101  narrows a type, guards nothing
    return named.name


def _put(tx: WriteTx, project_id: str, name: str, mark: Mark) -> Answer:
    get_project(tx, project_id)
    row, made = service.register_model(tx, project_id, name)
    body = json_bytes(service.model_resource(row))
    headers = {"ETag": resource_etag(row.version, body)}
    if not made:
        head = head_of(tx, project_id)
        return Answer(200, body, headers | {"X-Position": f"{head.epoch}:{head.offset}"})
    mark(tx, project_id, name, available=True)
    return Answer(201, body, headers)


def _delete(tx: WriteTx, project_id: str, name: str, mark: Mark) -> Answer:
    get_project(tx, project_id)
    if service.delete_model(tx, project_id, name):
        mark(tx, project_id, name, available=False)
    return Answer(204)


def _list(tx: ReadTx, project_id: str, limit: int, before: str | None) -> View:
    get_project(tx, project_id)

    def body() -> bytes:
        rows = service.list_models(tx, project_id, limit=limit + 1, before=before)
        following = encode([rows[limit - 1].name]) if len(rows) > limit else None
        return json_bytes({"data": [service.model_resource(row) for row in rows[:limit]], "next": following})

    return list_view(tx, project_id, _MODELS, body)
