"""A client that is closed, or given up, in the middle of anything: nothing of it is left."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from sessioncast import Client, ConnectionLost, SessioncastError, StreamState
from sessioncast.streams.ways import TransportWish
from support.badproxy import BadProxy
from support.mirrored import SOON, Works, mine
from support.waiting import DEADLINE_S, until

TRANSPORTS = ["websocket", "sse", "poll", "auto"]


async def nothing_left(before: set["asyncio.Task[object]"], proxy: BadProxy) -> None:
    """No task of the client's at once, and no connection as soon as the other side has seen its end."""
    assert not mine(before), mine(before)
    await until(lambda: not proxy.open, "connections to be gone")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("silent", [False, True])
async def test_a_client_closed_while_it_connects_leaves_nothing(
    proxy: BadProxy, works: Works, transport: TransportWish, silent: bool
) -> None:
    """On a good line or one that swallows all, whoever waits for the first word is told the end, and no task stays."""
    before = asyncio.all_tasks()
    proxy.swallows = {"down"} if silent else set()
    client = Client(proxy.url, limits=SOON)
    stream = client.subscribe(works.project, transport=transport)
    waiting = asyncio.create_task(stream.__anext__())
    seen = len(proxy.asked)
    await until(lambda: len(proxy.asked) > seen or waiting.done(), "the client to ask")
    await client.aclose()
    async with asyncio.timeout(DEADLINE_S):
        with suppress(StopAsyncIteration):
            await waiting
    assert stream.state is StreamState.CLOSED
    await nothing_left(before, proxy)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_who_is_cancelled_while_it_connects_can_go_on(
    proxy: BadProxy, works: Works, transport: TransportWish
) -> None:
    """A timeout in the middle of connecting is no end; the next call connects again, and closing leaves nothing."""
    before = asyncio.all_tasks()
    proxy.freeze()
    async with Client(proxy.url, limits=SOON) as client:
        stream = client.subscribe(works.project, transport=transport)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(stream)
        proxy.thaw()
        async with asyncio.timeout(DEADLINE_S):
            await anext(stream)
        assert stream.state is StreamState.OPEN
    await nothing_left(before, proxy)


async def test_many_that_are_cancelled_while_they_connect_leave_nothing(proxy: BadProxy, works: Works) -> None:
    """The connection that they waited for together is closed with the client, used or not."""
    before = asyncio.all_tasks()
    proxy.freeze()
    async with Client(proxy.url, limits=SOON) as client:
        task = await works.client.tasks.create(works.project, "T")
        streams = [client.subscribe(works.project, task=task.id, kinds=[kind]) for kind in ("task", "session")]
        waiting = [asyncio.create_task(stream.__anext__()) for stream in streams]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        proxy.thaw()
    await nothing_left(before, proxy)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_closed_client_ends_its_mirrors(proxy: BadProxy, works: Works, transport: TransportWish) -> None:
    """Who waits for a change, or for a state, is told that there are no more; nobody waits for ever."""
    before = asyncio.all_tasks()
    client = Client(proxy.url, limits=SOON)
    live = client.live(works.project, transport=transport)
    await live.__aenter__()
    changes = asyncio.create_task(live.__anext__())
    state = asyncio.create_task(live.until(lambda _: False))
    await asyncio.sleep(0)
    await client.aclose()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(StopAsyncIteration):
            await changes
        with pytest.raises(ConnectionLost):
            await state
    await live.aclose()
    await nothing_left(before, proxy)


async def test_a_client_closed_on_a_frozen_line_does_not_wait_for_it(proxy: BadProxy, works: Works) -> None:
    """Goodbyes that nobody answers are given up."""
    before = asyncio.all_tasks()
    async with Client(proxy.url, limits=SOON) as client, client.live(works.project) as live:
        assert live.transport == "websocket"
        proxy.freeze()
    assert not mine(before)
    proxy.thaw()
    await nothing_left(before, proxy)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_token_function_that_raises_is_heard(proxy: BadProxy, works: Works, transport: TransportWish) -> None:
    """Its exception is the subscription's and the mirror's, and no wait without an end."""

    async def none() -> str:
        raise LookupError("no token today")

    before = asyncio.all_tasks()
    async with Client(proxy.url, none, limits=SOON) as client:
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(LookupError):
                await anext(client.subscribe(works.project, transport=transport))
            with pytest.raises(LookupError):
                await client.live(works.project, transport=transport).__aenter__()
    await nothing_left(before, proxy)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_token_function_that_hangs_is_asked_again(
    proxy: BadProxy, works: Works, transport: TransportWish
) -> None:
    """A call that never returns is given up: the next one may."""
    calls = 0

    async def late() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        return "any"

    before = asyncio.all_tasks()
    limits = replace(SOON, attempt_s=0.5, connect_s=0.5, first_frame_s=0.5)
    async with Client(proxy.url, late, limits=limits) as client:
        stream = client.subscribe(works.project, transport=transport)
        async with asyncio.timeout(DEADLINE_S):
            await anext(stream)
        assert calls > 1
    await nothing_left(before, proxy)


async def test_a_client_closed_while_a_token_is_asked_for_leaves_nothing(proxy: BadProxy, works: Works) -> None:
    """The question is given up with it."""

    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    before = asyncio.all_tasks()
    client = Client(proxy.url, never, limits=SOON)
    waiting = asyncio.create_task(client.subscribe(works.project).__anext__())
    await asyncio.sleep(0.05)  # no event tells that it asks; too short a sleep tests less, and fails nothing
    await client.aclose()
    with suppress(StopAsyncIteration, SessioncastError):
        async with asyncio.timeout(DEADLINE_S):
            await waiting
    assert not [task for task in asyncio.all_tasks() - before if not task.done()]
