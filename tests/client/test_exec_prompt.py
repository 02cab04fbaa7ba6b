"""`sessioncast exec` on a real terminal, against a real node: what it asks, and what the answers do."""

import asyncio
import json
import os
import re
import tty
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessioncast import Client, Session, Task
from sessioncast.cli.prompt import read_line
from sessioncast_shared import texts
from support.node import Node, NodeFactory
from support.samples import AT, refusal
from support.scripted import Reply, ScriptedServer
from support.terminal import CTRL_C, CTRL_D, Terminal
from support.waiting import DEADLINE_S


@pytest.fixture
async def node(node_factory: NodeFactory) -> Node:
    """A node on its default store."""
    return await node_factory()


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    """Another user's program."""
    async with Client(node.url, user="ann") as client:
        yield client


@pytest.fixture
async def task(client: Client) -> Task:
    """The task that commands are run for."""
    await client.projects.put("default")
    return await client.tasks.create("default", "T")


@pytest.fixture
async def working(client: Client, task: Task) -> Session:
    """A session that holds the phase and works."""
    session = (await client.sessions.start(task.id, "run", {"name": "big", "version": "2"})).session
    await client.sessions.append(session.id, [("log", "precious\n")])
    return await client.sessions.patch(session.id, status="running")


async def live(client: Client, task: Task) -> Session:
    """The session that holds the phase now."""
    session = await client.sessions.find(task.id, "run")
    assert session is not None
    return session


async def test_a_yes_replaces_what_was_shown(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path
) -> None:
    """The person sees the warning, who and what would be replaced, and the question; after a yes the command runs."""
    async with Terminal.exec(tmp_path, node.url, "echo", "it ran") as terminal:
        await terminal.shows(texts.CONFIRM)
        shown = terminal.screen
        assert shown.index(texts.LOSS) < shown.index(working.id) < shown.index(texts.CONFIRM)
        facts = re.findall(r"^  (\w[\w ]*\w) {2,}(.+)$", shown, re.MULTILINE)
        at = (await live(client, task)).last_activity_at.astimezone().isoformat(" ", "seconds")
        assert dict(facts) == {
            "session": working.id,
            "model": "big 2",
            "user": "ann",
            "status": "running",
            "last activity": at,
        }
        assert (await live(client, task)).id == working.id
        terminal.type("Y\n")
        assert await terminal.ended() == 0
        assert terminal.screen.endswith("it ran\n")
    new = await live(client, task)
    assert (await client.sessions.get(working.id)).replaced_by == new.id
    assert (new.status, new.model["name"]) == ("completed", "echo")


@pytest.mark.parametrize(
    ("keys", "status"), [("n\n", 125), ("NO\n", 125), ("\n", 125), (CTRL_D, 125), (CTRL_C, 130), (f"y{CTRL_C}", 130)]
)
async def test_anything_else_replaces_nothing(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path, keys: str, status: int
) -> None:
    """No is the default, the end of the input and Ctrl-C; the terminal is as it was, on a line of its own."""
    async with Terminal.exec(tmp_path, node.url, "echo", "it ran") as terminal:
        before = terminal.modes
        await terminal.shows("first] ")
        terminal.type(keys)
        assert await terminal.ended() == status
        assert terminal.modes == before
        assert terminal.screen.endswith("\n")
        assert "it ran" not in terminal.screen
    now = await live(client, task)
    assert (now.id, now.version, now.status) == (working.id, working.version, "running")


async def test_what_is_typed_after_the_answer_is_the_commands(node: Node, working: Session, tmp_path: Path) -> None:
    """Typed in one go, the line with the answer is ours and not a byte more."""
    async with Terminal.exec(tmp_path, node.url, "sh", "-c", "read line; echo got $line") as terminal:
        await terminal.shows("first] ")
        terminal.type("yes\nhello\n")
        assert await terminal.ended() == 0
        assert "got hello\n" in terminal.screen


async def test_an_answer_that_is_none_is_asked_for_again(node: Node, working: Session, tmp_path: Path) -> None:
    """A typing error neither replaces nor gives up, however long it is."""
    async with Terminal.exec(tmp_path, node.url, "echo") as terminal:
        await terminal.shows(texts.CONFIRM)
        terminal.type("yikes" * 100 + "\n")
        await terminal.shows(texts.CONFIRM, times=2)
        terminal.type("n\n")
        assert await terminal.ended() == 125


async def test_the_export_is_made_before_the_answer(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path
) -> None:
    """`e` downloads the session into the working directory and asks again; a second one takes the first's place."""
    saved = tmp_path / f"session-{working.id}.json"
    async with Terminal.exec(tmp_path, node.url, "echo") as terminal:
        for times in (1, 2):
            await terminal.shows(texts.CONFIRM, times=times)
            terminal.type("e\n")
            await terminal.shows(f"exported to {saved.name}", times=times)
        await terminal.shows(texts.CONFIRM, times=3)
        assert (await live(client, task)).id == working.id
        terminal.type("y\n")
        assert await terminal.ended() == 0
    document = json.loads(saved.read_text())
    assert document["session"]["id"] == working.id
    assert [chunk["text"] for chunk in document["output"]] == ["precious\n"]
    assert [name for name in os.listdir(tmp_path) if name.startswith("session-")] == [saved.name]


async def test_an_export_that_fails_replaces_nothing(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path
) -> None:
    """Where the file cannot be written the person is told why, and asked again."""
    (tmp_path / f"session-{working.id}.json.part").mkdir()
    async with Terminal.exec(tmp_path, node.url, "echo") as terminal:
        await terminal.shows(texts.CONFIRM)
        terminal.type("e\n")
        await terminal.shows("not exported: ")
        await terminal.shows(texts.CONFIRM, times=2)
        terminal.type("\n")
        assert await terminal.ended() == 125
    assert (await live(client, task)).id == working.id


async def test_somebody_faster_is_asked_about(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path
) -> None:
    """A yes to one session never replaces another: the new one is shown, and needs a yes of its own."""
    async with Terminal.exec(tmp_path, node.url, "echo") as terminal:
        await terminal.shows(texts.CONFIRM)
        confirm = {"session_id": working.id}
        faster = await client.sessions.start(task.id, "run", "other", on_conflict="replace", confirm=confirm)
        terminal.type("y\n")
        await terminal.shows(texts.CONFIRM, times=2)
        assert terminal.screen.count(texts.LOSS) == 2
        assert faster.session.id in terminal.screen
        assert (await live(client, task)).id == faster.session.id
        terminal.type("y\n")
        assert await terminal.ended() == 0
    assert (await client.sessions.get(faster.session.id)).replaced_by == (await live(client, task)).id


async def test_a_session_that_ended_is_restarted_unasked(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path
) -> None:
    """There is nothing to lose: nobody is asked, on a terminal either."""
    await client.sessions.patch(working.id, status="failed")
    async with Terminal.exec(tmp_path, node.url, "echo", "it ran") as terminal:
        assert await terminal.ended() == 0
        assert texts.CONFIRM not in terminal.screen
    old = await client.sessions.get(working.id)
    assert (old.replaced_by, old.status) == ((await live(client, task)).id, "failed")


@pytest.mark.parametrize(
    ("options", "status"), [(("--replace",), 0), (("--no-input",), 125), (("--replace", "--no-input"), 0)]
)
async def test_scripts_are_not_asked(
    node: Node, client: Client, task: Task, working: Session, tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    """With either option nothing is asked, on a terminal either: one replaces, the other leaves it as it is."""
    async with Terminal.exec(tmp_path, node.url, "echo", options=options) as terminal:
        assert await terminal.ended() == status
        assert texts.CONFIRM not in terminal.screen
        assert ("--replace to replace it" in terminal.screen) is (status == 125)
    assert ((await live(client, task)).id == working.id) is (status == 125)


async def test_a_question_that_nobody_would_see_is_not_asked(node: Node, working: Session, tmp_path: Path) -> None:
    """With stderr in a file there is nobody to read the question, though somebody could answer."""
    errors = tmp_path / "errors"
    async with Terminal.exec(tmp_path, node.url, "echo", errors=errors) as terminal:
        assert await terminal.ended() == 125
        assert terminal.screen == ""
    assert f"session {working.id} (running) is active; --replace to replace it" in errors.read_text()


async def test_names_of_others_do_not_reach_the_terminal_as_commands(
    node: Node, client: Client, task: Task, tmp_path: Path
) -> None:
    """A model's name can neither clear the screen nor turn the text around."""
    session = (await client.sessions.start(task.id, "run", "evil\x1b[2J\x9b2J\u202eemal")).session
    await client.sessions.patch(session.id, status="running")
    async with Terminal.exec(tmp_path, node.url, "echo") as terminal:
        await terminal.shows(texts.CONFIRM)
        assert "evil\ufffd[2J\ufffd2J\ufffdemal" in terminal.screen
        terminal.type("n\n")
        assert await terminal.ended() == 125


async def test_a_bare_terminal_is_read_no_further_than_the_answer() -> None:
    """Also one that hands over more than a line at once: what stands behind the answer stays in it."""
    person, seat = os.openpty()
    try:
        tty.setraw(seat)
        os.write(person, b"yes\rrest")
        async with asyncio.timeout(DEADLINE_S):
            assert await read_line(seat) == "yes"
        assert os.read(seat, 100) == b"rest"
    finally:
        os.close(person)
        os.close(seat)


async def test_a_question_given_up_takes_no_more_keys() -> None:
    """Whoever is cancelled while waiting for an answer leaves what is typed then to others."""
    person, seat = os.openpty()
    try:
        waiting = asyncio.create_task(read_line(seat))
        await asyncio.sleep(0)  # it begins to wait
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not asyncio.get_running_loop().remove_reader(seat)
        os.write(person, b"late\n")
        assert os.read(seat, 100) == b"late\n"
    finally:
        os.close(person)
        os.close(seat)


async def test_a_terminal_that_is_gone_answers_nothing() -> None:
    """A hung-up line is no yes."""
    person, seat = os.openpty()
    os.close(seat)
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert await read_line(person) is None
    finally:
        os.close(person)


@pytest.mark.parametrize(
    ("id_", "why"),
    [
        ("../../etc/x", "not exported: the session's id is no name for a file"),
        ("0b9d3c8e-0000-4000-8000-000000000000", "not exported: Not found. (not_found, request r7)"),
    ],
)
async def test_an_export_that_the_server_fails_is_told(
    server: ScriptedServer, tmp_path: Path, id_: str, why: str
) -> None:
    """A refusal is told and asked about again; an id that could lead elsewhere is no file's name, nor asked for."""
    project = Reply(200, {"id": "default", "created_at": AT})
    missing = Reply(404, {"code": "not_found", "detail": "Not found.", "request_id": "r7"})
    server.say(project, Reply(409, refusal("model_change_requires_confirmation", existing=id_)), missing)
    command = ("exec", "--task", "0b9d3c8e-0000-4000-8000-000000000001", "--", "echo")
    async with Terminal(tmp_path, server.url, *command) as terminal:
        await terminal.shows(texts.CONFIRM)
        terminal.type("e\n")
        await terminal.shows(why)
        await terminal.shows(texts.CONFIRM, times=2)
        terminal.type("n\n")
        assert await terminal.ended() == 125
    assert len(server.seen) == (3 if "Not found" in why else 2)


async def test_others_that_are_always_faster_are_told_of(server: ScriptedServer, tmp_path: Path) -> None:
    """Replacing unasked ends after a few tries, with the server's last word and the status that says «not run»."""
    changed = Reply(409, refusal("session_changed", existing="one"))
    server.say(Reply(200, {"id": "default", "created_at": AT}), *[changed] * 10)
    command = ("exec", "--task", "0b9d3c8e-0000-4000-8000-000000000001", "--replace", "--", "echo")
    async with Terminal(tmp_path, server.url, *command) as terminal:
        assert await terminal.ended() == 125
        assert terminal.screen == "sessioncast: Why. (session_changed)\n"
    assert len(server.seen) == 7
