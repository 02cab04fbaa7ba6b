"""A session as it is stored, and as it is shown."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import orjson

from sessioncast_server.jsontext import json_bytes
from sessioncast_shared import texts
from sessioncast_shared.statuses import Status


@dataclass(frozen=True, slots=True)
class Record:
    """A row of the session table, column by column. `model`, `agent` and `metadata` are JSON texts."""

    id: str
    project_id: str
    task_id: str
    phase: str
    debug: bool
    slot: str | None
    model_name: str
    model: str
    agent: str
    user_id: str
    status: str
    version: int
    fence: int
    metadata: str
    output_seq: int
    last_activity_at: datetime
    head_provider_session_id: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    deleted_by: str | None = None
    replaced_by: str | None = None
    model_available: bool = True
    head_row_id: str | None = None
    _json: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def state(self) -> Status:
        """The status as what it is."""
        return Status(self.status)

    def columns(self) -> dict[str, Any]:
        """The record as parameters of an INSERT."""
        return {name: getattr(self, name) for name in FIELDS}

    def json(self) -> bytes:
        """The resource as JSON, made once: the event, the answer and the entity tag all want it."""
        if self._json is None:
            object.__setattr__(self, "_json", json_bytes(self.resource()))
        assert self._json is not None  # noqa: S101  narrows a type, guards nothing
        return self._json

    def resource(self) -> dict[str, Any]:
        """The record as the resource."""
        return {
            "id": self.id,
            "project_id": self.project_id,
            "task_id": self.task_id,
            "phase": self.phase,
            "debug": self.debug,
            "model": orjson.Fragment(self.model if self.model_available else gone_model(self.model)),
            "agent": orjson.Fragment(self.agent),
            "user": self.user_id,
            "status": self.status,
            "active": self.state.active,
            "version": self.version,
            "fence": self.fence,
            "metadata": orjson.Fragment(self.metadata),
            "output_seq": self.output_seq,
            "last_activity_at": self.last_activity_at,
            "head_provider_session_id": self.head_provider_session_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "ended_at": self.ended_at,
            "deleted_at": self.deleted_at,
            "replaced_by": self.replaced_by,
        }


def gone_model(model: str) -> bytes:
    """A model, JSON in and out, as it is shown once it was deleted from the registry."""
    return orjson.dumps(orjson.loads(model) | {"available": False, "label": texts.MODEL_MISSING})


FIELDS = tuple(column.name for column in fields(Record) if column.init)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session lives: a phase of a task, or the place of its debug session."""

    project_id: str
    task_id: str
    phase: str
    debug: bool = False

    @property
    def slot(self) -> str:
        """What one live session of the place holds."""
        return f"{self.task_id}/{self.phase}{'/debug' if self.debug else ''}"
