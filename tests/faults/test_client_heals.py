"""Networks that fail in every way: the mirror is the database's afterwards, no event came twice, and it was seen."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from sessioncast import Client, StreamState
from support.badproxy import Answer, BadProxy
from support.mirrored import SOON, Watched, Works, state_is, watched
from support.node import NodeProcess
from support.ports import free_port
from support.waiting import STALL_S, until

Fault = Callable[[BadProxy, Watched, Works], Awaitable[None]]
TRANSPORTS = ["websocket", "sse", "poll"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that says often that it lives."""
    env = {"SESSIONCAST_HEARTBEAT_S": "0.5"}
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as node:
        yield node


async def _seen_to_fail(seen: Watched) -> None:
    """Return when a user who looks sees that something is wrong."""
    live = seen.live
    await until(lambda: live.state is not StreamState.OPEN and live.last_error is not None, "a fault to be seen")


async def _cut(proxy: BadProxy, seen: Watched, works: Works) -> None:
    """All connections break, twice."""
    for _ in range(2):
        await proxy.cut()
        await works.some()


async def _freeze(proxy: BadProxy, seen: Watched, works: Works) -> None:
    """Nothing comes through any more, and nobody says so."""
    proxy.freeze()
    await works.some()
    await state_is(seen.live, lambda live: live.stale, "a mirror that is stale")
    await _seen_to_fail(seen)
    proxy.thaw()


async def _deaf(proxy: BadProxy, seen: Watched, works: Works) -> None:
    """What the server says gets lost; what the client says does not."""
    proxy.swallows = {"down"}
    await works.some()
    await _seen_to_fail(seen)
    proxy.swallows = set()


async def _mute(proxy: BadProxy, seen: Watched, works: Works) -> None:
    """What the client says gets lost; new connections are taken, and never answered."""
    proxy.swallows = {"up"}
    await proxy.cut()
    await works.some()
    await _seen_to_fail(seen)
    proxy.swallows = set()


async def _slices(proxy: BadProxy, seen: Watched, works: Works) -> None:
    """Each byte comes by itself."""
    proxy.sliced = True
    await proxy.cut()
    await works.some()
    await works.same(seen.live)
    proxy.sliced = False


async def _late(proxy: BadProxy, seen: Watched, works: Works) -> None:
    """All comes two seconds late."""
    proxy.delay_s = 2.0
    await works.some()
    await works.same(seen.live)
    proxy.delay_s = 0.0


def _answered(page: Answer) -> Fault:
    async def fault(proxy: BadProxy, seen: Watched, works: Works) -> None:
        proxy.answers = page
        await proxy.cut()
        await works.some()
        await _seen_to_fail(seen)
        proxy.answers = None

    return fault


FAULTS: dict[str, Fault] = {
    "cut": _cut,
    "frozen": _freeze,
    "deaf": _deaf,
    "mute": _mute,
    "sliced": _slices,
    "late": _late,
    "503": _answered("503"),
    "html": _answered("html"),
    "redirect": _answered("redirect"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("fault", list(FAULTS))
async def test_a_bad_line_costs_no_event(proxy: BadProxy, works: Works, transport: str, fault: str) -> None:
    """Whatever the line does, over each transport: in the end the mirror is right, and each event came once."""
    limits = replace(SOON, attempt_s=2.0, connect_s=2.0) if fault in ("frozen", "deaf", "mute") else SOON
    if fault == "late":
        limits = replace(SOON, idle_s=STALL_S, attempt_s=2 * STALL_S, connect_s=2 * STALL_S, first_frame_s=2 * STALL_S)
    await works.some()
    async with watched(proxy.url, works.project, transport=transport, limits=limits) as seen:
        await works.same(seen.live)
        await FAULTS[fault](proxy, seen, works)
        await works.some()
        await works.told(seen)
        assert (seen.live.state, seen.live.transport) == (StreamState.OPEN, transport)
        assert seen.live.last_error is None


@pytest.mark.parametrize("fault", ["cut", "html", "redirect"])
async def test_a_client_that_may_choose_comes_through(proxy: BadProxy, works: Works, fault: str) -> None:
    """With every transport at hand the same holds, whichever it is on afterwards."""
    async with watched(proxy.url, works.project) as seen:
        assert seen.live.transport == "websocket"
        await FAULTS[fault](proxy, seen, works)
        await works.told(seen)
        assert seen.live.state is StreamState.OPEN


async def test_a_proxy_that_takes_no_websockets_is_gone_around(proxy: BadProxy, works: Works) -> None:
    """The next best is server-sent events, at once and without a word to the user."""
    proxy.refuses = {"websocket"}
    async with watched(proxy.url, works.project) as seen:
        assert (seen.live.state, seen.live.transport) == (StreamState.OPEN, "sse")
        await works.some()
        await works.told(seen)
    assert seen.states[0] is StreamState.OPEN


async def test_a_proxy_that_keeps_streams_to_itself_is_gone_around(proxy: BadProxy, works: Works) -> None:
    """A stream that says nothing in its first seconds is none: polls get through."""
    proxy.refuses, proxy.holds_streams = {"websocket"}, True
    async with watched(proxy.url, works.project, limits=replace(SOON, first_frame_s=1.0, connect_s=1.0)) as seen:
        assert (seen.live.state, seen.live.transport) == (StreamState.OPEN, "poll")
        await works.some()
        await works.told(seen)
        assert seen.client.stats().transports == {"poll": 2}


async def test_a_line_that_turns_bad_while_a_stream_is_open_is_left(proxy: BadProxy, works: Works) -> None:
    """A stream whose events are held back from now on is noticed by its silence, and polls take its place."""
    limits = replace(SOON, first_frame_s=1.0, connect_s=1.0)
    proxy.refuses = {"websocket"}
    async with watched(proxy.url, works.project, limits=limits) as seen:
        assert seen.live.transport == "sse"
        proxy.holds_streams = True
        await works.some()
        await state_is(seen.live, lambda live: live.transport == "poll", "polls")
        await works.told(seen)
    assert {StreamState.STALE, StreamState.OPEN} <= set(seen.states)
    assert seen.client.stats().stale_times


async def test_a_page_for_everything_is_no_reason_to_wait_for_ever(proxy: BadProxy, works: Works) -> None:
    """A client that begins behind a page for travellers is there when the page has gone."""
    proxy.answers = "html"
    async with Client(proxy.url, limits=SOON) as client:
        live = client.live(works.project)
        entering = asyncio.create_task(live.__aenter__())
        await state_is(live, lambda live: live.last_error is not None, "a fault")
        proxy.answers = None
        await entering
        await works.same(live)
        await live.aclose()
