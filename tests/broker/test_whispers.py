"""Whispers on their way through Redis: the first to be dropped, and never a reason to doubt."""

import asyncio
from collections import Counter

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.broker.base import Route, Whisper
from sessioncast_server.broker.codec import BadAnnouncementError, decode, decode_whisper, encode_whisper
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.publisher import Publisher, redis_channel
from sessioncast_server.broker.redis import RedisBroker
from sessioncast_server.broker.wire import Wires
from support.ear import Ear, announcement, new_channel, whisper
from support.valkey import Valkey
from support.waiting import until

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.none() | texts
routes = st.builds(Route, kind=texts, task_id=ids, session_id=ids, thread_id=ids, owner=ids)


@given(st.builds(Whisper, channel=texts, route=routes, body=st.just(b'{"type":"x"}')))
def test_a_whisper_is_read_as_it_was_written(made: Whisper) -> None:
    """Byte for byte; and whoever reads announcements only, as nodes did before, finds none in it."""
    payload = encode_whisper(made, node="n")
    assert decode_whisper(payload, channel=made.channel) == made
    with pytest.raises(BadAnnouncementError):
        decode(payload, channel=made.channel, max_bytes=1 << 20)


GARBAGE = {
    "no JSON": b'{"whisper":"n",',
    "another version": b'{"whisper":"n","v":2,"channel":"%s","route":["thread",null,null,null,null]}\n{}',
    "of another channel": b'{"whisper":"n","v":1,"channel":"elsewhere","route":["thread",null,null,null,null]}\n{}',
    "without a route": b'{"whisper":"n","v":1,"channel":"%s"}\n{}',
    "without an event": b'{"whisper":"n","v":1,"channel":"%s","route":["thread",null,null,null,null]}',
    "with two events": b'{"whisper":"n","v":1,"channel":"%s","route":["thread",null,null,null,null]}\n{}\n{}',
}


class Node:
    """A broker, what it calls and what it counts."""

    def __init__(self, url: str, limits: RedisLimits) -> None:
        self.ear = Ear()
        self.hushed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.garbled = 0
        self.hooks = RedisHooks(
            hushed=lambda reason, number: self.hushed.update({reason: number}),
            dropped=lambda reason, number: self.dropped.update({reason: number}),
            garbled=self._count_garbled,
        )
        self.broker = RedisBroker(url, limits=limits, hooks=self.hooks)

    def _count_garbled(self) -> None:
        self.garbled += 1

    async def start(self, channel: str) -> None:
        """Until announcements of the channel flow both ways."""
        await self.broker.start(self.ear.listener)
        self.broker.listen(channel)
        await until(lambda: self.broker.deaf_since() is None, "the node to hear")
        await self.ear.flowing(channel)
        self.ear.doubted.clear()


async def test_what_is_no_whisper_is_counted_and_not_doubted(valkey: Valkey) -> None:
    """There is nothing to read in its place, so no log is read for it; the next one is heard."""
    channel = new_channel()
    node = Node(valkey.url, RedisLimits())
    try:
        await node.start(channel)
        with redis.Redis.from_url(valkey.url) as client:
            for payload in GARBAGE.values():
                client.publish(redis_channel(channel), payload.replace(b"%s", channel.encode()))
            client.publish(redis_channel(channel), encode_whisper(whisper(channel), node="other"))
        await until(lambda: node.ear.whispered == [whisper(channel)], "the good one")
        assert node.garbled == len(GARBAGE)
        assert node.ear.doubted == []
    finally:
        await node.broker.close()


def publisher(**limits: int) -> tuple[Publisher, Node]:
    """One that never ran, so that all it takes in stays in its queue."""
    bounds = RedisLimits(**limits)
    node = Node("redis://127.0.0.1:1", bounds)
    return Publisher(Wires("redis://127.0.0.1:1", bounds), bounds, node.hooks, "n"), node


@pytest.mark.parametrize("limits", [{"queue_announcements": 20}, {"queue_bytes": 20 * len(whisper("c").body)}])
def test_whispers_have_half_of_the_queue_and_give_it_up(limits: dict[str, int]) -> None:
    """In number and in bytes: over half they are dropped, and an announcement that finds no room takes theirs."""
    queue, node = publisher(**limits)
    for number in range(15):
        queue.whisper(whisper("c", number % 10))
    assert node.hushed == {"full": 5}
    for first in range(1, 10):
        queue.offer(announcement("c", first))
    assert node.hushed == {"full": 5}
    for _ in range(11):
        queue.offer(announcement("c", 1))
    assert (node.hushed, node.dropped) == ({"full": 15}, {})
    queue.offer(announcement("c", 1))
    queue.whisper(whisper("c"))
    assert (node.hushed, node.dropped) == ({"full": 16}, {"full": 1})


def test_a_whisper_too_large_to_carry_is_dropped() -> None:
    """An announcement that large is sent as a hint to read the log; a whisper is in no log."""
    queue, node = publisher(announce_max_bytes=1000)
    queue.whisper(whisper("c", size=2000))
    assert node.hushed == {"large": 1}


async def test_a_frozen_redis_costs_whispers_and_nothing_else(own_valkey: Valkey) -> None:
    """Those in the broken pipeline, behind it and after it are gone and counted; none as an announcement."""
    channel = new_channel()
    limits = RedisLimits(timeout_s=0.4, ping_s=0.2, breaker_s=0.2, backoff_cap_s=0.2, batch_bytes=200)
    node = Node(own_valkey.url, limits)
    try:
        await node.start(channel)
        own_valkey.freeze()
        for number in range(50):
            node.broker.whisper(whisper(channel, number))
        await until(lambda: node.hushed["failed"] == 50, "the pipeline to break")
        node.broker.whisper(whisper(channel))
        assert node.hushed == {"failed": 50, "breaker": 1}
        assert node.dropped == {}
        await asyncio.to_thread(own_valkey.thaw)
        await node.ear.flowing(channel)
        assert node.ear.whispered == []
    finally:
        await node.broker.close()
