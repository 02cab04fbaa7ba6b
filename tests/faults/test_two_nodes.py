"""Two nodes on PostgreSQL and Redis: what is committed on A reaches the readers of both, whatever Redis does."""

import logging
from contextlib import AsyncExitStack

import redis

from support.cluster import PROJECT, assert_same_story, make_schema, readers, two_nodes
from support.follower import Follower
from support.node import Node, NodeFactory
from support.ports import free_port
from support.valkey import Valkey
from support.vitals import becomes
from support.writer import Writer

_log = logging.getLogger(__name__)


async def _arrived(followers: list[Follower], writer: Writer, what: str, start: int) -> None:
    """Return when every reader has what is written by now; say how it went."""
    last = writer.last.position
    for follower in followers:
        await follower.reach(last)
    end = next(number for number, change in enumerate(writer.acknowledged) if change.position == last) + 1
    late = {
        follower.name: max(follower.arrived[one.position] - one.at for one in writer.acknowledged[start:end])
        for follower in followers
    }
    stale = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in late.items())
    _log.info("%s: changes %s; latest arrival in ms: %s", what, writer.pace(start), stale)


async def test_nothing_that_befalls_redis_loses_or_doubles_an_event(
    node_factory: NodeFactory, postgres_url: str, own_valkey: Valkey
) -> None:
    """Flushed, cut off, frozen, killed and back: readers of both nodes get each event once, and no change fails."""
    make_schema(postgres_url)
    a, b = await two_nodes(node_factory, postgres_url, own_valkey.url)
    await becomes(b, 200, "ok")
    writer = Writer(a.url, PROJECT)
    await writer.put_project()
    async with AsyncExitStack() as stack:
        followers = await readers(stack, a, b)
        await stack.enter_async_context(writer)

        await writer.more(200)
        await _arrived(followers, writer, "healthy", 0)

        start = len(writer.acknowledged)
        with redis.Redis.from_url(own_valkey.url) as admin:
            for _ in range(5):
                admin.flushall()
                await writer.more(20)
        await _arrived(followers, writer, "FLUSHALL", start)

        start = len(writer.acknowledged)
        with redis.Redis.from_url(own_valkey.url) as admin:
            for _ in range(5):
                admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                await writer.more(20)
        await _arrived(followers, writer, "CLIENT KILL TYPE pubsub", start)
        await becomes(b, 200, "ok")

        start = len(writer.acknowledged)
        own_valkey.freeze()
        reasons = await becomes(b, 200, "degraded")
        assert [reason for reason in reasons if reason.startswith("broker: ")], reasons
        await writer.more(200)
        await _arrived(followers, writer, "frozen", start)
        own_valkey.thaw()
        await becomes(b, 200, "ok")
        await writer.more(20)
        await _arrived(followers, writer, "frozen and thawed", start)

        start = len(writer.acknowledged)
        own_valkey.kill()
        await becomes(b, 200, "degraded")
        await writer.more(100)
        await _arrived(followers, writer, "dead", start)
        own_valkey.start()
        await becomes(a, 200, "ok")
        await becomes(b, 200, "ok")
        await writer.more(20)
        await _arrived(followers, writer, "dead and back", start)

        await writer.stop()
        for follower in followers:
            await follower.reach(writer.last.position)
        assert writer.failed == []
        assert_same_story(followers, writer, first=1)
        assert all(follower.told == [("ready", "snapshot")] for follower in followers)
    assert "Traceback" not in a.log() + b.log()


async def test_without_redis_the_head_check_alone_carries_events_to_the_other_node(
    node_factory: NodeFactory, postgres_url: str
) -> None:
    """Two nodes that know nothing of each other but the database tell the same story on both."""
    make_schema(postgres_url)
    a, b = await two_nodes(node_factory, postgres_url, None)
    await _write_and_compare(a.url, [a, b])


async def test_a_redis_that_is_dead_from_the_start_is_no_hindrance(
    node_factory: NodeFactory, postgres_url: str
) -> None:
    """Nodes start without their Redis, say that they are degraded, and lose nothing."""
    make_schema(postgres_url)
    a, b = await two_nodes(node_factory, postgres_url, f"redis://127.0.0.1:{free_port()}/0")
    assert await becomes(a, 200, "degraded") == ["broker: announcements of other nodes may come late"]
    await _write_and_compare(a.url, [a, b])


async def _write_and_compare(url: str, nodes: list[Node]) -> None:
    writer = Writer(url, PROJECT)
    await writer.put_project()
    async with AsyncExitStack() as stack:
        followers = await readers(stack, *nodes)
        await stack.enter_async_context(writer)
        await writer.more(150)
        await writer.stop()
        await _arrived(followers, writer, "no redis", 0)
        assert writer.failed == []
        assert_same_story(followers, writer, first=1)
