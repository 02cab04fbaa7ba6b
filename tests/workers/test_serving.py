"""Two workers are one server."""

import signal
from contextlib import AsyncExitStack

import pytest

from support.node import Node
from support.processes import alive, send
from support.streams import Kind
from support.team import PROJECT, lines, stream_at, until_logged, workers
from support.vitals import metrics, until_so
from support.waiting import until
from support.writer import Writer


@pytest.mark.parametrize("kind", ["sse", "websocket"])
async def test_whoever_is_written_through_the_streams_of_both_workers_get_it(
    team: Node, stack: AsyncExitStack, kind: Kind
) -> None:
    """Changes by many connections reach every stream of both workers, once and in order."""
    first = Writer(team.url, PROJECT)
    await first.put_project()
    held = await stream_at(stack, team, kind, *workers(team))
    writers = [first, *(Writer(team.url, PROJECT) for _ in range(15))]
    for writer in writers:
        assert await writer.change(), writer.failed
        await writer.close()
    for one in held:
        await one.stream.counted(len(writers))
        assert one.stream.offsets == list(range(1, len(writers) + 1))

    def written_by() -> set[int]:
        return {line["worker"] for line in lines(team) if line.get("method") == "POST"}

    await until(lambda: written_by() == {1, 2}, "lines of both workers about changes")


async def test_the_address_is_told_once_and_every_line_of_a_worker_says_its_number(team: Node) -> None:
    """One line on standard output for all of them; of the others it is known who wrote them."""
    assert team.log().count("sessioncast is ready at") == 1
    ready = await until_logged(team, 2, event="worker ready")
    assert {line["pid"] for line in ready} == set(workers(team))
    assert {line["worker"] for line in lines(team)} == {1, 2}


async def test_metrics_say_which_worker_answers(team: Node) -> None:
    """One scrape is of one worker, and the next may be of the other."""
    seen: set[float] = set()

    async def both() -> bool:
        seen.add((await metrics(team))["sessioncast_worker"])
        return seen == {1, 2}

    await until_so(both, lambda: f"both workers to answer; {seen} did")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_worker_that_ends_is_started_again_and_the_others_do_not_feel_it(
    team: Node, stack: AsyncExitStack, number: signal.Signals
) -> None:
    """Its streams end, those of the other go on over the same connection, and soon there are two workers again."""
    writer = Writer(team.url, PROJECT)
    await writer.put_project()
    victim, other = workers(team)
    held = await stream_at(stack, team, "sse", victim, other)
    spared = [one.stream for one in held if one.pid == other]
    send([victim], number)
    await until(lambda: not alive(victim), "the worker to end")
    (died,) = await until_logged(team, 1, event="worker died")
    why = "ended by SIGKILL" if number is signal.SIGKILL else "ended with status 0"
    assert (died["why"], died["again_in_s"]) == (why, 0.25)
    while not await writer.change():  # its connection may have been the victim's
        pass
    await until_logged(team, 3, event="worker ready")
    (successor,) = set(workers(team)) - {other}
    later = await stream_at(stack, team, "sse", successor)
    changes = len(writer.acknowledged) + 1
    assert await writer.change(), writer.failed
    for stream in [*spared, *(one.stream for one in later)]:
        assert (stream.closed, stream.of("goodbye")) == (None, [])
    for stream in spared:
        await stream.counted(changes)
        assert len(stream.of("subscribed")) == 1
    for one in later:
        await one.stream.counted(1)
    await writer.close()
