"""The only reader of the environment; `settings_groups` has every setting, limit and period by subject."""

import difflib
import json
import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from sessioncast_server.settings_groups.access import Access
from sessioncast_server.settings_groups.channels import Channels
from sessioncast_server.settings_groups.listening import Listening
from sessioncast_server.settings_groups.logs import Logs
from sessioncast_server.settings_groups.lookup import Lookup
from sessioncast_server.settings_groups.providers import Providers
from sessioncast_server.settings_groups.redis import Redis
from sessioncast_server.settings_groups.requests import Requests
from sessioncast_server.settings_groups.store import Store
from sessioncast_server.settings_groups.streams import Streams
from sessioncast_server.settings_groups.threads import Threads
from sessioncast_server.settings_groups.tracking import Tracking

PREFIX = "SESSIONCAST_"
DB_PATH_VARIABLE = "AGENT_SESSION_DB_PATH"
ALIASES = {
    "AGENT_SESSION_MAX_MESSAGES": "SESSIONCAST_THREAD_MAX_MESSAGES",
    "AGENT_SESSION_RETENTION_DAYS": "SESSIONCAST_THREAD_RETENTION_DAYS",
    "AGENT_SESSION_CLEANUP_HOUR": "SESSIONCAST_THREAD_CLEANUP_HOUR",
}
"""Names that settings had before, by those they have."""
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


# Fields are collected from the last base to the first: read from below, this is the order in which they are listed.
class Settings(
    Lookup,
    Redis,
    Streams,
    Channels,
    Store,
    Threads,
    Providers,
    Tracking,
    Requests,
    Logs,
    Access,
    Listening,
    BaseSettings,
):
    """What a server is told from outside. Made by `load`; sizes are in bytes, periods in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

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
        if self.turn_look_s > self.waiter_lease_s / 2:
            raise ValueError(
                f"SESSIONCAST_TURN_LOOK_S={self.turn_look_s:g}: more than half of "
                f"SESSIONCAST_WAITER_LEASE_S={self.waiter_lease_s:g}, so places would lapse under who waits"
            )
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
    for alias, name in ALIASES.items():
        if (value := given.get(alias)) and given.setdefault(name, value) != value:
            lines.append(f"{alias}={value}: is another value than {name}={given[name]}; unset one")

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
