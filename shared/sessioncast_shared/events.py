"""Types and kinds of events, and the event as a resource."""

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from sessioncast_shared.phases import Phase


class Kind(StrEnum):
    """What a filter's `kinds` can ask for."""

    TASK = "task"
    SESSION = "session"
    OUTPUT = "output"
    PROVIDER = "provider"
    THREAD = "thread"
    VERSION = "version"
    MODEL = "model"


class EventType(StrEnum):
    """Every type of event the server writes."""

    TASK_CREATED = "task.created"
    TASK_UPDATED = "task.updated"
    SESSION_CREATED = "session.created"
    SESSION_UPDATED = "session.updated"
    SESSION_REPLACED = "session.replaced"
    SESSION_DELETED = "session.deleted"
    SESSION_OUTPUT = "session.output"
    MODEL_REGISTERED = "model.registered"
    MODEL_DELETED = "model.deleted"

    @property
    def kind(self) -> Kind:
        """The kind a filter knows this type by: the part before the dot, output apart."""
        return Kind.OUTPUT if self is EventType.SESSION_OUTPUT else Kind(self.partition(".")[0])


class Event(BaseModel):
    """One committed change. `data` is the whole resource, except for output: `{first, last, chunks}`."""

    model_config = ConfigDict(frozen=True)

    position: str
    type: str
    at: AwareDatetime
    project_id: str
    task_id: str | None = None
    session_id: str | None = None
    thread_id: str | None = None
    phase: Phase | None = None
    model: str | None = None
    updated_at: AwareDatetime | None = None
    version: int | None = None
    data: dict[str, Any]
