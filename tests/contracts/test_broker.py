"""Every broker carries announcements between nodes alike."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from sessioncast_server.broker.base import Announcement, Broker, Whisper
from sessioncast_server.broker.limits import RedisLimits
from sessioncast_server.broker.memory import MemoryBroker, MemoryBus
from sessioncast_server.broker.redis import RedisBroker
from support.ear import Ear, announcement, new_channel, whisper
from support.waiting import until

Node = tuple[Broker, Ear]


class Nodes:
    """Starts nodes that share one backend, and closes them."""

    def __init__(self, make: Callable[[], Broker], stack: AsyncExitStack) -> None:
        self._make = make
        self._stack = stack

    async def start(self) -> Node:
        """A broker that has been started, and what it calls."""
        broker, ear = self._make(), Ear()
        await broker.start(ear.listener)
        self._stack.push_async_callback(broker.close)
        return broker, ear

    async def listening(self, *channels: str) -> Node:
        """The same, with announcements of these channels flowing."""
        broker, ear = await self.start()
        for channel in channels:
            broker.listen(channel)
        for channel in channels:
            await ear.flowing(channel)
        return broker, ear


@pytest.fixture(params=["memory", "redis"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """Nodes on each backend."""
    make: Callable[[], Broker]
    if request.param == "memory":
        make = partial(MemoryBroker, MemoryBus())
    else:
        make = partial(
            RedisBroker, request.getfixturevalue("valkey").url, limits=RedisLimits(announce_max_bytes=64 * 1024)
        )
    async with AsyncExitStack() as stack:
        yield Nodes(make, stack)


async def test_announcements_reach_another_node_whole_and_in_order(nodes: Nodes) -> None:
    """What one node announces, another hears: every field of every announcement, in the order they were made."""
    channel = new_channel()
    sender, _ = await nodes.listening(channel)
    _, ear = await nodes.listening(channel)
    sent = [announcement(channel, first, events=3) for first in range(1, 300, 3)]

    for each in sent:
        sender.announce(each)

    await until(lambda: len(ear.announced) == len(sent), "all announcements")
    assert ear.announced == sent


async def test_every_listening_node_hears(nodes: Nodes) -> None:
    """One announcement reaches all nodes that listen."""
    channel = new_channel()
    sender, _ = await nodes.listening(channel)
    ears = [(await nodes.listening(channel))[1] for _ in range(3)]

    sender.announce(announcement(channel))

    for ear in ears:
        await ear.hears(channel, 1)


async def test_a_node_hears_only_its_channels(nodes: Nodes) -> None:
    """Announcements of a channel that a node does not listen to are not called."""
    mine, other = new_channel(), new_channel()
    sender, _ = await nodes.listening(mine, other)
    _, ear = await nodes.listening(mine)

    sender.announce(announcement(other, 1))
    sender.announce(announcement(mine, 2))

    await ear.hears(mine, 2)
    assert ear.offsets(other) == []


async def test_two_channels_are_carried_side_by_side(nodes: Nodes) -> None:
    """Each of two channels keeps its own order."""
    one, two = new_channel(), new_channel()
    sender, _ = await nodes.listening(one, two)
    _, ear = await nodes.listening(one, two)

    for first in range(1, 51):
        sender.announce(announcement(one, first))
        sender.announce(announcement(two, first))

    await until(lambda: len(ear.announced) == 100, "all announcements")
    assert ear.offsets(one) == ear.offsets(two) == list(range(1, 51))


async def test_unlisten_ends_the_announcements(nodes: Nodes) -> None:
    """After unlisten nothing more of the channel is called, while another goes on."""
    left, kept = new_channel(), new_channel()
    sender, _ = await nodes.listening(left, kept)
    broker, ear = await nodes.listening(left, kept)

    broker.unlisten(left)
    sender.announce(announcement(left, 1))
    sender.announce(announcement(kept, 2))

    await ear.hears(kept, 2)
    assert ear.offsets(left) == []


async def test_whispers_arrive_among_the_announcements(nodes: Nodes) -> None:
    """Every field of every whisper, in the order in which one node said and announced things; nobody doubts for it."""
    channel, other = new_channel(), new_channel()
    sender, _ = await nodes.listening(channel)
    broker, ear = await nodes.listening(channel)
    await until(lambda: broker.deaf_since() is None, "nothing to be missed")
    ear.doubted.clear()
    sent: list[Announcement | Whisper] = []
    for number in range(1, 50):
        sent += [announcement(channel, number), whisper(channel, number), whisper(channel, number)]

    for each in sent:
        if isinstance(each, Whisper):
            sender.whisper(whisper(other))
            sender.whisper(each)
        else:
            sender.announce(each)

    await until(lambda: len(ear.told) >= len(sent), "all of them")
    assert ear.told == sent
    assert ear.doubted == []


async def test_a_node_does_not_hear_its_own_whispers(nodes: Nodes) -> None:
    """It has shown them at once; told again it would show them twice. Two that listen hear each other's only."""
    channel = new_channel()
    one, ear = await nodes.listening(channel)
    two, other_ear = await nodes.listening(channel)

    one.whisper(whisper(channel, 1))
    two.whisper(whisper(channel, 2))
    one.announce(announcement(channel, 3))
    two.announce(announcement(channel, 4))

    await until(lambda: 4 in ear.offsets(channel) and 3 in other_ear.offsets(channel), "what was said last")
    assert (ear.whispered, other_ear.whispered) == ([whisper(channel, 2)], [whisper(channel, 1)])


async def test_doubt_follows_every_listen(nodes: Nodes) -> None:
    """Each listen, also a repeated one, is answered by doubt about that channel, but not from inside the call."""
    channel = new_channel()
    broker, ear = await nodes.start()

    broker.listen(channel)
    assert channel not in ear.doubted
    await ear.flowing(channel)

    broker.listen(channel)
    await ear.flowing(channel)


async def test_what_follows_the_doubt_is_heard(nodes: Nodes) -> None:
    """An announcement made at the moment of the doubt already arrives: no hole between reading the log and hearing."""
    channel = new_channel()
    sender, _ = await nodes.listening(channel)
    for first in range(1, 21):
        broker, ear = await nodes.listening(channel)
        sender.announce(announcement(channel, first))
        await ear.hears(channel, first)
        broker.unlisten(channel)


async def test_listening_again_after_unlisten(nodes: Nodes) -> None:
    """Off and on again at once leaves the channel on."""
    channel = new_channel()
    sender, _ = await nodes.listening(channel)
    broker, ear = await nodes.listening(channel)

    broker.unlisten(channel)
    broker.listen(channel)
    await ear.flowing(channel)
    sender.announce(announcement(channel, 7))

    await ear.hears(channel, 7)


async def test_a_large_announcement_is_heard_or_doubted(nodes: Nodes) -> None:
    """What is too large to carry is not lost in silence: the channel is doubted, and later announcements arrive."""
    channel = new_channel()
    sender, _ = await nodes.listening(channel)
    _, ear = await nodes.listening(channel)

    sender.announce(announcement(channel, 1, size=200_000))
    sender.announce(announcement(channel, 2))

    await until(lambda: 2 in ear.offsets(channel), "the small one")
    assert 1 in ear.offsets(channel) or channel in ear.doubted


async def test_a_closed_broker_is_silent(nodes: Nodes) -> None:
    """After close nothing is called, and announcing and listening do nothing."""
    channel = new_channel()
    sender, _ = await nodes.listening(channel)
    _, witness = await nodes.listening(channel)
    broker, ear = await nodes.listening(channel)
    sender.announce(announcement(channel, 1))
    broker.listen(channel)

    await broker.close()
    heard, doubted = list(ear.announced), list(ear.doubted)
    sender.whisper(whisper(channel))
    sender.announce(announcement(channel, 2))
    broker.listen(channel)
    broker.announce(announcement(channel, 3))
    broker.whisper(whisper(channel, 4))

    await until(lambda: 2 in witness.offsets(channel), "what was sent after the close")
    assert (ear.announced, ear.doubted, ear.whispered) == (heard, doubted, [])
    assert 3 not in witness.offsets(channel)
    assert witness.whispered == [whisper(channel)]


async def test_a_broker_in_order_is_not_deaf(nodes: Nodes) -> None:
    """Soon after the start a broker says that nothing is missed."""
    broker, _ = await nodes.start()
    await until(lambda: broker.deaf_since() is None, "nothing to be missed")
