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
    SESSION_RESUMED = "session.resumed"
    SESSION_OUTPUT = "session.output"
    RESUME_DECIDED = "session.resume_decided"
    PROVIDER_STARTED = "provider_session.started"
    PROVIDER_UPDATED = "provider_session.updated"
    PROVIDER_ENDED = "provider_session.ended"
    RESUME_FAILED = "provider_session.resume_failed"
    THREAD_CREATED = "thread.created"
    THREAD_DELETED = "thread.deleted"
    THREAD_PRUNED = "thread.pruned"
    THREAD_QUARANTINED = "thread.quarantined"
    MESSAGE_CREATED = "message.created"
    MESSAGE_POPPED = "message.popped"
    VERSION_CREATED = "version.created"
    VERSION_UPDATED = "version.updated"
    MODEL_REGISTERED = "model.registered"
    MODEL_DELETED = "model.deleted"

    @property
    def kind(self) -> Kind:
        """The kind a filter knows this type by: the part before the dot, some apart."""
        return _KINDS.get(self) or Kind(self.partition(".")[0])


_KINDS = {
    EventType.SESSION_OUTPUT: Kind.OUTPUT,
    EventType.PROVIDER_STARTED: Kind.PROVIDER,
    EventType.PROVIDER_UPDATED: Kind.PROVIDER,
    EventType.PROVIDER_ENDED: Kind.PROVIDER,
    EventType.RESUME_FAILED: Kind.PROVIDER,
    EventType.MESSAGE_CREATED: Kind.THREAD,
    EventType.MESSAGE_POPPED: Kind.THREAD,
}


MESSAGE_DELTA = "message.delta"
"""A piece of an answer that is being given. Not an `EventType`: it is ephemeral, has no position and is in no log."""


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
