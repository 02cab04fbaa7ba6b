"""Output that waits on disk for a server: `sessioncast exec` while it is away, and `spool send` after."""

import json
import re
import signal
import sys
from pathlib import Path

import pytest

from sessioncast import Client, Session
from sessioncast.cli.spool import BadSpoolError, Record, Spool
from support.command import Command
from support.node import Node, NodeFactory
from support.waiting import until

TALKER = """
import pathlib, sys, time
gate = pathlib.Path(sys.argv[1])
print("first", flush=True)
while not gate.exists():
    time.sleep(0.01)
for number in range(int(sys.argv[2])):
    print(f"{number:06d} " + "x" * 92, flush=number % 1000 == 0)
print("the end")
"""
"""Writes a line, waits for a file, then writes many of a hundred bytes."""


def talk(gate: Path, count: int) -> tuple[str, ...]:
    """The command line of the talker."""
    return (sys.executable, "-c", TALKER, str(gate), str(count))


def said(count: int) -> str:
    """What the talker says."""
    return "first\n" + "".join(f"{number:06d} {'x' * 92}\n" for number in range(count)) + "the end\n"


@pytest.fixture
async def node(node_factory: NodeFactory) -> Node:
    """A node on its default store."""
    return await node_factory()


async def session_of(node: Node, command: Command) -> Session:
    """The session that an `exec` named."""
    found = re.search(r"session ([0-9a-f-]{36})", command.err)
    assert found is not None
    async with Client(node.url) as client:
        return await client.sessions.get(found[1])


async def recorded(node: Node, session: Session) -> str:
    """Its output, as the server has it; `seq` has no holes."""
    async with Client(node.url) as client:
        chunks = [chunk async for chunk in client.sessions.read_output(session.id)]
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    return "".join(chunk.text for chunk in chunks)


def spools(folder: Path) -> list[Path]:
    """The files that wait to be sent."""
    return sorted((folder / "state" / "sessioncast" / "spool").glob("*"))


async def test_a_server_that_is_away_holds_nobody_back(node: Node, tmp_path: Path) -> None:
    """The command ends while the server is away, with more than memory takes; all is recorded, in order, after."""
    count = 15_000
    gate = tmp_path / "gate"
    async with Command.exec(tmp_path, node.url, *talk(gate, count)) as command:
        await command.wrote("first\n")
        node.kill()
        gate.touch()
        await command.wrote("the end\n")
        (file,) = spools(tmp_path)
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        await node.start()
        assert await command.ended() == 0
        session = await session_of(node, command)
    assert session.status == "completed"
    assert await recorded(node, session) == command.out == said(count)
    assert spools(tmp_path) == []


async def test_what_could_not_be_sent_is_sent_later_and_once(node: Node, tmp_path: Path) -> None:
    """The file that is left is named; it carries the rest and the end, and may be sent twice."""
    gate = tmp_path / "gate"
    async with Command.exec(tmp_path, node.url, *talk(gate, 500), options=["--give-up-after", "0.5"]) as command:
        await command.told("session ")
        node.kill()
        gate.touch()
        assert await command.ended() == 0
    (file,) = spools(tmp_path)
    assert f"sessioncast spool send {file}" in command.err
    assert "is not recorded yet" in command.err
    async with Command(tmp_path, node.url, "spool", "list", "--json") as listing:
        assert await listing.ended() == 0
    assert [json.loads(line)["file"] for line in listing.out.splitlines()] == [str(file)]
    async with Command(tmp_path, node.url, "spool", "send", str(file), "--wait", "0") as early:
        assert await early.ended() == 3
    copy = file.read_bytes()
    await node.start()
    for _ in range(2):
        async with Command(tmp_path, node.url, "spool", "send", str(file)) as sending:
            assert await sending.ended() == 0, sending.err
        session = await session_of(node, command)
        assert await recorded(node, session) == command.out == said(500)
        assert (session.status, session.metadata["exit_code"]) == ("completed", 0)
        assert spools(tmp_path) == []
        file.write_bytes(copy)  # as if its sender had died before it was told


async def test_a_spool_that_is_full_holds_the_command_back_for_so_long_only(node: Node, tmp_path: Path) -> None:
    """Past the bound of the disk and of patience the command runs on; what is missing is told, the rest is kept."""
    gate = tmp_path / "gate"
    options = ["--give-up-after", "0.5", "--spool-limit", "1"]
    async with Command.exec(tmp_path, node.url, *talk(gate, 25_000), options=options) as command:
        await command.told("session ")
        node.kill()
        gate.touch()
        assert await command.ended() == 0
    (file,) = spools(tmp_path)
    lost = re.search(r"output from seq (\d+) on is not recorded: ", command.err)
    assert lost is not None
    assert command.out == said(25_000)
    await node.start()
    async with Command(tmp_path, node.url, "spool", "send", str(file)) as sending:
        assert await sending.ended() == 0, sending.err
    session = await session_of(node, command)
    assert await recorded(node, session) == "".join(command.out.splitlines(keepends=True)[: int(lost[1]) - 1])
    assert session.metadata["recorded_to"] == int(lost[1]) - 1


async def test_what_a_killed_command_has_written_is_there(node: Node, tmp_path: Path) -> None:
    """Killed while the server is away, `exec` leaves what was on disk, which is sent as if it had been by itself."""
    gate = tmp_path / "gate"
    async with Command.exec(tmp_path, node.url, *talk(gate, 15_000)) as command:
        await command.wrote("first\n")
        node.kill()
        gate.touch()
        await command.wrote("the end\n")
        await until(lambda: bool(spools(tmp_path)), "the spool")
        command.send(signal.SIGKILL)
        await command.ended()
    (file,) = spools(tmp_path)
    await node.start()
    async with Command(tmp_path, node.url, "spool", "send", str(file)) as sending:
        assert await sending.ended() == 0, sending.err
    text = await recorded(node, await session_of(node, command))
    assert len(text) > 1_000_000
    assert said(15_000).startswith(text)
    assert spools(tmp_path) == []


async def test_what_was_refused_for_good_is_not_kept(node: Node, tmp_path: Path) -> None:
    """A session that was replaced while its command was asleep takes no more: that is told, and no file is left."""
    gate = tmp_path / "gate"
    async with Command.exec(tmp_path, node.url, *talk(gate, 15_000)) as command:
        await command.wrote("first\n")
        node.kill()
        gate.touch()
        await until(lambda: bool(spools(tmp_path)), "the spool")
        command.send(signal.SIGSTOP)
        await node.start()
        session = await session_of(node, command)
        async with Client(node.url) as client:
            confirm = {"session_id": session.id}
            await client.sessions.start(session.task_id, "run", "another", on_conflict="replace", confirm=confirm)
        command.send(signal.SIGCONT)
        assert await command.ended() == 0
    assert re.search(r"output from seq \d+ on is not recorded: .*\(session_replaced", command.err)
    assert command.out == said(15_000)
    assert spools(tmp_path) == []


async def test_without_a_spool_nothing_goes_to_disk(node: Node, tmp_path: Path) -> None:
    """With a limit of 0 what cannot be recorded is lost in the end, and that is told."""
    gate = tmp_path / "gate"
    options = ["--give-up-after", "0.5", "--spool-limit", "0"]
    async with Command.exec(tmp_path, node.url, *talk(gate, 10), options=options) as command:
        await command.told("session ")
        node.kill()
        gate.touch()
        assert await command.ended() == 0
    assert re.search(r"output from seq [12] on is not recorded: ", command.err)
    assert "the final status (completed, exit code 0) is not recorded" in command.err
    assert not (tmp_path / "state").exists()


async def test_a_spool_of_a_session_that_is_gone_stays(node: Node, tmp_path: Path) -> None:
    """A refusal is told in a line, and nothing is thrown away for it."""
    spool = Spool(tmp_path, session="0b9d3c8e-0000-4000-8000-000000000000", fence=1, limit_bytes=2**20)
    spool.add([Record(("a\n",))])
    spool.close()
    assert spool.path is not None
    async with Command(tmp_path, node.url, "spool", "send", str(spool.path)) as sending:
        assert await sending.ended() == 1
    assert "not_found" in sending.err
    assert spool.path.exists()


def test_records_come_back_as_they_went(tmp_path: Path) -> None:
    """Over a program's death in the middle of a line: what was whole is there, from the first that was not sent on."""
    spool = Spool(tmp_path, session="s", fence=7, limit_bytes=2**20)
    records = [Record((f"ä {number}\n", "\x1b[31m\x00\u2028")) for number in range(3)]
    assert spool.add([*records, Record(end={"status": "failed"})]) == 4
    spool.sent()
    spool.close()
    assert spool.path is not None
    with spool.path.open("ab") as file:
        file.write(b'{"texts": ["half a rec')
    again = Spool.open(spool.path)
    assert (again.session, again.fence) == ("s", 7)
    for record in records[1:]:
        assert again.first() == record
        again.sent()
    last = again.first()
    assert last is not None
    assert last.end == {"status": "failed"}
    again.sent()
    assert again.first() is None
    again.close()
    assert not spool.path.exists()


def test_a_file_that_is_in_use_or_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    """Only one program sends a spool; other files are not taken for one."""
    spool = Spool(tmp_path, session="s", fence=None, limit_bytes=2**20)
    spool.add([Record(("a",))])
    assert spool.path is not None
    with pytest.raises(BadSpoolError, match="in use"):
        Spool.open(spool.path)
    spool.close()
    for text in ("", "x\n", '{"format": 2}\n', '{"sent": "0", "format": 9, "session": "s", "fence": 1}\n'):
        other = tmp_path / "other"
        other.write_text(text)
        with pytest.raises(BadSpoolError):
            Spool.open(other)


def test_a_bound_is_kept(tmp_path: Path) -> None:
    """What does not fit is not taken, but the last words always are; sent to its end, the file begins anew."""
    spool = Spool(tmp_path, session="s", fence=None, limit_bytes=600)
    records = [Record(("x" * 100,)) for _ in range(10)]
    taken = spool.add(records)
    assert 0 < taken < 10
    assert spool.path is not None
    assert spool.path.stat().st_size <= 600
    assert spool.add(records) == 0
    assert spool.add(records[:1], last=True) == 1
    for _ in range(taken + 1):
        assert spool.first() is not None
        spool.sent()
    assert spool.empty
    assert spool.add(records) == taken
    spool.close()
