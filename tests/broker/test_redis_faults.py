"""Whatever happens to Redis, announcing stays free, memory stays bounded, and hearing heals by itself."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
import redis

from sessioncast_server.broker.base import Listener
from sessioncast_server.broker.codec import encode
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.publisher import redis_channel
from sessioncast_server.broker.redis import RedisBroker
from support.crossing import Crossing
from support.ear import Ear, announcement, new_channel
from support.valkey import Valkey
from support.waiting import until

LIMITS = RedisLimits(
    timeout_s=0.4, ping_s=0.2, breaker_s=0.2, backoff_cap_s=0.2, queue_announcements=100, subscribe_batch=50
)


class Node:
    """A broker, what it calls and what it counts."""

    def __init__(self, url: str) -> None:
        self.ear = Ear()
        self.counts: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.broker = RedisBroker(
            url,
            limits=LIMITS,
            hooks=RedisHooks(
                published=lambda number: self.counts.update(published=number),
                dropped=lambda reason, number: self.counts.update({reason: number}),
                received=lambda: self.counts.update(received=1),
                garbled=lambda: self.counts.update(garbled=1),
                lost=lambda which, reason: self.lost.update((which, f"{which} {reason}")),
            ),
        )

    async def hearing(self) -> None:
        """Wait until nothing is missed."""
        await until(lambda: self.broker.deaf_since() is None, "the node to hear")

    async def deaf(self) -> None:
        """Wait until the broker says that it may miss something."""
        await until(lambda: self.broker.deaf_since() is not None, "the node to notice that it is deaf")

    async def doubts(self, channel: str | None) -> None:
        """Wait until the broker says that a channel, or all, may have been missed."""
        await until(lambda: channel in self.ear.doubted, f"doubt about {channel}")

    def forget(self) -> None:
        """Start the records anew."""
        self.ear.announced.clear()
        self.ear.doubted.clear()
        self.counts.clear()
        self.lost.clear()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Closes what the test opened."""
    async with AsyncExitStack() as stack:
        yield stack


async def start(stack: AsyncExitStack, url: str, *channels: str) -> Node:
    """A node that was told to listen to these channels, whether or not Redis is there."""
    node = Node(url)
    await node.broker.start(node.ear.listener)
    stack.push_async_callback(node.broker.close)
    for channel in channels:
        node.broker.listen(channel)
    return node


async def start_pair(stack: AsyncExitStack, server: Valkey, channel: str) -> tuple[Node, Node]:
    """Two nodes that hear the channel, with nothing recorded yet."""
    pair = await start(stack, server.url, channel), await start(stack, server.url, channel)
    for node in pair:
        await node.hearing()
        await node.ear.flowing(channel)
    for node in pair:
        node.forget()
    return pair


async def carried(sender: Node, hearer: Node, channel: str) -> None:
    """Wait until an announcement of one reaches the other again."""
    offsets = count(1_000_000)

    def one_arrived() -> bool:
        sender.broker.announce(announcement(channel, next(offsets)))
        return any(offset >= 1_000_000 for offset in hearer.ear.offsets(channel))

    await until(one_arrived, "an announcement to be carried")


def admin(server: Valkey) -> redis.Redis:
    """A plain client to make trouble with."""
    return redis.Redis.from_url(server.url)


async def test_killed_subscriptions_come_back(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """After CLIENT KILL TYPE pubsub the channel and then everything is doubted, and announcements flow again."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    with admin(own_valkey) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    await hearer.doubts(channel)
    await hearer.doubts(None)
    assert hearer.lost["subscriber receive"] == 1
    assert hearer.ear.doubted.index(channel) < hearer.ear.doubted.index(None)
    await carried(sender, hearer, channel)


async def test_a_frozen_redis_is_noticed_and_holds_nobody_up(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """SIGSTOP: the node knows that it is deaf, announcing drops at a bound, and after SIGCONT all heals."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)
    before = asyncio.get_running_loop().time()

    own_valkey.freeze()
    for first in range(1, 20_001):
        sender.broker.announce(announcement(channel, first))
    assert sender.counts["full"] == 20_000 - LIMITS.queue_announcements

    await hearer.deaf()
    assert (hearer.broker.deaf_since() or 0) >= before
    await until(lambda: sender.lost["publisher"] > 0, "the breaker to open")
    sender.broker.announce(announcement(channel, 20_001))
    assert sender.counts["breaker"] == 1
    assert sender.counts["failed"] == LIMITS.queue_announcements
    await until(lambda: hearer.lost["subscriber connect"] > 0, "an attempt to connect to the frozen server")

    hearer.forget()
    own_valkey.thaw()
    await hearer.doubts(None)
    await hearer.hearing()
    await carried(sender, hearer, channel)


async def test_a_killed_redis_is_found_again_on_its_port(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """SIGKILL and a new start: deaf meanwhile, then doubt about the channel, then announcements flow."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    own_valkey.kill()
    await hearer.deaf()
    await until(lambda: sender.lost["publisher connect"] > 0, "a probe that fails")
    hearer.forget()
    await asyncio.to_thread(own_valkey.start)

    await hearer.doubts(channel)
    await hearer.hearing()
    await carried(sender, hearer, channel)


async def test_flushall_changes_nothing(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """FLUSHALL takes no subscription away: no doubt, no reconnect, nothing missing."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    sender.broker.announce(announcement(channel, 1))
    with admin(own_valkey) as client:
        client.flushall()
    sender.broker.announce(announcement(channel, 2))

    await hearer.ear.hears(channel, 1, 2)
    assert hearer.ear.doubted == []
    assert not hearer.lost
    assert hearer.broker.deaf_since() is None


@pytest.mark.parametrize("state", ["dead", "frozen"])
async def test_a_node_starts_without_redis(stack: AsyncExitStack, own_valkey: Valkey, state: str) -> None:
    """A node whose Redis is dead or frozen starts, is deaf, and listens as wanted once Redis is there."""
    channel, left = new_channel(), new_channel()
    if state == "dead":
        own_valkey.kill()
    else:
        own_valkey.freeze()

    node = await start(stack, own_valkey.url, channel, left)
    assert node.broker.deaf_since() is not None
    await until(lambda: node.lost["subscriber connect"] > 1, "attempts that fail")
    node.broker.unlisten(left)
    node.broker.announce(announcement(channel, 1))
    assert node.ear.doubted == []

    if state == "dead":
        await asyncio.to_thread(own_valkey.start)
    else:
        own_valkey.thaw()
    await node.doubts(channel)
    await node.hearing()
    assert left not in node.ear.doubted
    await carried(node, node, channel)


async def test_closing_does_not_wait_for_a_frozen_redis(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """close() returns although the server takes nothing and much is unsent."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    own_valkey.freeze()
    for first in range(1, LIMITS.queue_announcements):
        sender.broker.announce(announcement(channel, first, size=100_000))
    await asyncio.sleep(0)  # the publisher begins to write
    async with asyncio.timeout(10):
        await sender.broker.close()
        await hearer.broker.close()


async def test_closing_ends_in_the_moment_of_a_fault(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """close() returns when the connection breaks in the same turn: neither fault hides the other."""
    channel = new_channel()
    pair = await start_pair(stack, own_valkey, channel)

    own_valkey.kill()  # holds the loop, so that the end of the connection and the close come to it together
    async with asyncio.timeout(10):
        for node in pair:
            await node.broker.close()


async def test_a_subscriber_that_redis_cut_off_reads_the_log(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """A node too slow for Redis's output buffer limit loses its connection, and says so by doubt."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    with admin(own_valkey) as client:
        client.config_set("client-output-buffer-limit", "pubsub 1048576 0 0")
        payload = encode(announcement(channel, 1, size=10_000), max_bytes=LIMITS.announce_max_bytes)
        sent = 1
        while client.publish(redis_channel(channel), payload):  # holds the loop, so neither node reads meanwhile
            sent += 1
            assert sent < 20_000, "the kernel takes it all"
        client.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")

    await hearer.doubts(channel)
    await hearer.doubts(None)
    assert hearer.lost["subscriber receive"] == 1
    assert len(hearer.ear.announced) < sent
    await carried(sender, hearer, channel)


async def test_a_broken_publisher_leaves_the_subscription_alone(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """When only the publishing connection dies it is opened again, and the hearing one is kept."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    with admin(own_valkey) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    # Noticed with nothing to publish, so that no announcement pays for it.
    await until(lambda: sender.lost["publisher"] > 0, "the dead connection to be noticed")
    await carried(sender, hearer, channel)
    await hearer.hearing()
    assert hearer.lost["subscriber"] == sender.lost["subscriber"] == 0


async def test_a_connection_that_answers_but_brings_nothing_is_given_up(
    stack: AsyncExitStack, own_valkey: Valkey, valkey: Valkey
) -> None:
    """After a failover that left our connections on two servers only the canary notices, and reconnecting heals."""
    channel = new_channel()
    crossing = await stack.enter_async_context(Crossing(own_valkey.url, valkey.url))
    node = await start(stack, crossing.url, channel)

    await node.hearing()
    assert node.lost["subscriber canary"] > 0
    assert node.lost["subscriber ping"] == 0
    await carried(node, node, channel)


async def test_garbage_on_a_channel_is_doubt_and_nothing_worse(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """What is no announcement is counted, its channel is doubted, and the connection goes on."""
    channel = new_channel()
    sender, hearer = await start_pair(stack, own_valkey, channel)

    with admin(own_valkey) as client:
        client.publish(redis_channel(channel), b"\xff\x00 hello")
    await hearer.doubts(channel)
    sender.broker.announce(announcement(channel, 1))

    await hearer.ear.hears(channel, 1)
    assert hearer.counts["garbled"] == 1
    assert not hearer.lost


async def test_a_failing_listener_does_not_stop_the_hearing(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """An exception out of a listener is logged; the next announcement is called as if nothing had been."""
    channel = new_channel()
    heard: list[int] = []

    def fail_first(announced: object) -> None:
        heard.append(1)
        if len(heard) == 1:
            raise RuntimeError("a fault of the listener")

    ear = Ear()
    broker = RedisBroker(own_valkey.url, limits=LIMITS)
    await broker.start(Listener(fail_first, ear.listener.doubtful, ear.listener.whispered))
    stack.push_async_callback(broker.close)
    broker.listen(channel)
    await ear.flowing(channel)

    broker.announce(announcement(channel, 1))
    broker.announce(announcement(channel, 2))
    await until(lambda: len(heard) == 2, "the second announcement")


async def test_many_channels_come_back(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """After a cut every one of many channels is subscribed again, in bounded commands, and doubted."""
    channels = [new_channel() for _ in range(320)]
    node = await start(stack, own_valkey.url, *channels)
    await node.hearing()
    await until(lambda: set(channels) <= set(node.ear.doubted), "all to flow")
    node.forget()

    with admin(own_valkey) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    await until(lambda: set(channels) <= set(node.ear.doubted), "all to be doubted")
    await carried(node, node, channels[-1])


async def test_a_refused_login_is_deafness(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """A Redis that refuses us is reported like one that is not there, and tried again."""
    node = await start(stack, own_valkey.url.replace("redis://", "redis://nobody:wrong@"))
    await until(lambda: node.lost["subscriber connect"] > 1, "attempts that fail")
    assert node.broker.deaf_since() is not None


async def test_the_documented_user_suffices(stack: AsyncExitStack, own_valkey: Valkey) -> None:
    """The ACL rule that docs/redis.md recommends allows all that a node does."""
    page = (Path(__file__).parents[2] / "docs/redis.md").read_text(encoding="utf-8")
    rule = re.search(r"`(ACL SETUSER sessioncast [^`]*)`", page)
    assert rule is not None
    with admin(own_valkey) as client:
        client.execute_command(*rule[1].split())

    channel = new_channel()
    node = await start(stack, own_valkey.url.replace("redis://", "redis://sessioncast:PASSWORD@"), channel)
    await node.hearing()
    await carried(node, node, channel)
    assert not node.lost


def test_what_is_no_redis_url_is_refused_at_once() -> None:
    """A URL of another kind raises ValueError before anything is started."""
    with pytest.raises(ValueError, match="scheme"):
        RedisBroker("http://localhost")
