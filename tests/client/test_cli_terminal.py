"""`sessioncast exec` on a real terminal: what its command sees, and what is recorded."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessioncast import Client, Session
from support.command import Command
from support.node import NodeProcess
from support.providing import given
from support.terminal import CTRL_C, Terminal

LOOK = """
import json, os, signal, sys, termios
told = {name: os.isatty(fd) for fd, name in enumerate(("input", "output", "errors"))}
size = os.get_terminal_size(1) if told["output"] else None
told["size"] = list(size) if size else None
told["leads"] = os.getsid(0) == os.getpid()
print(json.dumps(told), flush=True)
"""
"""Tells what its input, output and errors are."""


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


class Runner:
    """Runs commands on terminals in a project of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.project = given("p")

    def terminal(self, *command: str, options: tuple[str, ...] = (), errors: Path | None = None) -> Terminal:
        """The command, not yet started."""
        wish = ("--project", self.project, "--quiet", *options)
        return Terminal.exec(self.folder, self.url, *command, options=wish, errors=errors)

    async def session(self, client: Client) -> Session:
        """The session it ran as."""
        task = await client.tasks.find(self.project, "T")
        assert task is not None
        found = await client.sessions.find(task.id, "run")
        assert found is not None
        return found

    async def recorded(self, client: Client) -> str:
        """The session's output."""
        session = await self.session(client)
        return "".join([chunk.text async for chunk in client.sessions.read_output(session.id)])


@pytest.fixture
def runner(tmp_path: Path, node: NodeProcess) -> Runner:
    """A runner against the node of this file."""
    return Runner(tmp_path, node.url)


async def test_a_command_on_a_terminal_has_one(runner: Runner, client: Client) -> None:
    """Input, output and errors are a terminal as wide as ours; lines are recorded as the command wrote them."""
    async with runner.terminal(sys.executable, "-c", LOOK) as terminal:
        assert await terminal.ended() == 0
        shown = json.loads(terminal.screen)
    assert shown == {"input": True, "output": True, "errors": True, "size": [300, 50], "leads": True}
    assert json.loads(await runner.recorded(client)) == shown
    assert "\r" not in await runner.recorded(client)
    assert (await runner.session(client)).status == "completed"


async def test_pipes_on_request(runner: Runner) -> None:
    """With --no-pty output and errors are pipes, as where there is no terminal; the input is ours."""
    async with runner.terminal(sys.executable, "-c", LOOK, options=("--no-pty",)) as terminal:
        assert await terminal.ended() == 0
        shown = json.loads(terminal.screen)
    assert shown == {"input": True, "output": False, "errors": False, "size": None, "leads": False}


async def test_errors_that_go_elsewhere_still_do(runner: Runner, client: Client) -> None:
    """With stderr in a file, that is where the command's errors go; both are recorded."""
    errors = runner.folder / "errors"
    async with runner.terminal(
        "sh", "-c", "test -t 1 && echo out; test -t 2 || echo err >&2", errors=errors
    ) as terminal:
        assert await terminal.ended() == 0
        assert terminal.screen == "out\n"
    assert errors.read_text() == "err\n"
    assert sorted((await runner.recorded(client)).split()) == ["err", "out"]


async def test_a_terminal_that_changes_its_size_is_followed(runner: Runner) -> None:
    """The command hears of it, and sees the new size."""
    code = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"
    async with runner.terminal("sh", "-c", code) as terminal:
        await terminal.shows("ready\n")
        terminal.resize(rows=33, columns=111)
        assert await terminal.ended() == 0
        assert "33 111\n" in terminal.screen


async def test_what_is_typed_is_the_commands_byte_by_byte(runner: Runner) -> None:
    """A command that reads keys gets each as it is pressed, and the terminal is put back."""
    code = "import sys, tty; tty.setraw(0); print('ready', end='', flush=True); key = sys.stdin.buffer.raw.read(3)"
    code += "; print(list(key), end='')"
    async with runner.terminal(sys.executable, "-c", code) as terminal:
        before = terminal.modes
        await terminal.shows("ready")
        terminal.type("\x1b[A")
        assert await terminal.ended() == 0
        assert terminal.screen == "ready[27, 91, 65]"
        assert terminal.modes == before


async def test_what_is_typed_ahead_waits_for_the_command(runner: Runner) -> None:
    """More than its terminal holds, to a command that does not read for a while: all of it arrives, in order."""
    gate = runner.folder / "gate"
    code = f"""
import pathlib, sys, time, tty
tty.setraw(0)
print("ready", end="", flush=True)
while not pathlib.Path({str(gate)!r}).exists():
    time.sleep(0.01)
data = sys.stdin.buffer.read(90_000).decode()
print([data == "".join(map(str, range(10**5)))[:90_000]])
"""
    async with runner.terminal(sys.executable, "-c", code) as terminal:
        await terminal.shows("ready")
        await terminal.paste("".join(map(str, range(10**5)))[:6_000])
        gate.touch()
        await terminal.paste("".join(map(str, range(10**5)))[6_000:90_000])
        assert await terminal.ended() == 0
        assert terminal.screen == "ready[True]\n"


async def test_a_signal_to_us_is_the_commands(runner: Runner, client: Client) -> None:
    """Sent by another program, an interrupt reaches what runs in front on the command's terminal."""
    async with runner.terminal("bash", "-c", "trap 'echo caught; exit 4' INT; echo ready; sleep 60") as terminal:
        await terminal.shows("ready\n")
        terminal.send(signal.SIGINT)
        assert await terminal.ended() == 4
        assert "caught\n" in terminal.screen
    assert (await runner.session(client)).status == "cancelled"


async def test_ctrl_c_stops_the_command_and_not_us(runner: Runner, client: Client) -> None:
    """It is the command's terminal that makes a signal of the key; the session was cancelled, its words are kept."""
    async with runner.terminal("sh", "-c", "echo ready; sleep 60; echo not reached") as terminal:
        await terminal.shows("ready\n")
        terminal.type(CTRL_C)
        assert await terminal.ended() == 128 + signal.SIGINT
    session = await runner.session(client)
    assert (session.status, session.metadata["exit_code"]) == ("cancelled", 130)
    assert (await runner.recorded(client)).startswith("ready\n")


async def test_a_command_may_live_with_ctrl_c(runner: Runner, client: Client) -> None:
    """One that handles it and ends well was not cancelled: to an interpreter it is a key like others."""
    code = "trap 'echo caught' INT; echo ready; read line; echo got $line"
    async with runner.terminal("bash", "-c", code) as terminal:
        await terminal.shows("ready\n")
        terminal.type(CTRL_C)
        await terminal.shows("caught\n")
        terminal.type("x\n")
        assert await terminal.ended() == 0
    assert (await runner.session(client)).status == "completed"


async def test_colours_are_kept_and_recorded(runner: Runner, client: Client) -> None:
    """What a command says to a terminal reaches it unchanged, and the session."""
    async with runner.terminal("printf", "\\033[31mred\\033[0m\\n") as terminal:
        assert await terminal.ended() == 0
        assert terminal.screen == "\x1b[31mred\x1b[0m\n"
    assert await runner.recorded(client) == "\x1b[31mred\x1b[0m\n"


async def test_the_last_words_of_a_command_are_all_there(runner: Runner, client: Client) -> None:
    """More than a terminal holds at once, and the end right after."""
    async with runner.terminal(sys.executable, "-c", "print('\\n'.join(map(str, range(20_000))))") as terminal:
        assert await terminal.ended() == 0
        assert terminal.screen.split() == [str(number) for number in range(20_000)]
    assert (await runner.recorded(client)).split() == [str(number) for number in range(20_000)]


async def test_what_a_command_leaves_behind_on_its_terminal_is_not_waited_for(runner: Runner) -> None:
    """A process in the background that keeps the terminal open does not keep us."""
    async with runner.terminal("sh", "-c", "trap '' HUP; sleep 60 & echo $!") as terminal:
        assert await terminal.ended() == 0
        os.kill(int(terminal.screen), signal.SIGKILL)


async def test_a_terminal_that_goes_away_ends_the_command(runner: Runner, client: Client) -> None:
    """A window that is closed hangs its command up, which is recorded."""
    async with runner.terminal("sh", "-c", "echo ready; sleep 60") as terminal:
        await terminal.shows("ready\n")
        terminal.send(signal.SIGHUP)
        assert await terminal.ended() == 128 + signal.SIGHUP
    assert (await runner.session(client)).status == "cancelled"


async def test_a_command_without_a_terminal_gets_none(runner: Runner) -> None:
    """With output in a file nothing changes."""
    wish = ("--task", "T", "--project", runner.project, "--", sys.executable, "-c", LOOK)
    async with Command(runner.folder, runner.url, "exec", *wish) as command:
        assert await command.ended() == 0
        told = json.loads(command.out)
    assert (told["output"], told["errors"]) == (False, False)
