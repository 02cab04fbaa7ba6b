"""Parts of a node that the settings decide on. With `app.py` the only place that names a concrete backend."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sessioncast_server.auth.keyset import KeySet
from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.broker.base import Broker
from sessioncast_server.broker.memory import MemoryBroker
from sessioncast_server.cache.aside import AsideLimits
from sessioncast_server.cache.base import Cache
from sessioncast_server.channels.channel import ChannelLimits
from sessioncast_server.channels.hub import Hub, HubLimits
from sessioncast_server.channels.log import Log
from sessioncast_server.channels.snapshot import SnapshotLimits
from sessioncast_server.channels.watch import Watches
from sessioncast_server.db.database import Database
from sessioncast_server.db.guest import SqliteGuest
from sessioncast_server.db.open import open_database
from sessioncast_server.db.sqlite import path_of
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.jobs.by_hand import Job, Store, thread_cleanup
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.providers.meter import Meter
from sessioncast_server.providers.resume import Terms
from sessioncast_server.providers.rules import ResumeTerms
from sessioncast_server.sessions.lookup import Lookups
from sessioncast_server.sessions.output import fill_output
from sessioncast_server.settings import Settings, SettingsError
from sessioncast_server.threads.chat_api import ChatTerms
from sessioncast_server.threads.responder import load_responder
from sessioncast_server.threads.responding import Responding
from sessioncast_server.threads.rules import Terms as ThreadTerms
from sessioncast_server.transports.admission import Admission, AdmissionLimits
from sessioncast_server.transports.conversation import WebSocketLimits
from sessioncast_server.transports.descriptors import connections_bound, raise_descriptor_limit
from sessioncast_server.transports.outlet import OutletTerms
from sessioncast_server.turns.holding import Holder
from sessioncast_server.turns.waiting import WaitingRoom

_REQUESTS = 128
"""Connections that streams leave for requests."""


def make_broker(settings: Settings, metrics: Metrics) -> Broker:
    """Redis where there is one, else this process alone."""
    if settings.redis_url is None:
        return MemoryBroker()
    # Imported when it is needed: the library takes as long to load as everything of ours.
    from sessioncast_server.broker.limits import RedisHooks, RedisLimits  # noqa: PLC0415  see above
    from sessioncast_server.broker.redis import RedisBroker  # noqa: PLC0415  the same

    limits = RedisLimits(
        timeout_s=settings.redis_timeout_s,
        ping_s=settings.redis_ping_s,
        breaker_s=settings.redis_breaker_s,
        announce_max_bytes=settings.announce_max_bytes,
        queue_announcements=settings.announce_queue,
        queue_bytes=settings.announce_queue_bytes,
        backoff_cap_s=settings.redis_backoff_cap_s,
    )
    hooks = RedisHooks(
        dropped=lambda _, count: metrics.announce_failures.inc(count),
        hushed=lambda reason, count: metrics.whispers_dropped.labels(reason).inc(count),
    )
    return RedisBroker(settings.redis_url, limits=limits, hooks=hooks)


def make_lookups(settings: Settings, hub: Hub, reader: Reader, metrics: Metrics) -> Lookups:
    """Lookups with answers kept in this process, and in Redis where there is one."""
    # A watch that was not used for two lives of an answer has none left to vouch for.
    watches = Watches(
        hub.watch, limit=settings.lookup_watch_max, idle_s=2 * settings.lookup_ttl_s, clock=time.monotonic
    )
    return Lookups(
        reader,
        watches,
        make_far_cache(settings),
        metrics,
        limits=AsideLimits(ttl_s=settings.lookup_ttl_s, body_max=settings.lookup_body_max_bytes),
        entries=settings.lookup_max,
        size=settings.lookup_max_bytes,
    )


def make_far_cache(settings: Settings) -> Cache | None:
    """Redis where there is one."""
    if settings.redis_url is None:
        return None
    from sessioncast_server.cache.redis import RedisCache, RedisCacheLimits  # noqa: PLC0415  as in `make_broker`

    limits = RedisCacheLimits(
        timeout_s=settings.lookup_redis_timeout_s,
        breaker_s=settings.redis_breaker_s,
        body_max=settings.lookup_body_max_bytes,
    )
    return RedisCache(settings.redis_url, limits=limits, clock=time.monotonic)


def make_authenticator(settings: Settings) -> Authenticator:
    """By secret, by key set, or open."""
    keys = None
    if settings.jwks_url is not None:
        keys = KeySet(
            settings.jwks_url,
            keep_s=settings.jwks_keep_s,
            min_interval_s=settings.jwks_min_interval_s,
            timeout_s=settings.jwks_timeout_s,
        )
    return Authenticator(
        secret=None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value(),
        keys=keys,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        keep_s=settings.jwks_keep_s,
        cache_max=settings.token_cache_max,
    )


def make_admission(settings: Settings, metrics: Metrics) -> Admission:
    """Bounds and pace of streams."""
    # A stream over the bound is told when to come back; a connection over its bound is only refused.
    connections = connections_bound(settings.connections_max, raise_descriptor_limit())
    limits = AdmissionLimits(
        node=max(1, min(settings.subscribers_max, connections - _REQUESTS)),
        principal=settings.principal_streams_max,
        address=settings.address_streams_max,
        opening=settings.opening_max,
    )
    return Admission(limits, refused=lambda reason: metrics.streams_refused.labels(reason).inc())


def hub_limits(settings: Settings) -> HubLimits:
    """The hub's part of the settings."""
    return HubLimits(
        channel=ChannelLimits(
            ring_events=settings.ring_events,
            ring_bytes=settings.ring_bytes,
            block_bytes=settings.block_bytes,
            early_wait_s=settings.early_wait_s,
            replay_events=settings.replay_max_events,
            replay_bytes=settings.replay_max_bytes,
            snapshot_interval_s=settings.snapshot_min_interval_s,
            send_deadline_s=settings.send_deadline_s,
        ),
        total_bytes=settings.ring_total_bytes,
        head_check_s=settings.head_check_s,
        head_slice=settings.head_slice,
        heartbeat_s=settings.heartbeat_s,
        slice_s=settings.flush_slice_s,
        linger_s=settings.channel_linger_s,
        subscribers=settings.subscribers_max,
    )


def snapshot_limits(settings: Settings) -> SnapshotLimits:
    """Bounds of a snapshot; a page is what a socket is handed at a time."""
    return SnapshotLimits(
        page=settings.snapshot_page,
        resources=settings.snapshot_max,
        page_bytes=settings.block_bytes,
        max_bytes=settings.snapshot_max_bytes,
    )


def outlet_terms(settings: Settings) -> OutletTerms:
    """What all streams have in common."""
    return OutletTerms(
        retry_ms=settings.retry_ms,
        deadline_s=settings.send_deadline_s,
        high_water=settings.write_high_water_bytes,
        low_water=settings.write_low_water_bytes,
    )


def websocket_limits(settings: Settings) -> WebSocketLimits:
    """Bounds of a WebSocket."""
    return WebSocketLimits(
        frame_max_bytes=settings.ws_frame_max_bytes,
        auth_timeout_s=settings.ws_auth_timeout_s,
        subscriptions_max=settings.ws_subscriptions_max,
        ping_s=settings.ws_ping_s,
    )


def resume_terms(settings: Settings) -> Terms:
    """On what terms sessions are resumed."""
    resume = ResumeTerms(settings.resume_stale_s, settings.resume_failures_max, settings.resume_changed_share)
    return Terms(resume, turn_lease_s=settings.turn_lease_s, waiter_lease_s=settings.waiter_lease_s)


def thread_terms(settings: Settings) -> ThreadTerms:
    """On what terms threads are kept."""
    return ThreadTerms(
        messages_max=settings.thread_max_messages,
        keep=timedelta(days=settings.thread_retention_days),
        read_bytes=settings.thread_read_max_bytes,
        waiter_lease_s=settings.waiter_lease_s,
    )


def chat_terms(settings: Settings) -> ChatTerms:
    """How chats are answered; a run of this node outlives it for as long as a place in the queue does."""
    return ChatTerms(settings.thread_wait_s, settings.waiter_lease_s, "default" if settings.open_mode else None)


def make_responding(settings: Settings, *, at_work: Callable[[int], None]) -> Responding:
    """Who answers in chats.

    Raises:
        SettingsError: the responder cannot be loaded.
    """
    try:
        responder = load_responder(settings.responder)
    except ValueError as error:
        raise SettingsError(f"SESSIONCAST_RESPONDER={settings.responder}: {error}") from error
    return Responding(
        responder,
        deadline_s=settings.responder_deadline_s,
        max_bytes=settings.responder_max_bytes,
        threads=settings.responder_threads,
        at_work=at_work,
    )


def make_holder(settings: Settings, database: Database, *, gave_up: Callable[[Any], None]) -> Holder:
    """What keeps the turns that this node itself has."""
    lease_s = settings.waiter_lease_s
    return Holder(database, renew_s=lease_s / 3, give_up_s=4 * lease_s, gave_up=gave_up)


def make_jobs(settings: Settings) -> dict[str, Job]:
    """Jobs by name, for the command line."""
    return {"thread-cleanup": thread_cleanup(thread_terms(settings))}


def store_of_jobs(settings: Settings) -> tuple[Callable[[Log], Store], Log]:
    """What such a job works on: a file as a guest, for a server may have it."""
    log = Log(fill_output)
    if settings.is_sqlite:
        path = path_of(settings.database_url)
        return lambda appender: SqliteGuest(path, appender, busy_s=settings.lock_timeout_s), log
    return lambda appender: open_database(settings, appender), log


def make_waiting_room(settings: Settings, database: Database, meter: Meter) -> WaitingRoom:
    """Where requests wait for their turn."""
    return WaitingRoom(
        database,
        look_s=settings.turn_look_s,
        renew_s=settings.waiter_lease_s / 3,
        limit=settings.turns_waiting_max,
        waiting=meter.waiting,
    )
