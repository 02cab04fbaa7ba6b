"""One client with many subscriptions, slow ones, doubled ones, and a server that stops pushing."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from sessioncast import Client, Event, Opened, SlowConsumer, StreamState, Subscription
from sessioncast.streams.subscription import WhenFull
from sessioncast.streams.ways import TransportWish
from support.badproxy import BadProxy
from support.mirrored import SOON, Works, watched
from support.node import NodeProcess
from support.ports import free_port
from support.waiting import DEADLINE_S, until


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that takes no more than a few resources for one snapshot."""
    env = {"SESSIONCAST_HEARTBEAT_S": "0.5", "SESSIONCAST_SNAPSHOT_MAX": "60"}
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as node:
        yield node


async def next_event(stream: Subscription) -> Event:
    """The next event of a stream."""
    async with asyncio.timeout(DEADLINE_S):
        async for item in stream:
            if isinstance(item, Event):
                return item
    raise AssertionError("the stream ended")


async def test_more_than_a_hundred_subscriptions_take_two_connections(proxy: BadProxy, works: Works) -> None:
    """A connection takes a hundred; each subscription gets what is its own, also after both were cut."""
    tasks = [await works.client.tasks.create(works.project, f"T{number}") for number in range(110)]
    limits = replace(SOON, idle_s=30.0)
    async with Client(proxy.url, limits=limits) as client:
        streams = [client.subscribe(works.project, task=task.id, snapshot="never") for task in tasks]
        async with asyncio.timeout(DEADLINE_S):
            opened = await asyncio.gather(*[anext(stream) for stream in streams])
        assert {type(item) for item in opened} == {Opened}
        assert proxy.asked.count("websocket") == 2
        assert client.stats().transports == {"websocket": 110}
        for title in ("once", "again"):
            waiting = [asyncio.create_task(next_event(stream)) for stream in streams]
            await asyncio.gather(*[works.client.tasks.patch(task.id, title=title) for task in tasks])
            found = await asyncio.gather(*waiting)
            assert [(event.task_id, event.data["title"]) for event in found] == [(task.id, title) for task in tasks]
            await proxy.cut("websocket")


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_two_of_a_kind_are_two(proxy: BadProxy, works: Works, transport: TransportWish) -> None:
    """Identical subscriptions of one client each get every event, and closing one leaves the other."""
    async with Client(proxy.url, limits=SOON) as client:
        one, two = (client.subscribe(works.project, transport=transport) for _ in range(2))
        for stream in (one, two):
            assert isinstance(await anext(stream), Opened)
        task = await works.client.tasks.create(works.project, "T")
        assert [(await next_event(stream)).task_id for stream in (one, two)] == [task.id, task.id]
        await one.aclose()
        await works.client.tasks.patch(task.id, title="new")
        assert (await next_event(two)).data["title"] == "new"


@pytest.mark.parametrize("when_full", ["error", "resume"])
async def test_a_slow_one_holds_no_other_up(proxy: BadProxy, works: Works, when_full: WhenFull) -> None:
    """On a shared connection one that does not read is told so, or resumes; the other has everything in time."""
    limits = replace(SOON, buffer_frames=3, idle_s=30.0)
    async with Client(proxy.url, limits=limits) as client:
        slow = client.subscribe(works.project, kinds=["task"], transport="websocket", when_full=when_full)
        fast = client.subscribe(works.project, transport="websocket")
        for stream in (slow, fast):
            await anext(stream)
        task = await works.client.tasks.create(works.project, "T")
        await next_event(fast)
        for number in range(10):
            await works.client.tasks.patch(task.id, title=str(number))
            assert (await next_event(fast)).data["title"] == str(number)
        assert proxy.asked.count("websocket") == 1
        titles: list[str] = []
        try:
            while len(titles) < 11:
                titles.append((await next_event(slow)).data["title"])
        except SlowConsumer:
            assert when_full == "error"
            assert titles == ["T", *map(str, range(10))][: len(titles)]
            assert len(titles) < 11
        else:
            assert when_full == "resume"
            assert titles == ["T", *map(str, range(10))]
        assert client.stats().slow_times


async def test_push_off_and_on_again(proxy: BadProxy, works: Works) -> None:
    """Everybody polls within seconds, misses nothing, and comes back as soon as a poll is told so."""
    await works.some()
    async with watched(proxy.url, works.project) as seen:
        assert seen.live.transport == "websocket"
        await works.client.flags.set("push_enabled", "off")
        try:
            await until(lambda: seen.client.stats().transports == {"poll": 2}, "both to poll")
            assert seen.live.state is StreamState.OPEN
            await works.some()
            await works.told(seen)
        finally:
            await works.client.flags.set("push_enabled", "on")
        await until(lambda: seen.client.stats().transports == {"websocket": 2}, "both to be pushed to", deadline_s=60)
        await works.some()
        await works.told(seen)
        assert seen.live.transport == "websocket"
        assert not seen.client.stats().gaps


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_too_much_for_a_snapshot_is_read_in_parts(
    proxy: BadProxy, works: Works, transport: TransportWish
) -> None:
    """While it is read things come, change and go: in the end the mirror is the database's."""
    for _ in range(35):
        await works.some()

    async def meanwhile() -> None:
        for _ in range(5):
            await works.some()

    changing = asyncio.create_task(meanwhile())
    async with watched(proxy.url, works.project, transport=transport) as seen:
        await changing
        await proxy.cut()
        await works.some()
        await works.told(seen)
        assert len(seen.live.tasks) > 40


async def test_what_is_watched_may_be_deleted(proxy: BadProxy, works: Works) -> None:
    """A session, and a thread, that a mirror names leave it when they go; the mirror lives on."""
    task = await works.client.tasks.create(works.project, "T")
    session = (await works.client.sessions.start(task.id, "run", "m")).session
    thread = await works.client.threads.create(works.project, id=str(uuid4()))
    await works.client.threads.say(works.project, thread.id, "user", "hello")
    async with Client(proxy.url, limits=SOON) as client:
        live = client.live(works.project, session=session.id, thread=thread.id)
        async with live:
            assert [len(live.sessions), len(live.threads), len(live.messages(thread.id))] == [1, 1, 1]
            await works.client.sessions.delete(session.id)
            await works.client.threads.delete(works.project, thread.id)
            last = await live.until(lambda one: one.deleted_at is not None, session=session.id)
            assert last.id == session.id
            await until(lambda: not live.sessions and not live.threads, "both to be gone")
            assert live.messages(thread.id) == []
            await proxy.cut()
            await works.client.threads.create(works.project, id=thread.id)
            await until(lambda: len(live.threads) == 1, "one that was made again")
