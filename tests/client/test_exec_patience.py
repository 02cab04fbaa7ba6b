"""What `sessioncast exec` tells while a session cannot be taken yet, and when it cannot be taken at all."""

import asyncio
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from sessioncast import Client, ConnectionLost
from sessioncast.cli.patience import Patience
from sessioncast.problems import problem_error
from sessioncast_shared import texts
from support.command import Command
from support.node import NodeFactory
from support.samples import AT, SESSION
from support.scripted import Reply, ScriptedServer
from support.waiting import until

PROJECT = Reply(200, {"id": "default", "created_at": AT})
STARTED = {"outcome": "created", "session": SESSION}


def busy() -> Reply:
    """Another one keeps the task locked."""
    document = {"code": "session_being_modified", "detail": texts.BUSY, "retryable": True, "request_id": "r7"}
    return Reply(409, document, {"Retry-After": "1"})


def command(folder: Path, server: ScriptedServer) -> Command:
    """A command for a task that is there already."""
    return Command(folder, server.url, "exec", "--task", str(uuid4()), "--", "echo", "it ran")


async def test_a_busy_session_is_waited_for_and_told_of_once(server: ScriptedServer, tmp_path: Path) -> None:
    """While others keep it locked the person reads why, once; then the command runs as if nothing had been."""
    server.say(PROJECT, *[busy()] * 5, Reply(201, STARTED), Reply(200, SESSION))
    server.say(Reply(200, {"first": 1, "last": 1}), Reply(200, SESSION))
    async with command(tmp_path, server) as running:
        assert await running.ended() == 0
    assert running.out == "it ran\n"
    assert running.err.count(texts.BUSY) == 1
    assert running.err.index("trying again") < running.err.index("session s\n")


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (409, "session_being_modified", texts.BUSY),
        (503, "create_failed", texts.CREATE_FAILED),
        (422, "model_not_found", texts.MODEL_MISSING),
    ],
)
async def test_what_cannot_be_taken_ends_with_the_servers_words(
    server: ScriptedServer, tmp_path: Path, status: int, code: str, text: str
) -> None:
    """At the end there is the exact text, in one line, and the status that says «not run»."""
    document = {"code": code, "detail": text, "retryable": status != 422, "request_id": "r7"}
    server.say(PROJECT, Reply(status, document, {"Retry-After": "100"}))
    async with command(tmp_path, server) as running:
        assert await running.ended() == 125
    assert running.out == ""
    assert running.err == f"sessioncast: {text} ({code}, request r7)\n"


async def test_somebody_who_keeps_the_task_locked_is_waited_for(
    node_factory: NodeFactory, migrated_postgres_url: str, tmp_path: Path
) -> None:
    """With a real lock on the task in PostgreSQL the command tells that it is busy, and runs once the lock is gone."""
    env = {"SESSIONCAST_DATABASE_URL": migrated_postgres_url, "SESSIONCAST_LOCK_TIMEOUT_S": "1"}
    node = await node_factory(env=env)
    async with Client(node.url) as client:
        await client.projects.put("default")
        task = await client.tasks.create("default", "T")
    with psycopg.connect(migrated_postgres_url) as other:
        other.execute("SELECT id FROM task WHERE id = %s FOR NO KEY UPDATE", [task.id])
        async with Command.exec(tmp_path, node.url, "echo", "it ran") as running:
            await running.told(f"{texts.BUSY} (session_being_modified")
            assert running.out == ""
            other.rollback()
            assert await running.ended() == 0
    assert running.out == "it ran\n"


async def test_reasons_are_told_only_while_somebody_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in the first moments, each reason once from then on, nothing after the waiting has ended."""
    again = problem_error(503, {"code": "unavailable", "detail": texts.UNAVAILABLE, "request_id": "1"})
    patience = Patience(slow_s=0)
    patience.retrying(again)
    assert capsys.readouterr().err == ""
    patience.start()
    patience.retrying(again)
    told = ""

    def heard(text: str) -> bool:
        nonlocal told
        told += capsys.readouterr().err
        return text in told

    await until(lambda: heard(texts.UNAVAILABLE), "the first reason")
    patience.retrying(problem_error(503, {"code": "unavailable", "detail": texts.UNAVAILABLE, "request_id": "2"}))
    patience.retrying(ConnectionLost("http://x", "refused"))
    assert heard("sessioncast: no answer from http://x: refused; trying again\n")
    assert told.count("\n") == 2
    patience.stop()
    patience.retrying(problem_error(502, {}))
    assert capsys.readouterr().err == ""


async def test_a_silent_server_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was refused, because nothing was answered, that is what is told."""
    patience = Patience(slow_s=0)
    patience.start()
    await until(lambda: "waiting for the server" in capsys.readouterr().err, "a line")
    patience.stop()


async def test_where_waiting_is_wanted_silence_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever follows something waits for a long time, and hears of what went wrong only."""
    patience = Patience(slow_s=0, reasons_only=True)
    patience.start()
    told = ""

    def heard() -> bool:
        nonlocal told
        # Told at once only when the wait is long already: until then it is tried again.
        patience.retrying(ConnectionLost("http://x", "refused"))
        told += capsys.readouterr().err
        return bool(told)

    await asyncio.sleep(0)
    assert capsys.readouterr().err == ""
    await until(heard, "the reason")
    patience.stop()
    assert told == "sessioncast: no answer from http://x: refused; trying again\n"
