"""`sessioncast job run thread-cleanup`, as a process of its own, with a server at work on the database and without."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sessioncast.cli.app import build
from support.api import problem
from support.chat import Talk
from support.chatnode import House, Stored, house_of, key_of
from support.chatwatcher import Watcher
from support.threads import READ_ALL

OLD = 8 * 24
JOB = ("job", "run", "thread-cleanup")


def does(url: str) -> str:
    """What the command says that it did, as a process of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SESSIONCAST_", "AGENT_SESSION_"))}
    done = subprocess.run(
        [sys.executable, "-m", "sessioncast", *JOB, "--database-url", url],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=kept,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def does_here(url: str, **env: str) -> str:
    """The same in this process, with settings."""
    done = CliRunner().invoke(build(), [*JOB, "--database-url", url], env=env)
    assert (done.exit_code, done.stderr) == (0, "")
    return str(done.stdout.strip())


def refused(url: str, name: str = JOB[-1]) -> str:
    """Why it does nothing."""
    done = CliRunner().invoke(build(), [*JOB[:-1], name, "--database-url", url])
    assert (done.exit_code, done.stdout) == (2, "")
    return done.stderr


def aged(house: House, *talks: Talk) -> None:
    """Let threads be idle for eight days."""
    for talk in talks:
        house.stored.age(key_of(talk), OLD)


def numbers(events: list[dict[str, Any]]) -> list[int]:
    """Offsets of logged events."""
    return [int(event["position"].partition(":")[2]) for event in events if "position" in event]


def whole(talk: Talk) -> int:
    """How many events the log of the project has, once none is missing."""
    found = numbers(talk.api.acting(scopes=READ_ALL).events(talk.project))
    assert found == list(range(1, len(found) + 1))
    return len(found)


def shown(watcher: Watcher, kind: str) -> list[Any]:
    """What a watcher saw of a type: the messages' `seq`, or the threads' ids."""
    events = [event["data"] for event in tuple(watcher.events) if event["type"] == kind]
    return [data.get("seq", data["id"]) for data in events]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_idle_threads_go_whoever_is_at_work(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Servers that chat meanwhile lose and double nothing, and their watchers see who went; with the servers stopped it
    works as well; the settings say what is idle."""
    with house_of(request, tmp_path_factory, kind) as house:
        talk = house.talk()
        talk.say("first")
        old = [talk.beside() for _ in range(10)]
        for one in old:
            one.made()
        aged(house, *old[1:])
        with Watcher(talk.api, talk.project, talk.id, *(one.id for one in old)) as watcher:
            with ThreadPoolExecutor(1) as pool:
                job = pool.submit(does, house.stored.url)
                said = 0
                while not job.done():
                    talk.say(f"meanwhile {said}")
                    said += 1
            assert job.result() == "9 idle threads deleted"
            last = talk.appended("last")[0]["seq"]
            watcher.until(lambda: shown(watcher, "message.created")[-1:] == [last], "the last message")
            assert sorted(shown(watcher, "thread.deleted")) == sorted(one.id for one in old[1:])
            assert shown(watcher, "message.created") == list(range(3, last + 1))
            assert numbers(watcher.events) == list(range(numbers(watcher.events)[0], whole(talk) + 1))
            assert "resync" not in watcher.told
        problem(old[1].api.get(old[1].path), 404, "not_found")
        assert house.node.stop() == 0
        aged(house, old[0])
        assert does_here(house.stored.url, SESSIONCAST_THREAD_RETENTION_DAYS="9") == "0 idle threads deleted"
        assert does_here(house.stored.url, AGENT_SESSION_RETENTION_DAYS="9") == "0 idle threads deleted"
        assert does(house.stored.url) == "1 idle thread deleted"
        house.node.start()
        problem(old[0].api.get(old[0].path), 404, "not_found")
        talk.say("after the start")
        assert whole(talk) > last


def test_it_says_what_is_wrong(sqlite_url: str, postgres_url: str, tmp_path: Path) -> None:
    """A job that there is not, a database that is not there or does not answer, a schema that is too old: status 2, one
    line that says so, and nothing is made or changed."""
    assert (
        refused(sqlite_url, "thread-clean") == "sessioncast: there is no job 'thread-clean'; there is thread-cleanup\n"
    )
    assert "there is no such file" in refused(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()
    assert refused("postgresql://postgres@127.0.0.1:1/none").startswith("sessioncast: ")
    told = refused(postgres_url)
    assert "the schema is at nothing" in told
    assert "sessioncast migrate" in told
    Stored(sqlite_url).run("UPDATE alembic_version SET version_num = '0003'")
    assert "the schema is at 0003" in refused(sqlite_url)
