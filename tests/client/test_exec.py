"""`sessioncast exec` and `watch` as processes, against a real node."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from sessioncast import Client, Session
from support.command import Command
from support.node import Node, NodeFactory

# Writes lines to both outputs; waits for a file after half of them.
TALKER = """
import pathlib, sys, time
count, gate = int(sys.argv[1]), pathlib.Path(sys.argv[2])
for number in range(count):
    print(f"line {number}", flush=True)
    while number == count // 2 and not gate.exists():
        time.sleep(0.01)
print("the end")
"""


@pytest.fixture
async def node(node_factory: NodeFactory) -> Node:
    """A node on its default store."""
    return await node_factory()


async def recorded(node: Node, session: str) -> str:
    """A session's whole output, as the server has it; `seq` has no holes."""
    async with Client(node.url) as client:
        chunks = [chunk async for chunk in client.sessions.read_output(session)]
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    return "".join(chunk.text for chunk in chunks)


async def session_of(node: Node, command: Command) -> Session:
    """The session that an `exec` named."""
    await command.told("sessioncast: session ")
    found = re.search(r"session ([0-9a-f-]{36})", command.err)
    assert found is not None
    async with Client(node.url) as client:
        return await client.sessions.get(found[1])


async def test_a_command_becomes_a_session(node: Node, tmp_path: Path) -> None:
    """Its output, whatever bytes it has, is the session's and still its own; its exit code is both their ends."""
    code = r"import sys; sys.stdout.buffer.write(b'a\n' + b'x' * 100_000 + b'\n\xff\n\xc3\xa4 no end'); sys.exit(3)"
    async with Command(
        tmp_path, node.url, "exec", "--task", "T", "--phase", "verify", "--", sys.executable, "-c", code
    ) as command:
        assert await command.ended() == 3
        session = await session_of(node, command)
    raw = b"a\n" + b"x" * 100_000 + b"\n\xff\n\xc3\xa4 no end"
    assert command.raw == raw
    assert await recorded(node, session.id) == raw.decode(errors="replace")
    assert (session.status, session.phase, session.model["name"]) == (
        "failed",
        "verify",
        sys.executable.rpartition("/")[2],
    )
    assert session.metadata["exit_code"] == 3


async def test_both_outputs_are_recorded(node: Node, tmp_path: Path) -> None:
    """Lines of stdout and stderr are in the session, and each goes on to where it was written."""
    async with Command(
        tmp_path, node.url, "exec", "--task", "T", "--", "sh", "-c", "echo out; echo err >&2"
    ) as command:
        assert await command.ended() == 0
        session = await session_of(node, command)
    assert sorted((await recorded(node, session.id)).splitlines()) == ["err", "out"]
    assert command.out == "out\n"
    assert command.err.endswith("err\n")
    assert session.status == "completed"


async def test_a_killed_server_loses_and_doubles_nothing(node: Node, tmp_path: Path) -> None:
    """kill -9 in the middle of the output, and a start: writer and watcher go on; all three texts are identical."""
    gate = tmp_path / "gate"
    async with Client(node.url) as client:
        await client.projects.put("default")
        task = (await client.tasks.create("default", "T")).id
    talker = ("--", sys.executable, "-c", TALKER, "4000", str(gate))
    async with (
        Command(tmp_path, node.url, "watch", "--task", task, "--output-only", "--until-done") as watcher,
        Command(tmp_path, node.url, "exec", "--task", task, "--phase", "run", *talker) as writer,
    ):
        await watcher.wrote("line 3\n")
        node.kill()
        gate.touch()
        await writer.wrote("line 3000\n")
        await node.start()
        assert await writer.ended() == 0
        assert await watcher.ended() == 0
        session = await session_of(node, writer)
    expected = "".join(f"line {number}\n" for number in range(4000)) + "the end\n"
    assert writer.out == expected
    assert await recorded(node, session.id) == expected
    assert watcher.out == expected


async def test_a_signal_goes_to_the_command_and_cancels_the_session(node: Node, tmp_path: Path) -> None:
    """The command may say its last words; the status tells that it was stopped."""
    code = "trap 'echo last words; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    async with Command.exec(tmp_path, node.url, "sh", "-c", code) as command:
        await command.wrote("ready\n")
        command.send(signal.SIGTERM)
        assert await command.ended() == 9
        session = await session_of(node, command)
    assert session.status == "cancelled"
    assert await recorded(node, session.id) == "ready\nlast words\n"


async def test_a_command_that_dies_by_a_signal_is_told_as_shells_do(node: Node, tmp_path: Path) -> None:
    """128 + the signal's number, and a failed session: nobody asked for it."""
    async with Command.exec(tmp_path, node.url, "sh", "-c", "kill -KILL $$") as command:
        assert await command.ended() == 128 + signal.SIGKILL
        assert (await session_of(node, command)).status == "failed"


async def test_an_active_session_is_not_replaced_unasked(node: Node, tmp_path: Path) -> None:
    """A second command of the phase is refused while the first works, replaces it when told to; an ended one goes."""
    gate = tmp_path / "gate"
    waiting = ("sh", "-c", f"echo ready; until test -e {gate}; do sleep 0.05; done")
    async with Command.exec(tmp_path, node.url, *waiting) as first:
        await first.wrote("ready\n")
        old = await session_of(node, first)
        async with Command.exec(tmp_path, node.url, "echo", "second") as second:
            assert await second.ended() == 125
        assert second.out == ""
        assert old.id in second.err
        assert "--replace" in second.err
        async with Command.exec(tmp_path, node.url, "echo", "third", options=["--replace"]) as third:
            assert await third.ended() == 0
            new = await session_of(node, third)
        async with Command.exec(tmp_path, node.url, "echo", "fourth") as fourth:
            assert await fourth.ended() == 0
            newest = await session_of(node, fourth)
        gate.touch()
        assert await first.ended() == 0
        assert "is not recorded" in first.err
    async with Client(node.url) as client:
        assert (await client.sessions.get(old.id)).replaced_by == new.id
        assert (await client.sessions.get(new.id)).replaced_by == newest.id


async def test_a_server_that_stays_away_does_not_stop_the_command(node: Node, tmp_path: Path) -> None:
    """Past the bound the command still runs to its end, keeps its exit code, and the first lost seq is told."""
    gate = tmp_path / "gate"
    code = f"echo one; until test -e {gate}; do sleep 0.05; done; echo two; exit 7"
    async with Command.exec(tmp_path, node.url, "sh", "-c", code, options=["--give-up-after", "0.5"]) as command:
        session = await session_of(node, command)
        async with Client(node.url) as client, client.subscribe("default", session=session.id) as stream:
            async for item in stream:
                if getattr(item, "type", "") == "session.output" or (await recorded(node, session.id)):
                    break
        node.kill()
        gate.touch()
        assert await command.ended() == 7
    assert command.out == "one\ntwo\n"
    assert "output from seq 2 on is not recorded" in command.err
    assert "the final status (failed, exit code 7) is not recorded" in command.err


async def test_what_a_command_leaves_behind_is_not_waited_for(node: Node, tmp_path: Path) -> None:
    """A process in the background that keeps the output open does not keep the session running."""
    async with Command.exec(tmp_path, node.url, "sh", "-c", "sleep 60 & echo $!") as command:
        assert await command.ended() == 0
        left = int(command.out)
        assert (await session_of(node, command)).status == "completed"
    os.kill(left, signal.SIGKILL)


async def test_without_a_server_nothing_is_run(tmp_path: Path) -> None:
    """What could not be recorded from its start is not started; the reason is told, Ctrl-C ends the waiting."""
    witness = tmp_path / "witness"
    async with Command(tmp_path, "http://127.0.0.1:1", "exec", "--task", "T", "--", "touch", str(witness)) as command:
        await command.told("no answer from http://127.0.0.1:1")
        command.send(signal.SIGINT)
        assert await command.ended() == 130
    assert not witness.exists()


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_pipe_gets_one_line_per_change(node: Node, tmp_path: Path, transport: str) -> None:
    """Into a pipe, `watch` writes what changes in a project as plain lines, over either transport."""
    async with Client(node.url) as client:
        await client.projects.put("default")
        task = await client.tasks.create("default", "T")
        async with Command(tmp_path, node.url, "watch", "--transport", transport) as watcher:
            await watcher.wrote(f'task {task.id} "T"\n')
            session = (await client.sessions.start(task.id, "plan", "m")).session
            await client.sessions.patch(session.id, status="running")
            await client.sessions.append(session.id, [("log", "not of a project's view\n")])
            await client.sessions.delete(session.id)
            await watcher.wrote("deleted")
    assert [line.removeprefix(f"session {session.id} plan ") for line in watcher.out.splitlines()[1:]] == [
        'pending "m" "T"',
        'running "m" "T"',
        'deleted "m" "T"',
    ]


async def test_watching_what_is_not_there_ends_with_a_sentence(node: Node, tmp_path: Path) -> None:
    """A project that is missing is told once, not asked for for ever."""
    async with Command(tmp_path, node.url, "watch", "no-such-project") as watcher:
        assert await watcher.ended() == 1
    assert "not_found" in watcher.err
    assert "Traceback" not in watcher.err
