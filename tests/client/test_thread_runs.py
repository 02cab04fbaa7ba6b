"""Runs of threads: how they are waited for, kept, lost and left, against a real node."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from sessioncast import Client, Fenced, NotFound, Run, SessionBeingModified, SyncClient
from support.node import NodeProcess
from support.ports import free_port
from support.waiting import until, wait_until

MOST = 10
"""Messages that the node keeps of a thread."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own; it looks often for what has lapsed."""
    env = {
        "SESSIONCAST_THREAD_MAX_MESSAGES": str(MOST),
        "SESSIONCAST_TURN_LOOK_S": "0.05",
        "SESSIONCAST_LEASE_LOOK_S": "0.05",
        # A place that is not given up is in the way of others for longer than a test may take.
        "SESSIONCAST_WAITER_LEASE_S": "600",
    }
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.fixture
async def project(client: Client) -> str:
    """A new project."""
    return (await client.projects.put(f"p-{uuid4().hex}")).id


async def texts(client: Client, project: str, thread: str) -> list[Any]:
    """What is said in a thread."""
    return [message.content for message in await client.threads.messages(project, thread)]


async def test_old_messages_go_when_the_run_ends(client: Client, project: str) -> None:
    """In it all are there that were; outside each append makes room at once."""
    id_ = str(uuid4())
    async with client.threads.run(project, id_) as run:
        for number in range(MOST + 3):
            await run.say("user", str(number))
        assert len(await run.messages()) == MOST + 3
    assert await texts(client, project, id_) == [str(number) for number in range(3, MOST + 3)]
    await client.threads.say(project, id_, "user", "x")
    assert len(await texts(client, project, id_)) == MOST


async def test_an_exception_ends_the_run_and_goes_on(client: Client, project: str) -> None:
    """What was appended before it stays."""
    id_ = str(uuid4())

    async def fails() -> None:
        async with client.threads.run(project, id_) as run:
            await run.say("user", "1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    await client.threads.say(project, id_, "user", "2", wait_s=0)
    assert await texts(client, project, id_) == ["1", "2"]


async def test_a_cancelled_run_gives_its_turn_back(client: Client, project: str) -> None:
    """In the background, within moments."""
    id_, inside = str(uuid4()), asyncio.Event()

    async def work() -> None:
        async with client.threads.run(project, id_, lease_s=3600) as run:
            await run.say("user", "1")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await client.threads.say(project, id_, "user", "2", wait_s=30)
    assert await texts(client, project, id_) == ["1", "2"]


async def test_who_is_cancelled_while_leaving_leaves_all_the_same(client: Client, project: str) -> None:
    """The end of the run is on its way by then."""
    id_, inside, leave = str(uuid4()), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with client.threads.run(project, id_, lease_s=3600):
            inside.set()
            await leave.wait()

    task = asyncio.create_task(work())
    await inside.wait()
    leave.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    await client.threads.say(project, id_, "user", "next", wait_s=30)


async def test_who_stops_waiting_for_a_turn_is_in_nobodys_way(client: Client, project: str, node: NodeProcess) -> None:
    """His place is given up in the background: the one behind him comes next."""
    id_ = str(uuid4())
    asked: list[str] = []

    async def waits() -> None:
        async with client.threads.run(project, id_, wait_s=60):
            asked.append("never")

    async with Client(node.url) as other, other.threads.run(project, id_, lease_s=3600):
        task = asyncio.create_task(waits())
        await behind(other, project, id_, 2)
        task.cancel()
        await asyncio.wait({task})
        await behind(other, project, id_, 1)
    await client.threads.say(project, id_, "user", "next", wait_s=0)
    assert asked == []


async def behind(client: Client, project: str, thread: str, count: int) -> None:
    """Return when so many are before who comes now."""
    while True:
        with pytest.raises(SessionBeingModified) as caught:
            await client.threads.say(project, thread, "user", "x", wait_s=0)
        if caught.value.ahead == count:
            return
        await asyncio.sleep(0.01)


async def test_a_run_is_kept_for_as_long_as_it_lasts(client: Client, project: str, node: NodeProcess) -> None:
    """Three times its lease and more, without a change: others wait in vain."""
    id_ = str(uuid4())
    async with Client(node.url) as other, client.threads.run(project, id_, lease_s=1) as run:
        with pytest.raises(SessionBeingModified):
            await other.threads.say(project, id_, "user", "x", wait_s=3)
        await run.say("user", "still here")


async def test_a_run_that_nobody_keeps_is_over(client: Client, project: str, node: NodeProcess) -> None:
    """Whoever comes next gets the turn, what was appended stays, and its holder hears it at his next change."""
    id_ = str(uuid4())
    held, gone = threading.Event(), threading.Event()
    runs: list[Run] = []

    def frozen() -> None:
        async def work() -> None:
            async with Client(node.url) as own, own.threads.run(project, id_, lease_s=1) as run:
                runs.append(run)
                await run.say("user", "1")
                held.set()
                gone.wait(60)  # the loop stands still, as on a machine that sleeps
                with pytest.raises(Fenced):
                    await run.say("user", "too late")
                assert isinstance(run.lost, Fenced)
                with pytest.raises(Fenced):
                    await run.pop()

        asyncio.run(work())

    asleep = asyncio.create_task(asyncio.to_thread(frozen))
    await asyncio.to_thread(held.wait, 60)
    await client.threads.say(project, id_, "user", "2", wait_s=30)
    gone.set()
    await asleep
    assert await texts(client, project, id_) == ["1", "2"]


async def test_who_loses_his_run_is_told_without_asking(client: Client, project: str) -> None:
    """The thread is deleted: the next sign of life says so, and no change is even sent."""
    id_ = str(uuid4())
    async with client.threads.run(project, id_, lease_s=1) as run:
        await run.say("user", "1")
        await client.threads.delete(project, id_)
        await until(lambda: run.lost is not None, "the loss")
        with pytest.raises(Fenced) as caught:
            await run.say("user", "2")
        assert caught.value is run.lost
    with pytest.raises(NotFound):
        await client.threads.get(project, id_)


@pytest.fixture
def blocking(node: NodeProcess) -> Iterator[SyncClient]:
    """A client that blocks."""
    with SyncClient(node.url) as client:
        yield client


def test_threads_without_async(blocking: SyncClient) -> None:
    """The same calls, resources and exceptions."""
    project, id_ = f"p-{uuid4().hex}", str(uuid4())
    blocking.projects.put(project)
    assert blocking.threads.create(project, id=id_, title="T").title == "T"
    blocking.threads.append(project, id_, [{"role": "user", "content": "hi"}])
    blocking.threads.say(project, id_, "assistant", "hello")
    assert [message.role for message in blocking.threads.messages(project, id_)] == ["user", "assistant"]
    assert [thread.id for thread in blocking.threads.list(project)] == [id_]
    assert blocking.threads.acting_for("ann").create(project, id=id_).user == "ann"
    assert blocking.threads.pop(project, id_).content == "hello"
    assert blocking.threads.clear(project, id_).message_count == 0
    assert blocking.threads.stats(project, id_).count == 0
    blocking.threads.delete(project, id_)
    with pytest.raises(NotFound):
        blocking.threads.get(project, id_)


def test_a_run_without_async(blocking: SyncClient) -> None:
    """`with` waits for the turn and ends it, also on exceptions; a loss is told meanwhile."""
    project, id_ = f"p-{uuid4().hex}", str(uuid4())
    blocking.projects.put(project)
    with blocking.threads.run(project, id_, lease_s=1) as run:
        run.say("user", "1")
        with pytest.raises(SessionBeingModified):
            blocking.threads.say(project, id_, "user", "x", wait_s=0)
        with pytest.raises(SessionBeingModified):
            blocking.threads.run(project, id_, wait_s=0).__enter__()
        blocking.threads.delete(project, id_)
        wait_until(lambda: run.lost is not None, "the loss")
        with pytest.raises(Fenced):
            run.say("user", "2")
    with pytest.raises(ZeroDivisionError), blocking.threads.run(project, id_):
        raise ZeroDivisionError
    blocking.threads.say(project, id_, "user", "2", wait_s=0)
