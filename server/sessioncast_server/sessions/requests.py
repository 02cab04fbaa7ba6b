"""What clients may send about sessions."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints, model_validator

from sessioncast_server.exchange.queries import ListQuery, ReadQuery
from sessioncast_server.sessions.rules import OnConflict
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.phases import PhaseTitle
from sessioncast_shared.resources import Agent, Model, Name
from sessioncast_shared.statuses import Status

MAX_CHUNKS = 1000

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Confirm(BaseModel):
    """Names the session that may be replaced."""

    model_config = _STRICT

    session_id: Annotated[str, StringConstraints(max_length=36)]


class StartSession(BaseModel):
    """A session to start."""

    model_config = _STRICT

    phase: PhaseTitle
    model: Model
    agent: Agent | None = None
    debug: StrictBool = False
    metadata: dict[str, Any] = Field(default_factory=dict)
    on_conflict: OnConflict = "ask"
    confirm: Confirm | None = None
    treat_minor_as_change: StrictBool = False

    @model_validator(mode="after")
    def _single_agent_debug(self) -> "StartSession":
        if self.debug and isinstance(self.agent, list) and len(self.agent) > 1:
            raise ValueError("a debug session has one agent")
        return self


class BulkReplace(BaseModel):
    """A session to replace, as a start with `on_conflict: replace`."""

    model_config = _STRICT

    task_id: Annotated[str, StringConstraints(max_length=36)]
    phase: PhaseTitle
    model: Model
    confirm: Confirm


class BulkDelete(BaseModel):
    """A session to delete, if it is at this version, where one is named."""

    model_config = _STRICT

    session_id: Annotated[str, StringConstraints(max_length=36)]
    version: Annotated[StrictInt, Field(ge=1, lt=2**62)] | None = None


class Bulk(BaseModel):
    """Replacements, then deletions; a limit holds for both together."""

    model_config = _STRICT

    replace: list[BulkReplace] = Field(default_factory=list)
    delete: list[BulkDelete] = Field(default_factory=list)


class PatchSession(BaseModel):
    """What is to change; `metadata` is merged (RFC 7396)."""

    model_config = _STRICT

    status: Status = Status.PENDING
    agent: Agent | None = None
    metadata: dict[str, Any] | None = None


class OutputChunk(BaseModel):
    """A piece of output."""

    model_config = _STRICT

    stream: Name = "log"
    text: str


class AppendOutput(BaseModel):
    """Output to append, in order."""

    model_config = _STRICT

    chunks: Annotated[list[OutputChunk], Field(min_length=1, max_length=MAX_CHUNKS)]


class SessionsQuery(ListQuery):
    """Parameters of the list of a task's sessions."""

    phase: PhaseTitle | None = None
    debug: bool | None = None
    include_deleted: bool = False


class OutputQuery(ReadQuery):
    """Parameters of reading output."""

    after: Annotated[int, Field(ge=0, lt=2**62, description="`seq` of the last chunk that is known")] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def canonical_id(text: str) -> str:
    """An id as it is stored; empty for what is no UUID, for nothing has such an id.

    No database is asked for it: PostgreSQL refuses the whole statement for a NUL in one of a thousand ids.
    """
    return text.lower() if is_uuid(text) else ""
