"""Many replacements and deletions with one request: a few transactions, each made once, each of whole tasks."""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import orjson
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import CommitUnknownError, DatabaseError, UnavailableError
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem, busy, invalid, problem_of
from sessioncast_server.projects.service import get_project
from sessioncast_server.sessions import requests
from sessioncast_server.sessions.bulk import Delete, Deleted, Item, Replace, delete_many, replace_many
from sessioncast_server.sessions.meter import Meter
from sessioncast_server.sessions.outcomes import item_body
from sessioncast_server.sessions.service import Hold, delete_session, tasks_of
from sessioncast_server.sessions.start import Outcome, Start, Terms, start_session
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_shared import resources
from sessioncast_shared.codes import Code
from sessioncast_shared.position import Position

T = TypeVar("T", Replace, Delete)


class BulkApi:
    """The endpoint of bulk changes.

    Args:
        items_max: items that one request may have.
        chunk: tasks in one transaction: so long others may have to wait for it.
        patience_s: seconds that the locked items of a request are waited for, all of them together; the one that is
            waited for when they are over has its own time-out.
    """

    def __init__(
        self,
        database: Database,
        mutator: Mutator,
        *,
        terms: Terms,
        meter: Meter,
        items_max: int,
        chunk: int,
        patience_s: float,
    ) -> None:
        self._database = database
        self._mutator = mutator
        self._terms = terms
        self._meter = meter
        self._items_max = items_max
        self._chunk = chunk
        self._patience_s = patience_s

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        return [
            Endpoint(
                "POST",
                "/v1/projects/{project_id}/sessions/bulk",
                self.bulk,
                "Replace and delete many sessions",
                Scope.SESSIONS_WRITE,
                body=requests.Bulk,
                answers={207: resources.BulkOutcome},
                tag="sessions",
            )
        ]

    async def bulk(self, call: Call) -> Response:
        """POST: 207 with what came of each item, replacements before deletions, in the order of the request."""
        project_id, body, user = call.project(), call.body, call.principal.sub
        if not 1 <= len(body.replace) + len(body.delete) <= self._items_max:
            raise invalid("replace, delete", f"must be 1 to {self._items_max} items together")
        replacing = [_replace(item) for item in body.replace]
        deleting = [Delete(requests.canonical_id(item.session_id), item.version) for item in body.delete]
        owners = await self._database.read(_owners, project_id, [item.session_id for item in deleting])
        run = _Run(call, self._mutator, self._meter, chunk=self._chunk, patience_s=self._patience_s)
        terms, see = self._terms, call.principal.may_see
        replaced = await run.all(
            "replace",
            replacing,
            lambda item: item.task_id,
            lambda items: (_replace_chunk, project_id, items, user, terms),
            lambda item: (_replace_one, project_id, item, user, see, terms),
        )
        deleted = await run.all(
            "delete",
            deleting,
            lambda item: owners.get(item.session_id, item.session_id),
            lambda items: (_delete_chunk, project_id, items, user),
            lambda item: (_delete_one, project_id, item, user, see),
        )
        headers = {} if run.position is None else {"X-Position": str(run.position)}
        shown = {"replace": replaced, "delete": deleted}
        return Answer(207, json_bytes(shown), headers).response(call.request_id)


class _Run:
    """One request on its way through its transactions.

    Attributes:
        position: where all that its items show can be seen; of its last event, if there is one, whether it was
            written now or when the request was made before.
    """

    def __init__(self, call: Call, mutator: Mutator, meter: Meter, *, chunk: int, patience_s: float) -> None:
        self.position: Position | None = None
        self._call = call
        self._mutator = mutator
        self._meter = meter
        self._chunk = chunk
        self._patience_s = patience_s
        self._away = False

    async def all(
        self,
        name: str,
        items: Sequence[T],
        owner: Callable[[T], Hashable],
        many: Callable[[list[T]], tuple[Any, ...]],
        one: Callable[[T], tuple[Any, ...]],
    ) -> list[Any]:
        """The outcome of each item as JSON, in order.

        Args:
            owner: what an item belongs to; what belongs together is written together.
            many, one: the function, and its arguments, that deals with several items, or with one that was locked.
        """
        shown: list[Any] = [None] * len(items)
        for number, indexes in enumerate(_chunks(items, owner, self._chunk)):
            part = f"{name}/{self._chunk}/{number}"
            bodies = await self._apply(part, len(indexes), *many([items[index] for index in indexes]))
            for index, body in zip(indexes, bodies, strict=True):
                shown[index] = body
        # What somebody else had locked is waited for now, alone.
        for left in [index for index, body in enumerate(shown) if body is None]:
            item: T = items[left]
            began = time.monotonic()
            # A stranger may have locked all of them, and whoever asks does not wait a thousand times.
            work: tuple[Any, ...] = one(item) if self._patience_s > 0 else (_without_waiting, *many([item]))
            (shown[left],) = await self._apply(f"{name}/one/{left}", 1, *work)
            self._patience_s -= time.monotonic() - began
        return shown

    async def _apply(self, part: str, count: int, fn: Callable[..., Answer], *rest: Any) -> list[Any]:
        """The outcomes of the `count` items of one transaction."""
        if self._away:
            problem = problem_of(UnavailableError("closed"))
            return [item_body(problem, self._call.request_id)] * count
        try:
            written = await self._mutator.apply(self._call, part, fn, *rest)
        except (Problem, DatabaseError) as error:
            problem = problem_of(error)
            if problem.code is Code.KEY_REUSED:
                raise
            if isinstance(error, DatabaseError):
                self._meter.failed(error)
            # A store that is away is not asked again and again: each time would take as long as the first.
            self._away = isinstance(error, UnavailableError | CommitUnknownError)
            return [item_body(problem, self._call.request_id)] * count
        answer = written.value
        self._reach(written.position or Position.parse(answer.headers["X-Position"]), now=answer.note is not None)
        for outcome in answer.note or ():
            if isinstance(outcome, Outcome):
                self._meter.decided(outcome)
        bodies: list[Any] = orjson.loads(answer.body)
        for body in bodies:
            if body is not None and "problem" in body:
                body["problem"]["request_id"] = self._call.request_id
        return bodies

    def _reach(self, position: Position, *, now: bool) -> None:
        """The furthest counts: of a repeated request, parts that were made before follow such as are made now."""
        known = self.position
        if known is None or (position.offset > known.offset if position.epoch == known.epoch else now):
            self.position = position


def _chunks(items: Sequence[T], owner: Callable[[T], Hashable], size: int) -> Iterator[list[int]]:
    """Indexes of items in runs of `size` owners, none of them in two runs."""
    by_owner: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        by_owner.setdefault(owner(item), []).append(index)
    groups = list(by_owner.values())
    for start in range(0, len(groups), size):
        yield [index for group in groups[start : start + size] for index in group]


def _replace(item: requests.BulkReplace) -> Replace:
    start = Start(
        phase=item.phase.value,
        model=item.model.model_dump(exclude_none=True),
        on_conflict="replace",
        confirmed_id=requests.canonical_id(item.confirm.session_id),
    )
    return Replace(requests.canonical_id(item.task_id), start)


def _owners(tx: ReadTx, project_id: str, session_ids: list[str]) -> dict[str, str]:
    get_project(tx, project_id)
    return tasks_of(tx, session_ids)


def _replace_chunk(tx: WriteTx, project_id: str, items: list[Replace], user: str, terms: Terms) -> Answer:
    return _answer(tx, project_id, replace_many(tx, project_id, items, user=user, terms=terms))


def _replace_one(
    tx: WriteTx, project_id: str, item: Replace, user: str, visible: Callable[[str], bool], terms: Terms
) -> Answer:
    outcome = start_session(tx, item.task_id, item.start, user=user, visible=visible, terms=terms)
    return _answer(tx, project_id, [outcome])


def _delete_chunk(tx: WriteTx, project_id: str, items: list[Delete], user: str) -> Answer:
    return _answer(tx, project_id, delete_many(tx, project_id, items, user=user))


def _delete_one(tx: WriteTx, project_id: str, item: Delete, user: str, visible: Callable[[str], bool]) -> Answer:
    versions = None if item.version is None else frozenset({item.version})
    delete_session(tx, item.session_id, hold=Hold(versions=versions), user=user, visible=visible)
    return _answer(tx, project_id, [Deleted()])


def _without_waiting(tx: WriteTx, fn: Callable[..., Answer], *rest: Any) -> Answer:
    """The answer of `fn`, unless something was locked.

    Raises:
        Problem: 409 `session_being_modified`; nothing is kept of it.
    """
    answer = fn(tx, *rest)
    if any(item is None for item in answer.note):
        raise busy()
    return answer


def _answer(tx: WriteTx, project_id: str, items: Sequence[Item | None]) -> Answer:
    headers = {}
    if not tx.staged:
        head = head_of(tx, project_id)
        headers["X-Position"] = f"{head.epoch}:{head.offset}"
    shown = [None if item is None else item_body(item) for item in items]
    return Answer(207, json_bytes(shown), headers, items)
