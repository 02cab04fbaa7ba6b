"""Ids that are kept from going stale, on a node where they do so within seconds."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sessioncast import Client, FreshReason, ProviderState, ResumeFailed, Session, SyncClient, Use
from support.node import NodeProcess
from support.ports import free_port
from support.providing import a_session, closed, given, newest_id, rows
from support.waiting import until

STALE_S = 6
EARLY = timedelta(seconds=5.5)
"""So that half a second after its last use an id is due, and there is time to do it."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    env = {"SESSIONCAST_RESUME_STALE_S": str(STALE_S)}
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


async def built(client: Client) -> tuple[Session, str]:
    """A session, and the id that its first run left."""
    session, new = await a_session(client), given("A")
    async with client.iteration(session, "build") as it:
        await it.record(provider_session_id=new)
    return session, new


async def test_an_id_is_compacted_before_it_is_stale(client: Client) -> None:
    """Again and again, each time what the last one left, so that the session can still be resumed past its age."""
    session, a = await built(client)
    asked: list[str | None] = []

    async def compact(use: Use) -> None:
        asked.append(use.resume_id)
        await use.record(provider_session_id=given("C"), tokens=1)

    async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05) as keeper:
        await until(lambda: keeper.times >= 2, "two compactions")
        assert keeper.last_error is None
    found = await rows(client, session)
    assert [row.operation for row in found[:3]] == ["build", "compact", "compact"]
    assert asked[:2] == [a, found[1].provider_session_id]
    assert all(row.state is ProviderState.ENDED for row in found)
    async with client.resumable(session) as attempt:
        assert attempt.decision.provider_session_id == found[-1].provider_session_id


async def test_nothing_is_done_before_its_time(client: Client) -> None:
    """While others use the id it is not due, and a session without one has nothing to keep."""
    session, a = await built(client)
    empty = await a_session(client)
    looked = asyncio.Event()

    async def compact(_: Use) -> None:
        raise AssertionError("it was not due")

    wish = {"refresh_before": timedelta(seconds=0.5), "look_s": 0.01}
    async with client.keep_fresh(session, compact, **wish) as one, client.keep_fresh(empty, compact, **wish) as two:  # type: ignore[arg-type]  # a table of both
        asyncio.get_running_loop().call_later(0.5, looked.set)
        await looked.wait()
        assert (one.times, two.times, one.last_error, two.last_error) == (0, 0, None, None)
    assert len(await rows(client, session)) == 1
    assert await newest_id(client, session) == a
    assert await rows(client, empty) == []


async def test_what_is_stale_already_is_left_alone(client: Client) -> None:
    """There is nothing to keep: the next update begins afresh, and nothing was run for it."""
    session, _ = await built(client)
    stale_at = (await client.providers.chain(session)).stale_at
    assert stale_at is not None
    await until(lambda: datetime.now(UTC) > stale_at, "the id to be stale")
    assert (await client.providers.resume(session, fork=True)).reason is FreshReason.STALE
    calls: list[Use] = []
    seen = asyncio.Event()
    async with client.keep_fresh(session, calls.append, refresh_before=EARLY, look_s=0.01) as keeper:
        asyncio.get_running_loop().call_later(0.2, seen.set)
        await seen.wait()
        assert (keeper.times, keeper.last_error) == (0, None)
    assert calls == []
    assert len(await rows(client, session)) == 1


async def test_a_failed_compaction_is_told_and_tried_again(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """It does not disturb what goes on meanwhile, and leaves the id as it was."""
    session, a = await built(client)
    asked: list[str | None] = []

    async def compact(use: Use) -> None:
        asked.append(use.resume_id)
        if len(asked) == 1:
            raise ZeroDivisionError
        await use.record(provider_session_id=given("C"))

    async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05) as keeper:
        await until(lambda: keeper.times == 1, "the second try")
        assert isinstance(keeper.last_error, ZeroDivisionError)
    assert asked[:2] == [a, a]
    assert "could not be kept fresh" in caplog.text


async def test_an_id_that_was_lost_is_not_built_anew(client: Client) -> None:
    """When the provider has it no more, there is nothing to compact: it is not called to begin afresh."""
    session, a = await built(client)
    asked: list[str | None] = []

    async def compact(use: Use) -> None:
        asked.append(use.resume_id)
        raise ResumeFailed("not_found")

    async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05) as keeper:
        await until(lambda: bool(asked), "the try")
        await closed(client, session, 1)
    assert asked == [a]
    assert (keeper.times, keeper.last_error) == (0, None)
    assert (await client.providers.resume(session, fork=True)).reason is FreshReason.NOT_RESUMABLE


async def test_a_wish_that_would_never_rest_is_refused(client: Client) -> None:
    """Longer than an id lives: told, and nothing is run; not positive: refused at once."""
    session, _ = await built(client)
    calls: list[Use] = []
    with pytest.raises(ValueError, match="longer than nothing"):
        client.keep_fresh(session, calls.append, refresh_before=timedelta())
    async with client.keep_fresh(session, calls.append, refresh_before=timedelta(hours=2), look_s=0.01) as keeper:
        await until(lambda: keeper.last_error is not None, "the refusal")
    assert "would never rest" in str(keeper.last_error)
    assert calls == []


async def test_leaving_ends_a_compaction(client: Client) -> None:
    """One that is under way is cancelled, and its provider session is ended before the block is left."""
    session, a = await built(client)
    inside = asyncio.Event()

    async def compact(_: Use) -> None:
        inside.set()
        await asyncio.Event().wait()

    async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05):
        await inside.wait()
    assert [row.state for row in await rows(client, session)] == [ProviderState.ENDED] * 2
    assert await newest_id(client, session) == a


async def test_an_id_that_somebody_lives_in_is_left_alone(client: Client) -> None:
    """While an iteration with the newest id is open it is not compacted, and keeps its own; afterwards it is."""
    session = await a_session(client)
    asked: list[str | None] = []
    b = given("B")

    async def compact(use: Use) -> None:
        asked.append(use.resume_id)
        await use.record(provider_session_id=given("C"))

    async with client.iteration(session) as it:
        await it.record(provider_session_id=given("A"))
        stale_at = (await client.providers.chain(session)).stale_at
        assert stale_at is not None
        due = stale_at - EARLY
        async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05) as keeper:
            await until(lambda: datetime.now(UTC) > due + timedelta(seconds=1), "the id to be due for a while")
            assert (asked, keeper.times, keeper.last_error) == ([], 0, None)
            await it.record(provider_session_id=b)
    async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05) as keeper:
        await until(lambda: keeper.times == 1, "a compaction")
    assert asked[0] == b


async def test_leaving_waits_for_a_compaction_in_a_thread(client: Client) -> None:
    """It cannot be stopped: the block is left when it has ended, with the id that it told."""
    session, _ = await built(client)
    inside, gate, c = asyncio.Event(), threading.Event(), given("C")
    loop = asyncio.get_running_loop()

    def compact(use: Use) -> None:
        loop.call_soon_threadsafe(inside.set)
        assert gate.wait(30)
        use.record(provider_session_id=c)  # type: ignore[unused-coroutine]  # it is a view, whose methods block

    async with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05):
        await inside.wait()
        loop.call_later(0.2, gate.set)
    assert gate.is_set()
    assert [row.state for row in await rows(client, session)] == [ProviderState.ENDED] * 2
    assert await newest_id(client, session) == c


def test_without_async_it_runs_in_a_thread_of_its_own(node: NodeProcess) -> None:
    """The block goes on meanwhile; what `compact` is given blocks."""
    done, threads = threading.Event(), []

    def compact(use: Any) -> None:
        threads.append(threading.get_ident())
        use.record(provider_session_id=given("C"))
        done.set()

    with SyncClient(node.url) as client:
        project = given("p")
        client.projects.put(project)
        session = client.sessions.start(client.tasks.create(project, "T").id, "run", "m").session
        with client.iteration(session) as it:
            it.record(provider_session_id=given("A"))
        with client.keep_fresh(session, compact, refresh_before=EARLY, look_s=0.05):
            assert done.wait(30)
        assert client.providers.chain(session).head.operation == "compact"
    assert threading.get_ident() not in threads
