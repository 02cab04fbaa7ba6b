"""The only file that knows all the others: it wires them, and nothing else."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from importlib.metadata import version

import anyio.lowlevel
import structlog
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from sessioncast_server.audit.api import AuditApi
from sessioncast_server.auth.openmode import OriginGuard, cors
from sessioncast_server.broker.base import Announcement, Broker, Whisper
from sessioncast_server.channels import life
from sessioncast_server.channels.hub import Hub
from sessioncast_server.channels.log import Log
from sessioncast_server.channels.snapshot import Snapshots
from sessioncast_server.console.pages import pages as console_pages
from sessioncast_server.db.database import CommitListener, Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.db.open import open_database
from sessioncast_server.db.size import database_bytes
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.flags.api import FlagsApi
from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.view import FlagView
from sessioncast_server.jobs.endless import endlessly
from sessioncast_server.jobs.retention import Retention
from sessioncast_server.models.api import ModelsApi
from sessioncast_server.observe import api as observe_api
from sessioncast_server.observe.counting import HubCounters
from sessioncast_server.observe.health import Health
from sessioncast_server.observe.looplag import watch_loop
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.observe.pooling import PoolMetrics
from sessioncast_server.observe.storesize import watch_size
from sessioncast_server.parts import (
    hub_limits,
    make_admission,
    make_authenticator,
    make_broker,
    make_lookups,
    make_waiting_room,
    outlet_terms,
    resume_terms,
    snapshot_limits,
    websocket_limits,
)
from sessioncast_server.projects.api import ProjectsApi
from sessioncast_server.projects.service import project_exists
from sessioncast_server.providers.api import ProvidersApi
from sessioncast_server.providers.keeper import Keeper
from sessioncast_server.providers.meter import Meter as ProvidersMeter
from sessioncast_server.providers.metrics_api import MetricsApi
from sessioncast_server.providers.snapshots import snapshot_heads
from sessioncast_server.providers.totals import export_uses
from sessioncast_server.reports.api import ReportsApi
from sessioncast_server.sessions.api import SessionsApi
from sessioncast_server.sessions.availability import mark_sessions
from sessioncast_server.sessions.bulk_api import BulkApi
from sessioncast_server.sessions.export_api import ExportApi
from sessioncast_server.sessions.listing import live_by_phase
from sessioncast_server.sessions.meter import Meter
from sessioncast_server.sessions.output import fill_output
from sessioncast_server.sessions.settling import settle_all
from sessioncast_server.sessions.snapshots import sessions_of_project, snapshot_sessions
from sessioncast_server.sessions.start import Terms
from sessioncast_server.settings import Settings
from sessioncast_server.tasks.api import TasksApi
from sessioncast_server.tasks.service import ids_of_project, snapshot_tasks
from sessioncast_server.thread_parts import ThreadParts
from sessioncast_server.threads.snapshots import message_paths
from sessioncast_server.transports.conversation import WebSocketParts
from sessioncast_server.transports.events import EventsApi
from sessioncast_server.transports.poll import Poll, PollLimits
from sessioncast_server.transports.push import Push
from sessioncast_server.transports.target import Targets
from sessioncast_server.transports.websocket import WebSocketApi
from sessioncast_server.versions.api import VersionsApi
from sessioncast_server.web import openapi
from sessioncast_server.web.endpoint import Endpoint, router, routes
from sessioncast_server.web.inputs import Limits
from sessioncast_server.web.middleware import RequestMiddleware
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter

_log = structlog.get_logger(__name__)


class Application:
    """One node.

    Attributes:
        asgi: what a server serves.
        hub, admission, health, metrics, database: parts that the server's drain and tests reach for.
        flags: what this node knows of the flags, for programs that embed it.
    """

    def __init__(self, settings: Settings, *, broker: Broker | None = None) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._meter = Meter(self.metrics)
        log = Log(fill_output)
        self.database: Database = open_database(settings, log, meter=lambda pool: PoolMetrics(self.metrics, pool))
        self.flags = FlagView(self.database, settings.flags_refresh_s)
        self._broker = broker or make_broker(settings, self.metrics)
        self._threads = ThreadParts(settings, self.database, self.metrics, whisper=self._whisper, freed=self._freed)
        snapshots = Snapshots(
            [
                (Kind.TASK, "task", snapshot_tasks),
                (Kind.SESSION, "session", snapshot_sessions),
                (Kind.PROVIDER, "provider", snapshot_heads),
                *self._threads.sources,
            ],
            snapshot_limits(settings),
            message_paths,
        )
        self.hub = Hub(
            self.database,
            log,
            snapshots,
            self._broker,
            hub_limits(settings),
            HubCounters(self.metrics),
            checks_identity=not settings.is_sqlite,
        )
        self.health = Health(vital={"database": self._database_check}, helpful={"broker": self._broker_check})
        self._authenticator = make_authenticator(settings)
        self._targets = Targets(self.database, self._holds)
        self.admission = make_admission(settings, self.metrics)
        self._outlet_terms = outlet_terms(settings)
        self._push = self._make_push()
        parts = WebSocketParts(
            self.hub,
            self._targets,
            self._authenticator,
            self.metrics,
            websocket_limits(settings),
            self._outlet_terms,
            self._push,
        )
        self._sockets = WebSocketApi(parts, self.admission)
        self._poll = Poll(
            self.database,
            log,
            snapshots,
            self.hub,
            PollLimits(settings.poll_wait_max_s, settings.replay_max_events, settings.replay_max_bytes),
            pushes=self._push.on,
        )
        self._reader = Reader(self.database, wait_s=settings.min_position_wait_s)
        self._lookups = make_lookups(settings, self.hub, self._reader, self.metrics)
        self._providers = ProvidersMeter(self.metrics)
        self._room = make_waiting_room(settings, self.database, self._providers)
        self._tasks: list[asyncio.Task[None]] = []
        self.asgi = self._wrap()

    async def start(self) -> None:
        """Connect, and begin to work; when that fails, what was begun is let go of.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        await self.database.open(CommitListener(self._committed, lambda: self.hub.doubt(None), self._timed))
        if self.database.log_went_back:
            _log.error("the database file is older than what was committed: new epochs")
            await self.database.write(life.rotate_all)
        if not self._settings.is_sqlite and (await self.database.write(life.settle_identity)).value:
            _log.error("another database than before: new epochs")
        await self.flags.refresh()
        await self.hub.start()
        self._threads.start()
        retention = Retention(
            self.database,
            keep_s=self._settings.log_keep_s,
            keep_events=self._settings.log_keep_events,
            answers_s=self._settings.idempotency_ttl_s,
        )
        keeper = Keeper(
            self.database,
            self._providers,
            look_s=self._settings.lease_look_s,
            ended=self._room.nudge,
            lapse=self._threads.lapse,
            lapsed=self._threads.lapsed,
        )
        self._tasks = [
            asyncio.create_task(endlessly(retention.run_for_ever), name="retention"),
            asyncio.create_task(endlessly(lambda: watch_loop(self.metrics)), name="loop lag"),
            asyncio.create_task(endlessly(self._gauge_for_ever), name="gauges"),
            asyncio.create_task(endlessly(self._sockets.look_after), name="sockets"),
            asyncio.create_task(endlessly(lambda: watch_size(self.metrics, self._size)), name="size"),
            asyncio.create_task(endlessly(self.flags.run_for_ever), name="flags"),
            asyncio.create_task(endlessly(self._push.run_for_ever), name="push"),
            asyncio.create_task(endlessly(keeper.run_for_ever), name="leases"),
            asyncio.create_task(endlessly(self._threads.clean_daily), name="thread cleanup"),
            asyncio.create_task(self._settle(), name="settling"),
        ]
        await (
            anyio.lowlevel.checkpoint()
        )  # its backend is loaded by its first use, which would else be in the middle of a stream
        gc.collect()
        gc.freeze()  # what is here now stays: collections need not look at it again

    async def drain(self) -> None:
        """Be not ready, and say goodbye to every stream."""
        self.health.drain()
        self._room.drain()
        self._threads.drain()
        await self.hub.drain()
        self.admission.drain()
        await self._sockets.drain()

    async def stop(self) -> None:
        """Finish what was begun, and let go of everything. Harmless when repeated, or when nothing was begun."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._room.close()
            await self._threads.close()
            await self._lookups.close()
            await self.hub.close()
        finally:
            await self.database.close()

    def endpoints(self) -> list[Endpoint]:
        """The whole interface, this document included."""
        settings, database = self._settings, self.database
        mutator = Mutator(database, ttl_s=settings.idempotency_ttl_s, count=self._count_mutation)
        reader = self._reader
        events = EventsApi(
            self.hub,
            self._poll,
            self._targets,
            self.admission,
            self.metrics,
            terms=self._outlet_terms,
            push=self._push,
        )
        meter = self._meter
        table = [
            *ProjectsApi(mutator, reader).endpoints(),
            *ModelsApi(mutator, reader, mark_sessions).endpoints(),
            *TasksApi(mutator, reader, live_sessions=_live_sessions).endpoints(),
            *SessionsApi(mutator, reader, self._lookups, terms=self._terms(), meter=meter).endpoints(),
            *BulkApi(
                database,
                mutator,
                terms=self._terms(),
                meter=meter,
                items_max=settings.bulk_max,
                chunk=settings.bulk_chunk,
                patience_s=settings.lock_timeout_s,
            ).endpoints(),
            *ExportApi(database, export_uses).endpoints(),
            *ProvidersApi(
                mutator,
                reader,
                self._room,
                terms=resume_terms(settings),
                meter=self._providers,
                lease_s=settings.provider_lease_s,
                wait_s=settings.resume_wait_s,
                structure_max=settings.structure_max_bytes,
            ).endpoints(),
            *MetricsApi(reader).endpoints(),
            *VersionsApi(mutator, reader).endpoints(),
            *self._threads.endpoints(mutator, reader, self._room),
            *AuditApi(reader).endpoints(),
            *FlagsApi(mutator, database, self.flags, changed=self._flag_changed, metrics=self.metrics).endpoints(),
            *events.endpoints(),
            *ReportsApi(self.metrics, per_minute=settings.client_reports_per_minute).endpoints(),
            *observe_api.endpoints(self.health, self.metrics),
            *console_pages(support_url=settings.support_url),
        ]
        described = openapi.document(table, title="sessioncast", version=version("sessioncast"))
        return [*table, *openapi.pages(described)]

    def _make_push(self) -> Push:
        flags = self.flags
        push = Push(
            self.hub,
            self.metrics,
            decided=lambda: flags.decided(Flag.PUSH),
            enabled=lambda project: flags.enabled(Flag.PUSH, project),
        )
        flags.listen(Flag.PUSH, push.changed)
        return push

    def _terms(self) -> Terms:
        flags, locking = self.flags, Flag.PESSIMISTIC_LOCKING
        return Terms(
            frozenset(self._settings.model_critical_params),
            locks=lambda: flags.decided(locking),
            locks_in=lambda project: flags.enabled(locking, project),
        )

    def _wrap(self) -> ASGIApp:
        settings = self._settings
        limits = Limits(settings.body_max_bytes, settings.body_deadline_s, settings.json_max_depth)
        http = routes(self.endpoints(), authenticator=self._authenticator, limits=limits)
        inner = router([*http, WebSocketRoute("/v1/ws", self._sockets.endpoint)], self._lifespan)
        crossing = cors(inner, settings.allowed_origins)
        guarded = OriginGuard(crossing, open_mode=settings.open_mode, allowed_origins=settings.allowed_origins)
        return RequestMiddleware(guarded, metrics=self.metrics)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: object) -> AsyncIterator[None]:  # noqa: ARG002  Starlette's signature
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def _committed(self, announcements: list[Announcement]) -> None:
        self.hub.committed(announcements)

    def _timed(self, seconds: float, group: int) -> None:
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.commit_group_size.observe(group)

    def _count_mutation(self, outcome: str) -> None:
        self.metrics.mutations.labels(outcome).inc()

    async def _flag_changed(self, flag: Flag) -> int | None:
        return await settle_all(self.database, self._meter) if flag is Flag.SINGLE_SESSION else None

    async def _settle(self) -> None:
        # A node may have died while it did so. On a store where nothing is left to settle it costs one look.
        await settle_all(self.database, self._meter)

    def _whisper(self, whisper: Whisper) -> None:
        self.hub.whisper(whisper)

    def _freed(self) -> None:
        self._room.nudge()

    def _holds(self, tx: ReadTx, project: str, wishes: Filter, owner: str | None, *, last: bool) -> bool:
        return holds(tx, project, wishes) and self._threads.holds(tx, project, wishes, owner, counts=last)

    async def _database_check(self) -> str | None:
        await self.database.read(_nothing)
        return None

    async def _broker_check(self) -> str | None:
        return None if self._broker.deaf_since() is None else "announcements of other nodes may come late"

    async def _size(self) -> int | None:
        try:
            return await self.database.read(database_bytes)
        except (DatabaseError, OSError):
            return None

    async def _gauge_for_ever(self) -> None:
        while True:
            self.metrics.write_queue.set(self.database.busy())
            self.metrics.broker_deaf.set(0 if self._broker.deaf_since() is None else 1)
            self.metrics.channels.set(self.hub.open_channels)
            self.metrics.streams_opening.set(self.admission.opening)
            self.metrics.ring_bytes.set(self.hub.ring_bytes)
            self._lookups.sweep()
            await asyncio.sleep(1)


def holds(tx: ReadTx, project: str, wishes: Filter) -> bool:
    """Whether a project exists and holds every task and session that a filter names."""
    return (
        project_exists(tx, project)
        and ids_of_project(tx, project, wishes.tasks) == set(wishes.tasks)
        and sessions_of_project(tx, project, wishes.sessions) == set(wishes.sessions)
    )


def _live_sessions(tx: ReadTx, task_id: str) -> dict[str, object]:
    return {phase: record.resource() for phase, record in live_by_phase(tx, task_id).items()}


def _nothing(tx: ReadTx) -> None:
    """A transaction that the database answers is all that is asked for."""
