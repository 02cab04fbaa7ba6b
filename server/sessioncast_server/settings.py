"""The only reader of the environment: every setting, limit and period, with its default and its meaning."""

import difflib
import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "SESSIONCAST_"
DB_PATH_VARIABLE = "AGENT_SESSION_DB_PATH"
CLIENT_VARIABLES = frozenset({"SESSIONCAST_URL", "SESSIONCAST_TOKEN"})
"""Read by the client's commands, so no mistake in a server's environment."""


class SettingsError(Exception):
    """The settings do not make a server; the text has one line per mistake: variable, value, reason."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.port == 0:  # reading it raises ValueError for what is no number
        raise ValueError("Port must not be 0")
    return parts


def _database_url(url: str) -> str:
    if url.startswith("sqlite:///"):
        if url.removeprefix("sqlite:///") in ("", ":memory:"):
            raise ValueError("needs the path of a file; a database in memory would not keep what it acknowledged")
        return url
    if url.startswith("postgresql://") and _split(url).path.strip("/"):
        return url
    raise ValueError("must be sqlite:///PATH or postgresql://USER@HOST/DATABASE")


def _redis_url(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in ("redis", "rediss", "unix") or not (parts.netloc or parts.path):
        raise ValueError("must be redis://HOST, rediss://HOST or unix:///PATH")
    return url


def _http_url(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://… or https://…")
    return url


def _secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < 32:
        raise ValueError("must have at least 32 bytes (RFC 7518, section 3.2)")
    return secret


def _commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError(f"{value!r} is no origin; write it as https://console.example.com")
    return value.lower()


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=1024, le=2**40)]
Seconds = Annotated[float, Field(gt=0, le=366 * 86400, allow_inf_nan=False)]
KernelBytes = Annotated[int, Field(ge=1024, le=2**30)]  # the kernel's options and the transport's marks are C ints
Pulse = Annotated[float, Field(ge=0.05, le=366 * 86400, allow_inf_nan=False)]  # faster, it is all a node would do
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], NoDecode, BeforeValidator(_commas)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_commas)]


class Settings(BaseSettings):
    """What a server is told from outside. Made by `load`; sizes are in bytes, periods in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    workers: int = Field(1, ge=1, le=256, description="nodes that share the port, a process each")
    subscribers_max: Count = Field(50000, description="open streams of a node; one more is told when to come back")
    principal_streams_max: Count = Field(
        20000, description="of these, streams of one user; in open mode everybody is one"
    )
    address_streams_max: Count = Field(
        20000, description="of these, streams from one address; behind a proxy everybody has one"
    )
    opening_max: Count = Field(10000, description="streams that wait to be opened when many come at once")
    connections_max: Count = Field(
        60000, description="connections of a node, of any kind; fewer where descriptors are fewer; one more is 503"
    )
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        "sqlite:///data/sessioncast.db",
        repr=False,  # it may hold a password
        description="the store: sqlite:///PATH or postgresql://USER@HOST/DATABASE",
    )
    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(
        None, repr=False, description="carries wake-ups between nodes; none: one process is enough"
    )
    lane: Literal["auto", "portable"] = Field("auto", description="how bytes leave: auto takes the fastest that works")
    support_url: HttpUrl | None = Field(None, description="where «Contact Support» leads")

    jwt_secret: Annotated[SecretStr, AfterValidator(_secret)] | None = Field(
        None, description="HS256 secret of bearer tokens, 32 bytes or more; with no secret and no JWKS: open mode"
    )
    jwks_url: HttpUrl | None = Field(None, description="key set for RS256 and ES256 bearer tokens")
    jwt_audience: str | None = Field(None, min_length=1, description="audience a token must name; none: no audience")
    jwt_issuer: str | None = Field(None, min_length=1, description="issuer a token must name; none: any")
    jwks_keep_s: Seconds = Field(300, description="age at which the key set is read again")
    jwks_min_interval_s: Seconds = Field(10, description="least time between two readings of the key set")
    jwks_timeout_s: Seconds = Field(5, description="deadline for reading the key set")
    token_cache_max: Count = Field(4096, description="verified tokens remembered until they expire")
    allowed_origins: Origins = Field((), description="comma list of origins whose pages may use the interface")

    log: Literal["console", "json"] | None = Field(None, description="console or json; none: console on a terminal")
    log_level: Level = Field("info", description="debug, info, warning or error")

    headers_max_bytes: Bytes = Field(65536, description="largest head of a request; a larger one is answered 431")
    head_deadline_s: Seconds = Field(30, description="time a request's head may take to arrive, from its first byte")
    body_max_bytes: Bytes = Field(1 << 20, description="largest request body")
    body_deadline_s: Seconds = Field(30, description="time a request body may take to arrive")
    json_max_depth: int = Field(64, ge=1, le=200, description="deepest nesting of a request body")
    min_position_wait_s: Seconds = Field(5, description="longest wait for `min_position`, then 503")
    idempotency_ttl_s: Seconds = Field(86400, description="how long the answer to an Idempotency-Key is kept")

    model_critical_params: Names = Field(
        ("temperature", "top_p", "max_tokens", "system_prompt", "tools", "reasoning_effort"),
        description="comma list of model parameters whose difference is another model",
    )
    flags_refresh_s: Seconds = Field(0.5, description="period of reading the flags that others may have changed")
    bulk_max: int = Field(1000, ge=1, le=10_000, description="items in one bulk request")
    bulk_chunk: int = Field(50, ge=1, le=1000, description="tasks of a bulk request in one commit")

    write_group_max: Count = Field(64, description="SQLite: changes in one commit")
    write_group_ms: Seconds = Field(5, description="SQLite: milliseconds after which a commit takes no more changes")
    write_queue_max: Count = Field(1000, description="changes waiting for the store; more are answered 503")
    write_deadline_s: Seconds = Field(10, description="time a change may take")
    read_deadline_s: Seconds = Field(10, description="time a read may take")
    lock_timeout_s: Seconds = Field(5, description="wait for a task's lock, then «being modified»")
    read_threads: Count = Field(4, description="SQLite: reading connections")
    postgres_write_threads: Count = Field(4, description="PostgreSQL: writing connections")
    postgres_read_threads: Count = Field(4, description="PostgreSQL: reading connections")
    postgres_connect_timeout_s: int = Field(
        5, ge=2, le=600, description="PostgreSQL: whole seconds to wait for a new connection"
    )
    postgres_idle_s: Seconds = Field(300, description="PostgreSQL: a connection unused for so long is closed")
    pool_wait_s: Seconds = Field(5, description="longest wait for a connection to the store, then 503")
    switch_interval_s: Seconds = Field(0.0005, description="how long a thread may keep the interpreter to itself")

    ring_events: Count = Field(4096, description="recent events of a channel kept in memory")
    ring_bytes: Bytes = Field(1 << 20, description="the same in bytes")
    ring_total_bytes: Bytes = Field(256 << 20, description="recent events of all channels of a node")
    block_bytes: Bytes = Field(65536, description="bytes handed to a reader that catches up at a time")
    channel_linger_s: Seconds = Field(30, description="how long a channel without readers is kept open")
    log_keep_s: Seconds = Field(86400, description="events younger than this stay in the log")
    log_keep_events: Count = Field(
        10000, description="so many of the newest events of a channel stay, whatever their age"
    )
    replay_max_events: Count = Field(300, description="a replay of more events becomes a snapshot")
    replay_max_bytes: Bytes = Field(1 << 20, description="a replay of more bytes becomes a snapshot")
    snapshot_page: Count = Field(256, description="resources in one snapshot frame")
    snapshot_max: Count = Field(5000, description="resources in a snapshot; more are answered with the list to read")
    snapshot_max_bytes: Bytes = Field(16 << 20, description="the same in bytes; a frame has about block_bytes of them")
    snapshot_min_interval_s: Seconds = Field(5, description="a subscriber that needs snapshots faster is closed")
    flush_slice_s: float = Field(
        0.001, ge=0.0001, le=1, description="how long bytes are handed out before the loop does other work"
    )
    heartbeat_s: Pulse = Field(15, description="silence after which a stream says its head")
    head_check_s: Seconds = Field(1, description="period of reading the heads of open channels")
    head_slice: Count = Field(500, description="channels in one such reading")
    early_wait_s: Seconds = Field(0.02, description="wait for the missing predecessor of an early announcement")

    poll_wait_max_s: Seconds = Field(25, description="longest `wait` of a poll")
    ws_frame_max_bytes: Bytes = Field(65536, description="largest frame from a WebSocket client")
    ws_auth_timeout_s: Seconds = Field(10, description="a WebSocket that is not authenticated by then is closed")
    ws_subscriptions_max: Count = Field(100, description="subscriptions on one WebSocket")
    ws_ping_s: Pulse = Field(20, description="silence after which a WebSocket is pinged, and then closed")
    write_high_water_bytes: KernelBytes = Field(
        32768, description="unsent bytes in the process that make a stream wait"
    )
    write_low_water_bytes: Bytes = Field(8192, description="unsent bytes at which it goes on")
    unsent_bytes: KernelBytes = Field(
        32768, description="TCP_NOTSENT_LOWAT: unsent bytes that the kernel takes of a stream"
    )
    tcp_user_timeout_s: float = Field(
        30, ge=1, le=86400, description="TCP_USER_TIMEOUT: a peer that confirms nothing for so long is gone"
    )
    send_deadline_s: Seconds = Field(30, description="a socket that takes nothing for so long is closed")
    drain_s: Seconds = Field(1.5, description="time for goodbyes at shutdown")
    retry_ms: Count = Field(1000, description="base of the jittered pause before a client reconnects, in milliseconds")

    redis_timeout_s: Seconds = Field(1, description="deadline of a command to Redis")
    redis_ping_s: Seconds = Field(1, description="period and deadline of the PING that proves Redis is heard")
    redis_breaker_s: Seconds = Field(2, description="pause after a failure before Redis is tried again")
    redis_backoff_cap_s: Seconds = Field(2, description="longest pause before a lost subscription is made again")
    announce_queue: Count = Field(10000, description="announcements waiting for Redis; more are dropped")
    announce_queue_bytes: Bytes = Field(16 << 20, description="the same in bytes")
    announce_max_bytes: Bytes = Field(262144, description="a larger announcement carries no events, only the range")

    lookup_ttl_s: Seconds = Field(10, description="how long the answer to a lookup of sessions is kept, ± 10 %")
    lookup_max: Count = Field(10000, description="such answers kept in memory; the one not asked for longest goes")
    lookup_max_bytes: Bytes = Field(64 << 20, description="the same in bytes")
    lookup_body_max_bytes: Bytes = Field(262144, description="a larger answer is not kept")
    lookup_watch_max: Count = Field(1000, description="projects whose answers are kept; of others they are read anew")
    lookup_redis_timeout_s: Seconds = Field(0.05, description="deadline of Redis for an answer, then the store is read")

    @property
    def open_mode(self) -> bool:
        """Whether everybody on this machine may do everything, because no way to tell them apart is set."""
        return self.jwt_secret is None and self.jwks_url is None

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file of this machine."""
        return self.database_url.startswith("sqlite:")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.jwt_secret is not None and self.jwks_url is not None:
            raise ValueError("SESSIONCAST_JWKS_URL and SESSIONCAST_JWT_SECRET are both set; set one of them")
        if self.open_mode and not is_loopback(self.host):
            raise ValueError(
                f"SESSIONCAST_HOST={self.host}: without SESSIONCAST_JWT_SECRET or SESSIONCAST_JWKS_URL everybody may "
                "do everything, so only loopback (127.0.0.1, ::1, localhost) is listened on"
            )
        if self.ring_bytes > self.ring_total_bytes:
            raise ValueError(f"SESSIONCAST_RING_BYTES={self.ring_bytes}: more than SESSIONCAST_RING_TOTAL_BYTES")
        if self.write_low_water_bytes > self.write_high_water_bytes:
            raise ValueError(
                f"SESSIONCAST_WRITE_LOW_WATER_BYTES={self.write_low_water_bytes}: "
                f"more than SESSIONCAST_WRITE_HIGH_WATER_BYTES={self.write_high_water_bytes}"
            )
        if self.workers > 1 and self.is_sqlite:
            raise ValueError(
                f"SESSIONCAST_WORKERS={self.workers}: a SQLite file is served by one process; more need "
                "SESSIONCAST_DATABASE_URL=postgresql://… and SESSIONCAST_REDIS_URL=redis://…"
            )
        if self.workers > 1 and self.redis_url is None:
            raise ValueError(
                f"SESSIONCAST_WORKERS={self.workers}: without SESSIONCAST_REDIS_URL workers would learn of each "
                f"other's changes up to {self.head_check_s:g} s late"
            )
        return self


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings of an environment (default: the process's own), where `overrides` by field name win.

    An empty variable counts as not set, and an override that is None as not given.

    Raises:
        SettingsError: with every mistake there is.
    """
    given = {name.upper(): value for name, value in (os.environ if environ is None else environ).items() if value}
    lines = _unknown(given)
    path = given.get(DB_PATH_VARIABLE)
    if path and given.setdefault(f"{PREFIX}DATABASE_URL", f"sqlite:///{path}") != f"sqlite:///{path}":
        url = _without_password(given[f"{PREFIX}DATABASE_URL"])
        lines.append(
            f"{DB_PATH_VARIABLE}={path}: means another database than SESSIONCAST_DATABASE_URL={url}; unset one"
        )

    class Bound(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],  # noqa: ARG003  a hook's signature
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  a hook's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  a hook's signature
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if isinstance(env_settings, EnvSettingsSource):  # always; the hook's type says less
                env_settings.env_vars = {name.lower(): value for name, value in given.items()}
            return init_settings, env_settings

    settings = None
    chosen = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Bound(**chosen)
    except ValidationError as error:
        lines += [_line(mistake, given, chosen) for mistake in error.errors(include_url=False)]
    if settings is None or lines:
        raise SettingsError("\n".join(lines))
    return settings


def to_json(settings: Settings) -> str:
    """The settings with their secrets, on one line: for a process that is to have the same."""
    values = settings.model_dump()
    return json.dumps({k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in values.items()})


def from_json(text: str | bytes) -> Settings:
    """What `to_json` was given; the environment has no say.

    Raises:
        SettingsError: it was something else.
    """
    return load({}, **json.loads(text))


def describe() -> list[tuple[str, str, str]]:
    """Every setting as (variable, default, meaning); the default is empty where there is none."""
    return [(_variable(name), _shown(field.default), field.description or "") for name, field in _fields().items()]


def env_example() -> str:
    """The text of `.env.example`: every variable, commented out, with its default and meaning."""
    head = "# Every setting of the server, with its default. Written by `sessioncast settings`."
    return "\n".join([head, *(f"\n# {meaning}\n# {name}={default}" for name, default, meaning in describe()), ""])


def _fields() -> dict[str, Any]:
    return dict(Settings.model_fields)


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _unknown(given: Mapping[str, str]) -> list[str]:
    known = [_variable(name) for name in _fields()]
    lines = []
    for name in sorted(given):
        if name.startswith(PREFIX) and name not in known and name not in CLIENT_VARIABLES:
            near = difflib.get_close_matches(
                name.removeprefix(PREFIX), [k.removeprefix(PREFIX) for k in known], 3, 0.75
            )
            hint = (
                f"; did you mean {' or '.join(PREFIX + other for other in near)}?"
                if near
                else "; `sessioncast settings` lists them all"
            )
            lines.append(f"{name}: there is no such setting{hint}")
    return lines


def _line(mistake: Any, given: Mapping[str, str], overrides: Mapping[str, Any]) -> str:
    reason = mistake["msg"].removeprefix("Value error, ")
    if not mistake["loc"]:
        return str(reason)
    field = str(mistake["loc"][0])
    if field not in _fields():
        return f"{field}: there is no such setting"
    value = overrides[field] if field in overrides else given.get(_variable(field), "")
    text = "********" if field == "jwt_secret" else _without_password(str(value))
    return f"{_variable(field)}={text}: {reason}"


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
    except ValueError:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:********@{parts.netloc.rpartition('@')[2]}"))
