"""Turns: updates of a session come one after the other, against a real node."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from sessioncast import Client, Limits, SessionBeingModified, Use
from support.node import NodeProcess
from support.ports import free_port
from support.providing import a_session, given, newest_id, rows


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env={}, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


def gives(new: str) -> Callable[[Use], Awaitable[str | None]]:
    """A provider that gives out this id, and returns what it was asked to resume."""

    async def run(use: Use) -> str | None:
        await use.record(provider_session_id=new)
        return use.resume_id

    return run


async def built(client: Client, session: str) -> str:
    """A session's first id, as a build leaves it."""
    new = given("A")
    async with client.resumable(session, "build") as attempt:
        await attempt.run(gives(new))
    return new


async def test_a_cancelled_update_gives_its_turn_back(client: Client) -> None:
    """Cancelled in the middle of a run: the next one gets its turn and the id that was recorded."""
    session, inside, b = await a_session(client), asyncio.Event(), given("B")

    async def run(use: Use) -> None:
        await use.record(provider_session_id=b)
        inside.set()
        await asyncio.Event().wait()

    async def update() -> None:
        async with client.resumable(session) as attempt:
            await attempt.run(run)

    task = asyncio.create_task(update())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with client.resumable(session, wait_s=0) as attempt:
        assert attempt.decision.provider_session_id == b


async def test_updates_of_a_session_come_one_after_the_other(client: Client) -> None:
    """Five at once: each resumes what the one before it gave out, and their fences rise."""
    session = await a_session(client)
    await built(client, session.id)
    now, most, fences = 0, 0, []

    async def update() -> None:
        nonlocal now, most
        async with client.resumable(session, wait_s=30) as attempt:
            now += 1
            most = max(most, now)
            fences.append(attempt.fence)
            await attempt.run(gives(given("N")))
            now -= 1

    await asyncio.gather(*(update() for _ in range(5)))
    assert most == 1
    assert fences == sorted(set(fences))
    found = await rows(client, session)
    assert [row.resumed_from for row in found[1:]] == [row.provider_session_id for row in found[:-1]]


@pytest.mark.parametrize("wait_s", [0, 1])
async def test_a_turn_that_does_not_come_is_told_with_how_many_are_ahead(node: NodeProcess, wait_s: float) -> None:
    """One answer after `wait_s`, longer than an attempt of other requests may take: nobody asks again."""
    heard: list[object] = []
    limits = Limits(attempt_s=0.5, deadline_s=0.5)
    async with Client(node.url) as client, Client(node.url, limits=limits, on_retry=heard.append) as other:
        session = await a_session(client)
        async with client.resumable(session):
            with pytest.raises(SessionBeingModified) as caught:
                await other.resumable(session, wait_s=wait_s).__aenter__()
    assert caught.value.ahead == 1
    assert heard == []
    assert len(await rows_of(node, session.id)) == 1


async def rows_of(node: NodeProcess, session: str) -> list[str]:
    """Ids of the session's provider sessions, asked by a client of its own."""
    async with Client(node.url) as client:
        return [row.id for row in await rows(client, session)]


async def test_a_branch_waits_for_nobody(client: Client) -> None:
    """A fork resumes the head while another has the turn, and the chain goes on without it."""
    session = await a_session(client)
    a, b, beside = await built(client, session.id), given("B"), given("F")
    async with client.resumable(session) as attempt:
        async with client.resumable(session, fork=True, wait_s=0) as fork:
            assert await fork.run(gives(beside)) == a
        await attempt.run(gives(b))
    assert await newest_id(client, session) == b
    assert [(row.fork, row.provider_session_id) for row in await rows(client, session)] == [
        (False, a),
        (False, b),
        (True, beside),
    ]
