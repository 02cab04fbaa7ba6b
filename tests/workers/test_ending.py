"""How a server with workers ends, whoever ends it."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import pytest

from sessioncast_server.settings import load
from sessioncast_server.workers.keeper import Keeper, Patience
from sessioncast_server.workers.port import Port
from support.node import Node, NodeFactory
from support.processes import alive, freeze, send
from support.team import PROJECT, Held, stream_at, until_logged, workers, workers_of
from support.waiting import until
from support.writer import Writer


async def streams_of_all(stack: AsyncExitStack, node: Node) -> list[Held]:
    """Streams of both kinds on each worker."""
    writer = Writer(node.url, PROJECT)
    await writer.put_project()
    await writer.close()
    pids = workers(node)
    return [*await stream_at(stack, node, "sse", *pids), *await stream_at(stack, node, "websocket", *pids)]


async def assert_told_goodbye(held: list[Held]) -> None:
    """Each stream was, and has ended."""
    for one in held:
        assert await one.stream.over() in ("end", 1001)
        assert one.stream.of("goodbye")[0]["reason"] == "draining"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_every_stream_of_every_worker_is_told_goodbye(
    team: Node, stack: AsyncExitStack, number: signal.Signals
) -> None:
    """One signal to the parent: all streams get their goodbye, nobody is killed, and the exit is 0."""
    held = await streams_of_all(stack, team)
    pids = workers(team)
    send([team.pid], number)
    await assert_told_goodbye(held)
    assert await team.wait() == 0
    assert not any(map(alive, pids))
    assert "worker killed" not in team.log()
    assert "worker died" not in team.log()


async def test_a_second_interrupt_does_not_wait(node_factory: NodeFactory, environment: dict[str, str]) -> None:
    """Workers that do not end within a long drain are killed at the second SIGINT; a second SIGTERM changes nothing."""
    patient = {**environment, "SESSIONCAST_DRAIN_S": "3600"}
    node = await node_factory(env=patient, arguments=["--workers", "2"])
    pids = workers(node)
    for pid in pids:
        freeze(pid)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        send([node.pid], number)
    assert await node.wait() == 0
    killed = await until_logged(node, 2, event="worker killed")
    assert {line["pid"] for line in killed} == set(pids)
    assert not any(map(alive, pids))


async def test_workers_that_do_not_end_are_killed(node_factory: NodeFactory, environment: dict[str, str]) -> None:
    """The parent waits for the drain and some seconds more, not for ever."""
    node = await node_factory(env={**environment, "SESSIONCAST_DRAIN_S": "0.1"}, arguments=["--workers", "2"])
    pids = workers(node)
    freeze(pids[0])
    node.term()
    assert await node.wait() == 0
    killed = await until_logged(node, 1, event="worker killed")
    assert [line["pid"] for line in killed] == pids[:1]
    assert not any(map(alive, pids))


async def test_a_parent_that_is_killed_leaves_no_worker(team: Node, stack: AsyncExitStack) -> None:
    """Workers notice, say goodbye to their streams and end; the port is free for the next server."""
    held = await streams_of_all(stack, team)
    pids = workers(team)
    send([team.pid], signal.SIGKILL)
    try:
        await assert_told_goodbye(held)
        assert await team.wait() == -signal.SIGKILL
        await until(lambda: not any(map(alive, pids)), f"{pids} to end")
    finally:
        send(pids, signal.SIGKILL)  # nobody else would
    assert team.log().count("the parent is gone") == 2
    await team.start()
    assert len(workers(team)) == 2


async def test_a_worker_that_keeps_dying_ends_all(team: Node, stack: AsyncExitStack) -> None:
    """The fifth death within a minute: the others say goodbye, the exit is 1 and says why."""
    held = await streams_of_all(stack, team)
    victim, other = workers(team)
    for death in range(5):
        send([victim], signal.SIGKILL)
        if death < 4:
            await until_logged(team, death + 1, event="worker died")
            await until(lambda: len(workers(team)) == 2, "it to be started again")
            (victim,) = set(workers(team)) - {other}
    await assert_told_goodbye([one for one in held if one.pid == other])
    assert await team.wait() == 1
    assert "died 5 times within 60 s; the last one ended by SIGKILL" in team.log()
    assert not alive(other)


async def test_deaths_of_long_ago_are_forgotten(environment: dict[str, str]) -> None:
    """Where only deaths at the same moment count together, a worker may die more often than that."""
    told: list[str] = []
    settings = load(environment, workers=2, port=0)
    port = Port.hold(settings.host, settings.port)
    patience = Patience(start_s=60, stop_s=30, pause_s=0.01, deaths=2, within_s=0)
    keeping = asyncio.create_task(Keeper(settings, port, patience, ready=told.append).keep())

    async def two() -> list[int]:
        await until(lambda: keeping.done() or len(workers_of(os.getpid())) == 2, "two workers")
        assert not keeping.done()
        return workers_of(os.getpid())

    await until(lambda: keeping.done() or told == [port.url], "the workers to be ready")
    _, other = await two()
    for _ in range(3):
        (victim,) = set(await two()) - {other}
        send([victim], signal.SIGKILL)
        await until(lambda pid=victim: not alive(pid), "it to end")  # type: ignore[misc]  # a default binds it
    assert other in await two()
    send([os.getpid()], signal.SIGTERM)  # to the keeper, which listens for it in this process
    await keeping
    assert workers_of(os.getpid()) == []
    port.close()
