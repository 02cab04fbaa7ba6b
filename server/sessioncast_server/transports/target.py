"""What a stream is asked to show, checked against what its reader may see."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Concatenate, Literal, ParamSpec, Protocol

from pydantic import BaseModel, ConfigDict, Field

from sessioncast_server.auth.principal import Principal, Scope
from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.problems import Problem, not_found
from sessioncast_server.sessions.service import get_session
from sessioncast_server.tasks.service import get_task
from sessioncast_server.transports.sharing import SharedReads
from sessioncast_shared.codes import Code
from sessioncast_shared.filters import BadFilterError, Filter
from sessioncast_shared.position import BadPositionError, Position

P = ParamSpec("P")

_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FOUND_S = 1.0
_FOUND_MAX = 1000

_Key = tuple[str, Filter | str, str | None]
"""What is looked for: a filter in a project, for a user where it names threads; or the project of a task or session."""


class Holds(Protocol):
    """Whether a project exists and holds every id that a filter names."""

    def __call__(self, tx: ReadTx, project: str, wishes: Filter, owner: str | None, *, last: bool) -> bool:
        """The threads as this user's, or anybody's for None. `last`: if they are not there, nobody is asked again."""


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
    """Checks filters. What is foreign and what is missing is one and the same: 404.

    A storm of clients asks the same again and again. What is not there is read anew for each who asks, or for all
    who ask during one read: it may have been made a moment ago. What is there stays there, as far as a stream is
    concerned: nothing moves to another project, and what is purged sends no events. So it is remembered for a while.
    What the one who asks may see is looked at for each, and never shared.

    Args:
        clock: seconds.
    """

    def __init__(self, database: Database, holds: Holds, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._holds = holds
        self._clock = clock
        self._shared: SharedReads[_Key, str] = SharedReads()
        self._found: OrderedDict[_Key, tuple[str, float]] = OrderedDict()  # the oldest first

    async def check(self, project: str, wishes: Filter, principal: Principal) -> Target:
        """The target of a filter in a project.

        Raises:
            Problem: 404; 403 without the scope `sessions:read`.
            DatabaseError: it could not be read.
        """
        principal.require(Scope.SESSIONS_READ)
        if _PROJECT.fullmatch(project) is None:
            raise not_found()  # not even asked for: a text that cannot be a project may not be storable at all
        if not principal.may_see(project):
            raise not_found()
        reads_all = principal.has(Scope.THREADS_READ_ALL)
        owner = principal.sub if wishes.threads else None
        try:
            last = owner is None or not reads_all
            await self._find((project, wishes, owner), self._held, project, wishes, owner, last=last)
        except Problem:
            if owner is None or not reads_all:
                raise
            # One's own come first: who may read all threads is not shown another's of the same id beside them.
            owner = None
            await self._find((project, wishes, owner), self._held, project, wishes, owner, last=True)
        return Target(project, Audience(wishes, threads=wishes.whole_project and reads_all, owner=owner))

    async def of_task(self, task_id: str, wishes: Filter, principal: Principal) -> Target:
        """The target of a filter in the project that a task belongs to; raises as `check`."""
        return await self.check(await self._find(("task", task_id, None), _task_project, task_id), wishes, principal)

    async def of_session(self, session_id: str, wishes: Filter, principal: Principal) -> Target:
        """The target of a filter in the project that a session belongs to; raises as `check`."""
        project = await self._find(("session", session_id, None), _session_project, session_id)
        return await self.check(project, wishes, principal)

    def _held(self, tx: ReadTx, project: str, wishes: Filter, owner: str | None, *, last: bool) -> str:
        if not self._holds(tx, project, wishes, owner, last=last):
            raise not_found()
        return project

    async def _find(self, key: _Key, fn: Callable[Concatenate[ReadTx, P], str], *args: P.args, **more: P.kwargs) -> str:
        """The project that `fn` finds; raises what it raises."""
        found = self._found.get(key)
        if found is not None and self._clock() < found[1]:
            return found[0]
        project = await self._shared.get(key, lambda: self._database.read(fn, *args, **more))
        self._remember(key, project)
        return project

    def _remember(self, key: _Key, project: str) -> None:
        now = self._clock()
        self._found.pop(key, None)
        while self._found and (len(self._found) >= _FOUND_MAX or next(iter(self._found.values()))[1] <= now):
            self._found.popitem(last=False)
        self._found[key] = project, now + _FOUND_S


def _task_project(tx: ReadTx, task_id: str) -> str:
    project: str = get_task(tx, task_id, _anybody).project_id
    return project


def _session_project(tx: ReadTx, session_id: str) -> str:
    return get_session(tx, session_id, _anybody).project_id


def _anybody(project: str) -> bool:  # noqa: ARG001  who may see it is asked for each, afterwards
    return True
