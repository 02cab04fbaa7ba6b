"""Looking up the live sessions of a task: what is asked most, so its answers are kept. See docs/sessions.md."""

import time

from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.cache.aside import Aside, AsideLimits, Given, Outcome
from sessioncast_server.cache.base import Cache, Kept, Key
from sessioncast_server.cache.memory import MemoryCache
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.watch import Watches
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.exchange.reader import Reader, View, list_view, min_position, shown_answer
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import Problem, not_found
from sessioncast_server.sessions.listing import list_sessions, with_lost_models
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.requests import SessionsQuery
from sessioncast_server.sessions.service import Visible
from sessioncast_server.tasks.service import get_task
from sessioncast_server.web.cost import add_statements
from sessioncast_server.web.endpoint import Call
from sessioncast_server.web.page import page_key, page_of
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.phases import Phase
from sessioncast_shared.position import Position

_LIMIT = SessionsQuery().limit
_ANY = "*"

# That the model of a deleted session is gone is told by the model's event alone, which has no task.
_SHOWN = (Kind.OUTPUT.value, Kind.PROVIDER.value, Kind.SESSION.value)
_AUDITED = Audience(Filter(kinds=(Kind.MODEL.value, *_SHOWN)))


class Lookups:
    """The lists of tasks' sessions. The first page of live ones is answered from what is kept, where that is true.

    Args:
        watches: vouches for what is kept; closed with this.
        far: a cache that other nodes use too; closed with this.
        entries, size: answers and bytes kept in this process.
    """

    def __init__(
        self,
        reader: Reader,
        watches: Watches,
        far: Cache | None,
        metrics: Metrics,
        *,
        limits: AsideLimits,
        entries: int,
        size: int,
    ) -> None:
        self._reader = reader
        self._watches = watches
        self._metrics = metrics
        self._seconds = {
            source: metrics.session_lookup_seconds.labels(source) for source in ("memory", "redis", "store")
        }
        outcomes: tuple[Outcome, ...] = ("hit", "joined", "miss", "stale", "refresh")
        self._outcomes = {outcome: metrics.lookup_cache.labels(outcome) for outcome in outcomes}
        self._near = MemoryCache(entries=entries, size=size, clock=time.monotonic)
        self._aside = Aside(
            self._near, far, load=self._load, vouch=self._vouch, limits=limits,
            count=lambda outcome: self._outcomes[outcome].inc(),
        )  # fmt: skip

    async def show(self, call: Call) -> Response:
        """GET of a task's sessions.

        Raises:
            Problem: 400, 403, 404 and 503, as reads do.
        """
        query: SessionsQuery = call.query
        if query.include_deleted:
            call.principal.require(Scope.SESSIONS_AUDIT)
        task_id = call.uuid("task_id")
        if query.include_deleted or query.after is not None or query.limit != _LIMIT:
            return await self._read(call, task_id)
        began = time.monotonic()
        wanted = min_position(call)
        given = await self._aside.get(_key(task_id, query))
        if given is None or not call.principal.may_see(given.kept.project):
            raise not_found()
        source = given.source
        if wanted is None or (wanted.epoch == given.upto.epoch and wanted.offset <= given.upto.offset):
            response = _answer(call, given)
            add_statements(call.request.scope, given.kept.cost if source == "store" and not given.joined else 0)
        else:
            source, response = "store", await self._read(call, task_id)
        self._seconds[source].observe(time.monotonic() - began)
        return response

    def sweep(self) -> None:
        """Let go of what is past its time and of projects that nobody asks for; to be called now and then."""
        self._near.sweep()
        self._watches.sweep()
        self._metrics.lookup_cache_entries.set(len(self._near))

    async def close(self) -> None:
        """Let go of everything."""
        await self._aside.close()
        await self._watches.close()

    async def _read(self, call: Call, task_id: str) -> Response:
        return await self._reader.show(call, show_sessions, task_id, call.query, call.principal.may_see)

    async def _load(self, key: Key) -> Kept | None:
        try:
            shown = await self._reader.load(show_sessions, key.task_id, _query(key), _everything)
        except Problem as problem:
            if problem.status == 404:
                return None
            raise
        self._watches.follow(shown.channel)
        return Kept(shown.channel, shown.at, shown.etag, shown.body, shown.statements)

    def _vouch(self, key: Key, kept: Kept) -> Position | None:
        return self._watches.vouch(kept.project, key.task_id, kept.at)


def show_sessions(tx: ReadTx, task_id: str, query: SessionsQuery, visible: Visible) -> View:
    """A page of a task's sessions, newest first.

    Raises:
        Problem: 404; 400 `bad_cursor`.
    """
    before = page_key(query.after)
    task = get_task(tx, task_id, visible)

    def body() -> bytes:
        records = list_sessions(
            tx,
            task_id,
            limit=query.limit + 1,
            phase=query.phase,
            debug=query.debug,
            live=not query.include_deleted,
            before=before,
        )
        records = with_lost_models(tx, task.project_id, records)
        return page_of(records, query.limit, Record.resource)

    return list_view(tx, task.project_id, _AUDITED if query.include_deleted else _of_task(task_id), body)


def _of_task(task_id: str) -> Audience:
    return Audience(Filter(tasks=(task_id,), kinds=_SHOWN))


def _key(task_id: str, query: SessionsQuery) -> Key:
    phase = _ANY if query.phase is None else query.phase.value
    debug = _ANY if query.debug is None else str(query.debug).lower()
    return Key(task_id, f"{phase}.{debug}")


def _query(key: Key) -> SessionsQuery:
    phase, debug = key.view.split(".")
    return SessionsQuery(
        phase=None if phase == _ANY else Phase(phase), debug=None if debug == _ANY else debug == "true"
    )


def _answer(call: Call, given: Given) -> Response:
    condition = call.request.headers.get("if-none-match")
    kept = given.kept
    return shown_answer(given.upto, kept.etag, condition, lambda: kept.body).response(call.request_id)


def _everything(_: str) -> bool:
    """Rights are checked for each question, whoever's load answers it."""
    return True
