"""What a stream is asked to show, checked against what its reader may see."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sessioncast_server.auth.principal import Principal, Scope
from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.problems import Problem, not_found
from sessioncast_shared.codes import Code
from sessioncast_shared.filters import BadFilterError, Filter
from sessioncast_shared.position import BadPositionError, Position

_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

Holds = Callable[[ReadTx, str, Filter], bool]
"""Whether a project exists and holds every id that a filter names."""


class EventsQuery(BaseModel):
    """Parameters of the events URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: list[str] = Field(default=[], description="tasks; one covers its sessions")
    session: list[str] = Field(default=[], description="sessions")
    thread: list[str] = Field(default=[], description="threads")
    kinds: str | None = Field(None, description="comma list of kinds; narrows")
    position: str | None = Field(None, description="where to go on; the header Last-Event-ID wins")
    snapshot: Literal["auto", "always", "never"] = "auto"
    wait: float = Field(0, ge=0, allow_inf_nan=False, description="poll: seconds to wait for an event")


@dataclass(frozen=True, slots=True)
class Target:
    """A channel and an audience in it."""

    channel: str
    audience: Audience


def read_filter(
    *, tasks: Iterable[str] = (), sessions: Iterable[str] = (), threads: Iterable[str] = (),
    kinds: Iterable[str] | None = None,
) -> Filter:  # fmt: skip
    """The canonical filter.

    Raises:
        Problem: 400 `bad_filter`.
    """
    try:
        return Filter.of(tasks=tasks, sessions=sessions, threads=threads, kinds=kinds)
    except BadFilterError as error:
        raise Problem(400, Code.BAD_FILTER, f"The filter is not one: {error}.") from error


def read_wish(position: str | None, snapshot: str) -> Wish:
    """Where a stream is to begin.

    Raises:
        Problem: 400 `bad_cursor` for what is not of the form of a position.
    """
    if not position:
        return Wish(None, snapshot)
    try:
        return Wish(Position.parse(position), snapshot)
    except BadPositionError as error:
        raise Problem(400, Code.BAD_CURSOR, "This is not a position.") from error


class Targets:
    """Checks filters. What is foreign and what is missing is one and the same: 404."""

    def __init__(self, database: Database, holds: Holds) -> None:
        self._database = database
        self._holds = holds

    async def check(self, project: str, wishes: Filter, principal: Principal) -> Target:
        """The target of a filter in a project.

        Raises:
            Problem: 404; 403 without the scope `sessions:read`.
        """
        principal.require(Scope.SESSIONS_READ)
        if _PROJECT.fullmatch(project) is None:
            raise not_found()  # not even asked for: a text that cannot be a project may not be storable at all
        if not principal.may_see(project) or not await self._database.read(self._holds, project, wishes):
            raise not_found()
        threads = wishes.whole_project and principal.has(Scope.THREADS_READ_ALL)
        return Target(project, Audience(wishes, threads=threads))
