"""Turns: updates of a session come one after the other, against a real node."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from sessioncast import Client, Fenced, Invalid, Limits, SessionBeingModified, Use
from support.node import NodeProcess
from support.ports import free_port
from support.providing import a_session, given, newest_id, rows
from support.waiting import DEADLINE_S, STALL_S


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    # A place that is not given up is in the way of others for longer than a test may take.
    env = {"SESSIONCAST_WAITER_LEASE_S": "600"}
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as started:
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


@pytest.mark.parametrize("wait_s", [0, STALL_S + 1])
async def test_a_turn_that_does_not_come_is_told_with_how_many_are_ahead(node: NodeProcess, wait_s: float) -> None:
    """One answer after `wait_s`, longer than an attempt of other requests may take: nobody asks again."""
    heard: list[object] = []
    limits = Limits(attempt_s=STALL_S, deadline_s=STALL_S)
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


async def test_who_stops_waiting_gives_its_place_up(client: Client) -> None:
    """Cancelled in the queue, it is let go at once; who came later is next, and waits for no lease."""
    session = await a_session(client)
    holder = client.resumable(session)
    await holder.__aenter__()
    gone = asyncio.create_task(client.resumable(session, wait_s=60).__aenter__())
    await waiting(client, session.id, 2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await waiting(client, session.id, 1)
    await holder.__aexit__(None, None, None)
    async with client.resumable(session, wait_s=0) as attempt:
        assert await attempt.run(gives(given("B"))) is None


async def waiting(client: Client, session: str, count: int) -> None:
    """Return when so many are in the queue, the holder among them."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with pytest.raises(SessionBeingModified) as caught:
                await client.providers.resume(session, wait_s=0)
            if caught.value.ahead == count:
                return


async def test_a_turn_that_comes_too_late_is_given_up(node: NodeProcess) -> None:
    """Cancelled at any moment around the grant: once its client is closed, the next one has to wait for nobody."""
    async with Client(node.url) as other:
        session = await a_session(other)
        for steps in range(0, 120, 4):
            async with Client(node.url) as client:
                await client.projects.put(session.project_id)  # the connection is there: the request goes out at once
                entering = asyncio.create_task(client.resumable(session, wait_s=0).__aenter__())
                for _ in range(steps):
                    await asyncio.sleep(0)
                entering.cancel()
                await asyncio.wait({entering})
                if not entering.cancelled():
                    await entering.result().use.close(None, spoiled=lambda: True)
            await other.providers.give_up_turn(session, (await other.providers.resume(session, wait_s=0)).fence)


async def test_a_turn_that_cannot_be_used_is_given_up(client: Client) -> None:
    """The open is refused: the next one gets its turn all the same."""
    session = await a_session(client)
    with pytest.raises(Invalid):
        await client.resumable(session, iteration=-1).__aenter__()
    async with client.resumable(session, wait_s=30) as attempt:
        assert attempt.fence > session.fence + 1


async def test_giving_up_a_turn(client: Client) -> None:
    """An unused one ends by it; a used one, and none at all, are left as they are; an old fence is told so."""
    session = await a_session(client)
    first = await client.providers.resume(session, wait_s=0)
    await client.providers.give_up_turn(session, first.fence)
    await client.providers.give_up_turn(session, first.fence)
    async with client.resumable(session, wait_s=0) as attempt:
        await client.providers.give_up_turn(session, attempt.fence)
        with pytest.raises(SessionBeingModified):
            await client.providers.resume(session, wait_s=0)
        with pytest.raises(Fenced):
            await client.providers.give_up_turn(session, first.fence)
