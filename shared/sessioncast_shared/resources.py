"""The resources that requests, answers, snapshots and events carry."""

from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from sessioncast_shared.phases import Phase
from sessioncast_shared.statuses import Status

T = TypeVar("T")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_without_nul)]
"""A short text without NUL (which PostgreSQL cannot hold)."""

ProjectId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Resource(BaseModel):
    """Base of what the server shows; unknown fields of newer servers are kept out of older clients' way."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @cached_property
    def position(self) -> str | None:
        """Position of the log that the answer was read or written at, None where none was told.

        It is about the answer, not part of the resource: equality, fields and JSON know nothing of it.
        """
        return None


class Project(Resource):
    """The boundary of data, rights and ordering."""

    id: str
    created_at: AwareDatetime


class Task(Resource):
    """A piece of work in a project, optionally under a milestone."""

    id: str
    project_id: str
    title: str
    milestone: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Model(BaseModel):
    """The AI model a session runs with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    version: Name | None = None
    params: dict[str, Any] | None = None


class RegisteredModel(Resource):
    """A model that a project's sessions may run with; a project without any accepts every model."""

    project_id: str
    name: str
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    deleted_at: AwareDatetime | None = None


class Flag(Resource):
    """A switch of the server's behaviour.

    Attributes:
        state: `on`, `off` or `percentage`.
        percentage: share of projects it is on for, 0 to 100.
        settled: answer to a change of `single_session_enabled`: sessions that newer ones of their phase replaced.
    """

    name: str
    state: str
    percentage: float
    updated_at: AwareDatetime | None = None
    updated_by: str | None = None
    settled: int | None = None


Agent = Name | list[Name]
"""One agent, or the several of a multi-agent session."""


class Session(Resource):
    """The one live attempt at a phase of a task; live while `deleted_at` is null, whatever the status.

    Attributes:
        active: whether the status is not terminal.
        version: rises with status, agent, model and metadata; output never changes it.
        fence: rises with each take-over.
        output_seq: `seq` of the last output chunk, 0 when there is none.
    """

    id: str
    project_id: str
    task_id: str
    phase: Phase
    debug: bool
    model: dict[str, Any]
    agent: Agent | None = None
    user: str
    status: Status
    active: bool
    version: int
    fence: int
    metadata: dict[str, Any] = Field(default_factory=dict)
    output_seq: int
    last_activity_at: AwareDatetime
    head_provider_session_id: str | None = None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    deleted_at: AwareDatetime | None = None
    replaced_by: str | None = None


class OutputChunk(Resource):
    """A piece of what a session printed; `seq` counts from 1 without gaps."""

    seq: int
    stream: str
    text: str
    at: AwareDatetime


class TaskDetail(Task):
    """A task with its live sessions by phase (debug sessions under `<phase>.debug`)."""

    sessions: dict[str, Session] = Field(default_factory=dict)


class Page(BaseModel, Generic[T]):
    """One page of a list; `next` is the `after` of the following one, null at the end."""

    data: list[T]
    next: str | None = None


class StartOutcome(Resource):
    """Answer to the start of a session: `created`, `existing` or `replaced`."""

    outcome: str
    session: Session
    message: str | None = None
    replaced: Session | None = None


class BulkItem(Resource):
    """What came of an item of a bulk.

    Attributes:
        status: as if it had been asked for alone: 201 `created` or `replaced`, 200 `existing`, 204 deleted, or why not.
        problem: why it was refused, as the problem document it would have been answered with.
    """

    status: int
    outcome: str | None = None
    session: Session | None = None
    message: str | None = None
    replaced: Session | None = None
    problem: dict[str, Any] | None = None


class BulkOutcome(Resource):
    """Answer to a bulk: the items in the order they were asked for."""

    replace: list[BulkItem] = Field(default_factory=list)
    delete: list[BulkItem] = Field(default_factory=list)


class OutputRange(Resource):
    """The `seq` range that an append was given."""

    first: int
    last: int
