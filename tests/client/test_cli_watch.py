"""`sessioncast watch`: what it writes for programs, and what its table shows."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sessioncast import Client, Task, Usage
from support.command import Command
from support.node import NodeProcess
from support.providing import given
from support.terminal import CTRL_C, Terminal
from support.waiting import until


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.fixture
async def task(client: Client) -> Task:
    """A task in a project of its own."""
    project = given("p")
    await client.projects.put(project)
    return await client.tasks.create(project, "T")


def objects(command: Command) -> list[dict[str, Any]]:
    """The JSON objects that it wrote until now, one a line."""
    return [json.loads(line) for line in command.out.splitlines()]


@pytest.mark.parametrize("transport", ["auto", "websocket", "sse", "poll"])
async def test_programs_get_an_object_a_line(
    node: NodeProcess, client: Client, task: Task, tmp_path: Path, transport: str
) -> None:
    """The present state, then each change with the whole resource, over whatever transport; states in between."""
    wish = ("watch", task.project_id, "--json", "--transport", transport)
    async with Command(tmp_path, node.url, *wish) as watcher:
        await watcher.wrote('"type": "snapshot"')
        session = (await client.sessions.start(task.id, "plan", "m")).session
        running = await client.sessions.patch(session.id, status="running")
        await client.sessions.append(session.id, [("log", "not of a project's view\n")])
        await client.sessions.delete(session.id)
        await watcher.wrote("session.deleted")
        watcher.send(signal.SIGTERM)
        assert await watcher.ended() == 130
    told = objects(watcher)
    (snapshot,) = [one for one in told if one["type"] == "snapshot"]
    assert snapshot["tasks"] == [task.model_dump(mode="json")]
    assert (snapshot["sessions"], snapshot["provider_sessions"], snapshot["too_large"]) == ([], [], False)
    changes = [one for one in told if one["type"] == "change"]
    assert [(one["event"], one["kind"], one["id"]) for one in changes] == [
        (f"session.{what}", "session", session.id) for what in ("created", "updated", "deleted")
    ]
    assert changes[1]["data"] == running.model_dump(mode="json")
    offsets = [int(one["position"].rpartition(":")[2]) for one in (snapshot, *changes)]
    assert offsets == sorted(set(offsets))
    states = [one for one in told if one["type"] == "state"]
    assert "open" in [one["state"] for one in states]
    assert {one["type"] for one in told} == {"snapshot", "change", "state"}


async def test_programs_get_the_output_piece_by_piece(
    node: NodeProcess, client: Client, task: Task, tmp_path: Path
) -> None:
    """Of a task or session that is named, also what was said before; each piece once."""
    session = (await client.sessions.start(task.id, "run", "m")).session
    await client.sessions.append(session.id, [("log", "before\n")])
    wish = ("watch", task.project_id, "--session", session.id, "--json", "--until-done")
    async with Command(tmp_path, node.url, *wish) as watcher:
        await watcher.wrote("before")
        await client.sessions.append(session.id, [("result", "after\n")])
        await client.sessions.patch(session.id, status="running")
        await client.sessions.patch(session.id, status="completed")
        assert await watcher.ended() == 0
    said = [one for one in objects(watcher) if one["type"] == "output"]
    assert [(one["seq"], one["stream"], one["text"]) for one in said] == [
        (1, "log", "before\n"),
        (2, "result", "after\n"),
    ]
    assert {one["session_id"] for one in said} == {session.id}


async def test_a_server_that_goes_is_a_state(node: NodeProcess, client: Client, task: Task, tmp_path: Path) -> None:
    """Programs are told when nothing is heard, and why, and when it is again; what happened comes after."""
    async with Command(tmp_path, node.url, "watch", task.project_id, "--json") as watcher:
        await watcher.wrote('"type": "snapshot"')
        node.kill()
        await watcher.wrote('"state": "waiting"')
        node.launch()
        await until(node.is_ready, "the node")
        await client.tasks.patch(task.id, title="New")
        await watcher.wrote('"task.updated"')
    states = [(one["state"], bool(one["why"])) for one in objects(watcher) if one["type"] == "state"]
    assert ("waiting", True) in states
    assert states[-1] == ("open", False)


async def test_the_table_shows_what_there_is_at_a_glance(
    node: NodeProcess, client: Client, task: Task, tmp_path: Path
) -> None:
    """Task, phase, model, status and tokens, as they change; Ctrl-C leaves the terminal as it was."""
    session = (await client.sessions.start(task.id, "run", "a-model")).session
    async with Terminal(tmp_path, node.url, "watch", task.project_id) as terminal:
        before = terminal.modes
        await terminal.shows("a-model")
        use = await client.providers.open(session.id, "iteration")
        await client.providers.patch(use.id, usage=Usage(tokens=12345))
        await client.sessions.patch(session.id, status="waiting")
        await terminal.shows("12,345")
        await terminal.shows("waiting")
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130
        assert terminal.modes == before
