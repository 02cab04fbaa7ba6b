"""Settings of threads, by their names of today and of before."""

import pytest
from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.parts import thread_terms
from sessioncast_server.settings import SettingsError, load
from support.api import Api, problem
from support.chat import Talk
from support.node import PATIENT
from support.threads import Chat, said

NAMES = {
    "AGENT_SESSION_MAX_MESSAGES": ("SESSIONCAST_THREAD_MAX_MESSAGES", "thread_max_messages", 3),
    "AGENT_SESSION_RETENTION_DAYS": ("SESSIONCAST_THREAD_RETENTION_DAYS", "thread_retention_days", 0.5),
    "AGENT_SESSION_CLEANUP_HOUR": ("SESSIONCAST_THREAD_CLEANUP_HOUR", "thread_cleanup_hour", 23),
}


def test_what_is_kept_when_nothing_is_said() -> None:
    """200 messages, seven days, cleaned at 02:00 UTC."""
    settings = load({})
    assert (settings.thread_max_messages, settings.thread_retention_days, settings.thread_cleanup_hour) == (200, 7, 2)
    assert thread_terms(settings).keep.total_seconds() == 7 * 86400


@pytest.mark.parametrize("alias", NAMES)
def test_the_names_of_before_work(alias: str) -> None:
    """Each means the setting of today; both may be set if they say the same."""
    name, field, value = NAMES[alias]
    assert getattr(load({alias: str(value)}), field) == value
    assert getattr(load({name: str(value)}), field) == value
    assert getattr(load({alias: str(value), name: str(value)}), field) == value
    assert getattr(load({alias: "", name: str(value)}), field) == value


@pytest.mark.parametrize("alias", NAMES)
def test_two_values_are_none(alias: str) -> None:
    """Both set and different: the server does not start, and says which two."""
    name, _, value = NAMES[alias]
    with pytest.raises(SettingsError) as caught:
        load({alias: str(value), name: "9"})
    assert str(caught.value) == f"{alias}={value}: is another value than {name}=9; unset one"


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("THREAD_MAX_MESSAGES", ["0", "-1", "1.5", "many", "2147483648"]),
        ("THREAD_RETENTION_DAYS", ["0", "-1", "nan", "inf", "36501", "x"]),
        ("THREAD_CLEANUP_HOUR", ["-1", "24", "2.5", "noon"]),
        ("THREAD_WAIT_S", ["-1", "60.1", "nan"]),
        ("THREAD_LEASE_S", ["0.9", "3601", "nan"]),
        ("RESPONDER", ["module", ":f", "m:", "m:f()", "m f", "1:f", "../m:f", "m:f:g"]),
        ("RESPONDER_DEADLINE_S", ["0", "-1", "inf", "nan"]),
        ("RESPONDER_MAX_BYTES", ["0", "1023"]),
        ("RESPONDER_THREADS", ["0", "-1"]),
    ],
)
def test_values_that_cannot_be(name: str, bad: list[str]) -> None:
    """What is out of bounds is refused in one line that begins with the variable and the value."""
    for value in bad:
        with pytest.raises(SettingsError) as caught:
            load({f"SESSIONCAST_{name}": value})
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"SESSIONCAST_{name}={value}: "), line


def test_a_server_goes_by_them(sqlite_url: str) -> None:
    """With the name of before set to 3, three messages stay."""
    environ = {**PATIENT, "SESSIONCAST_DATABASE_URL": sqlite_url, "AGENT_SESSION_MAX_MESSAGES": "3"}
    application = Application(load({**environ, "AGENT_SESSION_RETENTION_DAYS": "1"}))
    with TestClient(application.asgi, base_url="http://localhost") as client:
        chat = Chat.begin(Api("http://localhost", database="sqlite", shared=client))
        assert chat.api.ok(chat.append(said(*range(5))), 201)["pruned"] == 2
        assert chat.contents() == [2, 3, 4]
        thread = chat.get()
        assert thread["expires_at"][:10] > thread["last_activity_at"][:10]
        assert thread["expires_at"][10:] == thread["last_activity_at"][10:]


def test_who_says_nothing_waits_as_it_is_set(sqlite_url: str) -> None:
    """Without `wait_s` and `lease_s` requests, chats among them, wait and live as long as the settings say."""
    times = {"SESSIONCAST_THREAD_WAIT_S": "0", "SESSIONCAST_THREAD_LEASE_S": "5"}
    application = Application(load({**PATIENT, **times, "SESSIONCAST_DATABASE_URL": sqlite_url}))
    with TestClient(application.asgi, base_url="http://localhost") as client:
        talk = Talk.begin(Api("http://localhost", database="sqlite", shared=client))
        run = talk.api.ok(talk.post("runs"), 201)
        assert run["lease_s"] == 5
        answers = (talk.append(said(1)), talk.post("pop"), talk.post("clear"), talk.post("runs"), talk.send("hello"))
        for answer in answers:
            assert problem(answer, 409, "session_being_modified")["ahead"] == 1
        assert talk.contents() == []
        talk.end(run["id"])
        talk.say("hello")
