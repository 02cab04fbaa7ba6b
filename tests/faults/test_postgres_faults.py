"""PostgreSQL restarted, and put back to an older state, under two nodes."""

import shutil
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from support.cluster import PROJECT, assert_same_story, make_schema, readers, start_node, two_nodes
from support.follower import SseFollower
from support.node import Node, NodeFactory
from support.postgres import Postgres
from support.program import Program
from support.vitals import becomes, until_so
from support.writer import Writer


async def _complains(node: Node) -> None:
    """Return when the node has asked a database without tables for the heads."""

    async def so() -> bool:
        return "does not exist" in node.log()

    await until_so(so, lambda: "a complaint in the log")


def _run(server: Postgres, program: str, *options: str, given: bytes = b"") -> bytes:
    """Output of one of PostgreSQL's own programs."""
    command: list[str | Path] = [server.binaries / program, *options, server.url]
    return subprocess.run(command, check=True, capture_output=True, input=given, timeout=60).stdout


def _copy(source: Program, data: Path, target: Path) -> None:
    """A base backup by hand: the server is stopped, its folder is copied with its owner, the server goes on."""
    source.stop()
    subprocess.run(["cp", "-a", str(data), str(target)], check=True)
    source.start()


async def test_a_restart_of_postgres_costs_time_and_no_event(node_factory: NodeFactory, own_postgres: Postgres) -> None:
    """While it is down both nodes are not ready and changes fail cleanly; then streams go on without a hole."""
    make_schema(own_postgres.url)
    a, b = await two_nodes(node_factory, own_postgres.url, None, SESSIONCAST_REPLAY_MAX_EVENTS="100000")
    writer = Writer(a.url, PROJECT)
    await writer.put_project()
    async with AsyncExitStack() as stack:
        followers = await readers(stack, a, b)
        await stack.enter_async_context(writer)
        await writer.more(50)
        own_postgres.stop()
        for node in (a, b):
            reasons = await becomes(node, 503, "unready")
            assert [reason for reason in reasons if reason.startswith("database: ")], reasons
        own_postgres.start()
        for node in (a, b):
            await becomes(node, 200, "ok")
        await writer.more(50)
        await writer.stop()
        for follower in followers:
            await follower.reach(writer.last.position)
        assert_same_story(followers, writer, first=1)
    assert {failure.split()[0] for failure in writer.failed} == {"503"}
    assert "Traceback" not in a.log() + b.log()


async def test_an_older_copy_under_running_nodes_is_told_to_every_reader(
    node_factory: NodeFactory, own_postgres: Postgres
) -> None:
    """A plain copy has the same identity; that the head fell behind what nodes saw gives the log a new epoch."""
    make_schema(own_postgres.url)
    a, b = await two_nodes(node_factory, own_postgres.url, None)
    writer = Writer(a.url, PROJECT)
    await writer.put_project()
    for _ in range(5):
        await writer.change()
    copy = own_postgres.data.with_name("copy")
    _copy(own_postgres, own_postgres.data, copy)
    async with AsyncExitStack() as stack:
        followers = await readers(stack, a, b)
        for _ in range(20):
            while not await writer.change():
                pass
        for follower in followers:
            await follower.reach(writer.last.position)
        old = writer.last.position.partition(":")[0]
        own_postgres.stop()
        shutil.rmtree(own_postgres.data)
        copy.rename(own_postgres.data)
        own_postgres.start()
        for follower in followers:
            await follower.hears("resync", "epoch")
        while not await writer.change():
            pass
        for follower in followers:
            await follower.reach(writer.last.position)
        new, _, offset = writer.last.position.partition(":")
        assert (new != old, int(offset)) == (True, 6)
        late = SseFollower("late", b.url, PROJECT)
        late.position = f"{old}:15"
        async with late:
            await late.hears("ready", "gap")
    await writer.close()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
async def test_a_restored_dump_is_another_log(
    node_factory: NodeFactory, own_postgres: Postgres, *, running: bool
) -> None:
    """Restored piece by piece, under a node or while it is stopped: another epoch, and readers are told."""
    make_schema(own_postgres.url)
    node = await start_node(node_factory, own_postgres.url, None)
    writer = Writer(node.url, PROJECT)
    await writer.put_project()
    async with SseFollower("reader", node.url, PROJECT) as follower:
        await follower.opened()
        await writer.change()
        await follower.reach(writer.last.position)
        dump = _run(own_postgres, "pg_dump")
        if not running:
            assert await node.stop() == 0
        with psycopg.connect(own_postgres.url, autocommit=True) as admin:
            admin.execute("DROP SCHEMA public CASCADE")
            admin.execute("CREATE SCHEMA public")
        if running:
            await _complains(node)
        _run(own_postgres, "psql", "-q", "-v", "ON_ERROR_STOP=1", given=dump)
        if running:
            await follower.hears("resync", "epoch")
        else:
            await node.start()
            await follower.hears("ready", "gap")
        old = writer.last.position.partition(":")[0]
        while not await writer.change():
            pass
        await follower.reach(writer.last.position)
        assert writer.last.position.partition(":")[0] != old
    await writer.close()
