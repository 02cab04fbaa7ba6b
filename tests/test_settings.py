"""Settings: what is accepted, what is refused, and how the refusal reads."""

from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sessioncast_server.settings import (
    PREFIX,
    Settings,
    SettingsError,
    describe,
    env_example,
    is_loopback,
    load,
)

ROOT = Path(__file__).resolve().parent.parent
SECRET = "s" * 32


def refusal(environ: dict[str, str], **overrides: object) -> list[str]:
    """The lines of the refusal."""
    with pytest.raises(SettingsError) as caught:
        load(environ, **overrides)
    return str(caught.value).splitlines()


def test_nothing_set_makes_an_open_server_on_loopback_with_a_sqlite_file() -> None:
    """The defaults are those that the interface promises."""
    settings = load({})
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8080, "sqlite:///data/sessioncast.db")
    assert settings.open_mode
    assert settings.is_sqlite
    assert settings.redis_url is None
    assert (settings.ring_events, settings.ring_bytes, settings.ring_total_bytes) == (4096, 1 << 20, 256 << 20)


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load()` takes os.environ."""
    monkeypatch.setenv("SESSIONCAST_PORT", "9001")
    assert load().port == 9001


def test_an_override_wins_over_the_environment_and_none_is_no_override() -> None:
    """Command-line arguments are overrides; those not given change nothing."""
    assert load({"SESSIONCAST_PORT": "9001"}, port=9002, host=None).port == 9002
    assert load({"SESSIONCAST_PORT": "9001"}, port=None).port == 9001


def test_an_empty_variable_counts_as_not_set() -> None:
    """Compose files pass empty texts for what is not set."""
    assert load({"SESSIONCAST_REDIS_URL": "", "SESSIONCAST_PORT": ""}).port == 8080


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen."""
    settings = load({})
    with pytest.raises(ValidationError):
        settings.port = 1


def test_the_other_database_variable_means_a_sqlite_file() -> None:
    """AGENT_SESSION_DB_PATH is understood, relative and absolute."""
    assert load({"AGENT_SESSION_DB_PATH": "p.db"}).database_url == "sqlite:///p.db"
    assert load({"AGENT_SESSION_DB_PATH": "/p.db"}).database_url == "sqlite:////p.db"
    both = {"AGENT_SESSION_DB_PATH": "p.db", "SESSIONCAST_DATABASE_URL": "sqlite:///p.db"}
    assert load(both).database_url == "sqlite:///p.db"


def test_two_different_databases_are_refused_without_showing_the_password() -> None:
    """Both variables set and different refuses to start, naming both."""
    (line,) = refusal({"AGENT_SESSION_DB_PATH": "p.db", "SESSIONCAST_DATABASE_URL": "postgresql://u:hidden@h/d"})
    assert line == (
        "AGENT_SESSION_DB_PATH=p.db: means another database than "
        "SESSIONCAST_DATABASE_URL=postgresql://u:********@h/d; unset one"
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PORT", "abc", "Input should be a valid integer, unable to parse string as an integer"),
        ("PORT", "70000", "Input should be less than or equal to 65535"),
        ("HEARTBEAT_S", "nan", "Input should be a finite number"),
        ("DRAIN_S", "0", "Input should be greater than 0"),
        ("HEARTBEAT_S", "0.04", "Input should be greater than or equal to 0.05"),
        ("WS_PING_S", "0.04", "Input should be greater than or equal to 0.05"),
        ("FLUSH_SLICE_S", "0", "Input should be greater than or equal to 0.0001"),
        ("FLUSH_SLICE_S", "1.1", "Input should be less than or equal to 1"),
        ("FLUSH_SLICE_S", "nan", "Input should be less than or equal to 1"),
        ("TCP_USER_TIMEOUT_S", "0.5", "Input should be greater than or equal to 1"),
        ("TCP_USER_TIMEOUT_S", "86401", "Input should be less than or equal to 86400"),
        ("UNSENT_BYTES", "1073741825", "Input should be less than or equal to 1073741824"),
        ("WRITE_HIGH_WATER_BYTES", "1073741825", "Input should be less than or equal to 1073741824"),
        ("WRITE_LOW_WATER_BYTES", "32769", "more than SESSIONCAST_WRITE_HIGH_WATER_BYTES=32768"),
        ("HEARTBEAT_S", "1e99", "Input should be less than or equal to 31622400"),
        ("BODY_MAX_BYTES", "-1", "Input should be greater than or equal to 1024"),
        ("LOG", "xml", "Input should be 'console' or 'json'"),
        ("LOG_LEVEL", "loud", "Input should be 'debug', 'info', 'warning' or 'error'"),
        ("LANE", "fast", "Input should be 'auto' or 'portable'"),
        ("DATABASE_URL", "mysql://h/d", "must be sqlite:///PATH or postgresql://USER@HOST/DATABASE"),
        ("DATABASE_URL", "postgresql://h", "must be sqlite:///PATH or postgresql://USER@HOST/DATABASE"),
        (
            "DATABASE_URL",
            "sqlite:///:memory:",
            "needs the path of a file; a database in memory would not keep what it acknowledged",
        ),
        ("REDIS_URL", "http://h", "must be redis://HOST, rediss://HOST or unix:///PATH"),
        ("REDIS_URL", "redis://h:0", "Port must not be 0"),
        ("JWKS_URL", "ftp://h/keys", "must be http://… or https://…"),
        ("ALLOWED_ORIGINS", "https://a.b/", "'https://a.b/' is no origin; write it as https://console.example.com"),
        ("RESUME_CHANGED_SHARE", "1.1", "Input should be less than or equal to 1"),
        ("RESUME_CHANGED_SHARE", "nan", "Input should be less than or equal to 1"),
        ("RESUME_WAIT_S", "61", "Input should be less than or equal to 60"),
        ("TURN_LEASE_S", "0.5", "Input should be greater than or equal to 1"),
        ("PROVIDER_LEASE_S", "3601", "Input should be less than or equal to 3600"),
        ("TURN_LOOK_S", "0", "Input should be greater than or equal to 0.05"),
        ("RING_BYTES", "536870912", "more than SESSIONCAST_RING_TOTAL_BYTES"),
    ],
)
def test_a_bad_value_is_refused_naming_variable_value_and_reason(name: str, value: str, reason: str) -> None:
    """One line per mistake: VARIABLE=value: reason."""
    assert refusal({PREFIX + name: value}) == [f"{PREFIX}{name}={value}: {reason}"]


def test_every_mistake_is_told_at_once() -> None:
    """A second start is not needed to learn of the second mistake."""
    assert len(refusal({"SESSIONCAST_PORT": "x", "SESSIONCAST_LANE": "x", "SESSIONCAST_BOGUS": "x"})) == 3


def test_a_bad_override_is_named_like_its_variable() -> None:
    """`--port 99999` reads like SESSIONCAST_PORT=99999; an override that does not exist is told."""
    assert refusal({}, port=99999) == ["SESSIONCAST_PORT=99999: Input should be less than or equal to 65535"]
    assert refusal({}, bogus=1) == ["bogus: there is no such setting"]


def test_secrets_are_never_shown() -> None:
    """Neither a refusal nor the settings' own text holds a secret or a password."""
    lines = refusal({"SESSIONCAST_JWT_SECRET": "tooshort", "SESSIONCAST_REDIS_URL": "http://u:hidden@h"})
    assert "SESSIONCAST_JWT_SECRET=********: must have at least 32 bytes (RFC 7518, section 3.2)" in lines
    assert "hidden" not in "".join(lines)
    assert "tooshort" not in "".join(lines)
    settings = load({"SESSIONCAST_JWT_SECRET": SECRET, "SESSIONCAST_REDIS_URL": "redis://u:hidden@h"})
    assert SECRET not in repr(settings)
    assert "hidden" not in repr(settings)


def test_an_unknown_variable_is_refused_with_what_was_probably_meant() -> None:
    """A typing mistake does not silently leave a default in force; the client's variables are no mistake."""
    (line,) = refusal({"SESSIONCAST_DATABSE_URL": "sqlite:///x"})
    assert line == "SESSIONCAST_DATABSE_URL: there is no such setting; did you mean SESSIONCAST_DATABASE_URL?"
    (line,) = refusal({"SESSIONCAST_ZZZ": "1"})
    assert line == "SESSIONCAST_ZZZ: there is no such setting; `sessioncast settings` lists them all"
    assert load({"SESSIONCAST_URL": "http://h", "SESSIONCAST_TOKEN": "t", "OTHER": "x"}).port == 8080


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", "localhost.example.com"])
def test_open_mode_refuses_to_listen_beyond_this_machine(host: str) -> None:
    """Without a secret or a key set only loopback is listened on; with one, anything."""
    (line,) = refusal({"SESSIONCAST_HOST": host})
    assert line.startswith(f"SESSIONCAST_HOST={host}: without SESSIONCAST_JWT_SECRET or SESSIONCAST_JWKS_URL")
    assert load({"SESSIONCAST_HOST": host, "SESSIONCAST_JWT_SECRET": SECRET}).host == host
    assert not load({"SESSIONCAST_HOST": host, "SESSIONCAST_JWKS_URL": "https://idp.example/keys"}).open_mode


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_every_spelling_of_loopback_is_known(host: str) -> None:
    """Loopback is recognised as address and as name."""
    assert is_loopback(host)
    assert load({"SESSIONCAST_HOST": host}).open_mode


def test_two_ways_to_verify_tokens_are_refused() -> None:
    """A secret beside a key set is a mistake: one of them would be a forgotten back door."""
    (line,) = refusal({"SESSIONCAST_JWT_SECRET": SECRET, "SESSIONCAST_JWKS_URL": "https://idp.example/keys"})
    assert line == "SESSIONCAST_JWKS_URL and SESSIONCAST_JWT_SECRET are both set; set one of them"


def test_origins_are_a_comma_list_in_lower_case() -> None:
    """Spaces and empty parts do not matter; browsers send origins in lower case."""
    settings = load({"SESSIONCAST_ALLOWED_ORIGINS": "https://A.example, http://b.example:3000,"})
    assert settings.allowed_origins == ("https://a.example", "http://b.example:3000")


def test_every_setting_says_what_it_means() -> None:
    """The list names every field once, with a meaning."""
    rows = describe()
    assert [name for name, _, _ in rows] == [PREFIX + field.upper() for field in Settings.model_fields]
    assert all(len(meaning) > 10 for _, _, meaning in rows)


def test_a_setting_belongs_to_one_group() -> None:
    """No group redefines a field of another, and none is outside the groups."""
    names = [name for group in Settings.__bases__ for name in group.__annotations__ if name in Settings.model_fields]
    assert sorted(names) == sorted(Settings.model_fields)


def test_settings_are_listed_by_subject() -> None:
    """The list begins with where a node listens, and keeps the fields of a group together."""
    listed = [name.removeprefix(PREFIX).lower() for name, _, _ in describe()]
    assert listed[:2] == ["host", "port"]
    groups = {name: group for group in Settings.__bases__ for name in group.__annotations__}
    assert len([kept for kept, _ in groupby(listed, key=groups.get)]) == len({groups[name] for name in listed})


def test_the_defaults_shown_are_accepted_when_set() -> None:
    """Setting every variable to its shown default changes nothing."""
    shown = {name: default for name, default, _ in describe() if default}
    assert load(shown).model_dump() == load({}).model_dump()


def test_the_example_file_is_up_to_date() -> None:
    """`.env.example` is what `sessioncast settings` writes."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example()


@given(name=st.sampled_from(sorted(Settings.model_fields)), value=st.text(max_size=40))
def test_no_text_in_any_variable_breaks_the_refusal(name: str, value: str) -> None:
    """Whatever a variable holds, it is accepted or refused by a SettingsError that names a variable."""
    try:
        load({PREFIX + name.upper(): value})
    except SettingsError as error:
        text = str(error)
    else:
        text = PREFIX
    assert PREFIX in text
