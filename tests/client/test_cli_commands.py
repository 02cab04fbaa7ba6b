"""`sessioncast list`, `start`, `tail` and `export`, against a real node."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sessioncast import Client, Session, Task
from sessioncast_shared import texts
from support.command import Command
from support.node import NodeProcess
from support.providing import given
from support.terminal import Terminal
from support.waiting import DEADLINE_S


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
    return await client.tasks.create(project, "A\ttitle")


@pytest.fixture
async def session(client: Client, task: Task) -> Session:
    """A session of it, which said five lines in four pieces."""
    session = (await client.sessions.start(task.id, "run", "m")).session
    chunks = [("log", text) for text in ("one\n", "two\nthree\n", "fo", "ur\nfive")]
    await client.sessions.append(session.id, chunks)
    return await client.sessions.get(session.id)


class Shell:
    """Runs commands in a folder, to their end."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    async def run(self, *arguments: str, code: int = 0) -> Command:
        """A command that ended with this exit code."""
        async with Command(self.folder, self.url, *arguments) as command:
            assert await command.ended() == code, command.err
        assert "Traceback" not in command.err
        return command


@pytest.fixture
def shell(tmp_path: Path, node: NodeProcess) -> Shell:
    """A shell in an empty folder."""
    return Shell(tmp_path, node.url)


def objects(command: Command) -> list[dict[str, Any]]:
    """The JSON objects that it wrote, one a line."""
    return [json.loads(line) for line in command.out.splitlines()]


async def test_tasks_and_sessions_are_listed(shell: Shell, client: Client, task: Task, session: Session) -> None:
    """By tabs for people's tools, as the server's own documents for programs; of a project, or of one task."""
    project = ("--project", task.project_id)
    other = await client.tasks.create(task.project_id, "B")
    debug = (await client.sessions.start(other.id, "plan", "m2", debug=True)).session
    tasks = {one["id"]: one for one in objects(await shell.run("list", *project, "--json"))}
    assert tasks == {one.id: one.model_dump(mode="json") for one in (task, other)}
    plain = (await shell.run("list", "tasks", *project)).out.splitlines()
    assert sorted(line.split("\t")[:2] for line in plain) == sorted([[task.id, "A title"], [other.id, "B"]])
    found = {one["id"]: one for one in objects(await shell.run("list", "sessions", *project, "--json"))}
    assert found == {one.id: one.model_dump(mode="json") for one in (session, debug)}
    plain = (await shell.run("list", "sessions", *project, "--task", other.id)).out.splitlines()
    assert [line.split("\t")[:5] for line in plain] == [[debug.id, other.id, "plan.debug", "pending", "m2"]]


async def test_a_list_on_a_terminal_is_a_table(shell: Shell, task: Task, session: Session) -> None:
    """Its columns stand below their names, and ids can be taken from it."""
    async with Terminal(shell.folder, shell.url, "list", "sessions", "--project", task.project_id) as terminal:
        assert await terminal.ended() == 0
        head, row = terminal.screen.splitlines()
    for name, cell in (("SESSION", session.id), ("TASK", task.id), ("PHASE", "run"), ("STATUS", "pending")):
        assert row[head.index(name) :].startswith(f"{cell} ")


async def test_a_session_is_started_once(shell: Shell, client: Client, task: Task) -> None:
    """Its id is what is written; the same again finds it; what became of it is for people, or in the JSON."""
    project = ("--project", task.project_id)
    first = await shell.run("start", task.id, "implement", "m", *project)
    session = await client.sessions.get(first.out.strip())
    assert (session.phase, session.model["name"]) == ("run", "m")
    assert "created" in first.err
    second = await shell.run("start", task.id, "run", "m", "--json", *project)
    (told,) = objects(second)
    assert (told["outcome"], told["session"]["id"]) == ("existing", session.id)
    assert texts.SAME_MODEL in second.err
    named = await shell.run(
        "start", "New", "plan", "m", "--agent", "a", "--agent", "b", "--model-version", "2", *project
    )
    new = await client.sessions.get(named.out.strip())
    assert (new.agent, new.model) == (["a", "b"], {"name": "m", "version": "2"})
    assert (await client.tasks.get(new.task_id)).title == "New"


async def test_an_active_session_is_replaced_when_it_is_said(shell: Shell, client: Client, task: Task) -> None:
    """Refused unasked, with status 1; done with --replace; one that has ended goes without a word."""
    old = (await client.sessions.start(task.id, "run", "m")).session
    project = ("--project", task.project_id)
    refused = await shell.run("start", task.id, "run", "other", *project, code=1)
    assert refused.out == ""
    assert f"session {old.id} (pending) is active; --replace to replace it" in refused.err
    new = (await shell.run("start", task.id, "run", "other", "--replace", *project)).out.strip()
    assert (await client.sessions.get(old.id)).replaced_by == new
    again = (await shell.run("start", task.id, "run", "other", "--restart", "--replace", *project)).out.strip()
    assert again != new
    await client.sessions.patch(again, status="running")
    await client.sessions.patch(again, status="completed")
    last = (await shell.run("start", task.id, "run", "third", *project)).out.strip()
    assert (await client.sessions.get(again)).replaced_by == last


async def test_the_person_at_the_terminal_is_asked(shell: Shell, client: Client, task: Task) -> None:
    """As by `exec`: a yes replaces what was shown."""
    old = (await client.sessions.start(task.id, "run", "m")).session
    wish = ("start", task.id, "run", "other", "--project", task.project_id)
    for answer, code in (("n", 1), ("y", 0)):
        async with Terminal(shell.folder, shell.url, *wish) as terminal:
            await terminal.shows(texts.CONFIRM)
            terminal.type(f"{answer}\n")
            assert await terminal.ended() == code
        assert ((await client.sessions.get(old.id)).replaced_by is None) is (code == 1)


@pytest.mark.parametrize(
    ("lines", "text"),
    [(0, ""), (1, "five"), (2, "four\nfive"), (3, "three\nfour\nfive"), (9, "one\ntwo\nthree\nfour\nfive")],
)
async def test_the_last_lines_are_lines(shell: Shell, session: Session, lines: int, text: str) -> None:
    """However they were cut into pieces."""
    assert (await shell.run("tail", session.id, "--no-follow", "--lines", str(lines))).out == text


async def test_output_is_followed_to_the_end(shell: Shell, client: Client, session: Session) -> None:
    """From the lines asked for on, each piece once, until the session has ended; in JSON piece by piece."""
    async with (
        Command(shell.folder, shell.url, "tail", session.id, "--lines", "1") as plain,
        Command(shell.folder, shell.url, "tail", session.id, "--json") as full,
    ):
        await plain.wrote("five")
        await full.wrote("five")
        await client.sessions.append(session.id, [("result", " six\n"), ("log", "seven\n")])
        await client.sessions.patch(session.id, status="running")
        await client.sessions.patch(session.id, status="completed")
        assert await plain.ended() == 0
        assert await full.ended() == 0
    assert plain.out == "five six\nseven\n"
    told = objects(full)
    assert [(one["seq"], one["stream"]) for one in told[3:]] == [(4, "log"), (5, "result"), (6, "log")]
    assert {(one["type"], one["session_id"]) for one in told} == {("output", session.id)}


async def test_following_ends_with_a_session_that_goes(shell: Shell, client: Client, session: Session) -> None:
    """One that is deleted while it is followed, and one that was before, are read to their end."""
    async with Command(shell.folder, shell.url, "tail", session.id) as command:
        await command.wrote("five")
        await client.sessions.append(session.id, [("log", " last")])
        await client.sessions.delete(session.id)
        assert await command.ended() == 0
    assert command.out.endswith("five last")
    assert (await shell.run("tail", session.id)).out == command.out


async def test_following_is_stopped_by_a_key(shell: Shell, session: Session) -> None:
    """Ctrl-C leaves with 130, and no traceback."""
    async with Command(shell.folder, shell.url, "tail", session.id) as command:
        await command.wrote("five")
        command.send(signal.SIGINT)
        assert await command.ended() == 130
    assert command.err == ""


async def test_an_export_is_the_servers_document(shell: Shell, client: Client, session: Session) -> None:
    """To stdout, or to a file whole or not at all."""
    document = await client.sessions.export(session.id)
    (written,) = objects(await shell.run("export", session.id))
    assert written["output"] == document["output"]
    file = shell.folder / "it.json"
    (told,) = objects(await shell.run("export", session.id, "-o", str(file), "--json"))
    assert told == {"session_id": session.id, "file": str(file), "bytes": file.stat().st_size}
    assert json.loads(file.read_text())["session"]["id"] == session.id
    refused = await shell.run("export", session.id, "-o", str(shell.folder / "none" / "it.json"), code=1)
    assert "not exported" in refused.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("export", "0b9d3c8e-0000-4000-8000-000000000000"), 1, "not_found"),
        (("tail", "nonsense"), 1, "not an id"),
        (("list", "--project", "no-such-project"), 1, "not_found"),
        (("list", "sessions", "--project", "no-such-project"), 1, "not_found"),
        (("list", "nonsense"), 2, "nonsense"),
        (("list", "--task", "x"), 2, "sessions"),
        (("start", "T", "odd", "m"), 2, "no phase is called 'odd'"),
        (("list", "--url", "http://127.0.0.1:1", "--wait", "0"), 3, "no answer from http://127.0.0.1:1"),
    ],
)
async def test_refusals_are_a_line_and_a_code(shell: Shell, arguments: tuple[str, ...], code: int, text: str) -> None:
    """1: refused, 2: cannot be meant, 3: nobody answered."""
    command = await shell.run(*arguments, code=code)
    assert text in command.err
    assert command.out == ""
    if code != 2:
        assert command.err.count("\n") == 1


async def _completed(shell: Shell, *words: str, **env: str) -> list[str]:
    """What bash would be told to offer for the last word."""
    told = {
        "_SESSIONCAST_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("sessioncast", *words)),
        "COMP_CWORD": str(len(words)),
        "SESSIONCAST_URL": shell.url,
        **env,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast"), env={**os.environ, **told}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().split()


async def _offered(shell: Shell, *words: str) -> list[str]:
    """The same, asked again while nothing comes: a server on a busy machine may take longer than a shell waits."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await _completed(shell, *words)):
            pass
    return found


async def test_shells_are_told_what_there_is(shell: Shell, task: Task, session: Session) -> None:
    """Commands, phases, and ids of tasks and sessions; where nobody answers, nothing is offered or said."""
    assert "tail" in await _completed(shell, "ta")
    assert await _completed(shell, "start", task.id, "ve") == ["verify"]
    project = ("--project", task.project_id)
    assert task.id in await _offered(shell, "exec", *project, "--task", "")
    assert await _offered(shell, "exec", *project, "--task", task.id[:8]) == [task.id]
    assert await _offered(shell, "watch", *project, "--session", session.id[:9]) == [session.id]
    away = {"SESSIONCAST_URL": "http://127.0.0.1:1"}
    assert await _completed(shell, "exec", *project, "--task", "", **away) == []
