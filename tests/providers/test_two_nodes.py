"""Updates of one session in turn across two nodes on one PostgreSQL, with Redis between them and without."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from support.api import SECRET, Api, Work, bearer, problem
from support.chains import Chain, Waiting, fenced, given
from support.cluster import make_schema, start_node, two_nodes
from support.node import Node, NodeFactory
from support.serving import LIVELY
from support.valkey import Valkey
from support.waiting import STALL_S, until

with_and_without = pytest.mark.parametrize("redis", [True, False], ids=["redis", "no redis"])
without = pytest.mark.parametrize("redis", [False], ids=["no redis"])  # what a dead node leaves is in the database


@dataclass(frozen=True, slots=True)
class Pair:
    """Two nodes, and one session asked for at each."""

    nodes: tuple[Node, Node]
    a: Chain
    b: Chain


def _api(node: Node) -> Api:
    return Api(node.url, database="postgresql", token=bearer())


@asynccontextmanager
async def pair(node_factory: NodeFactory, url: str, redis_url: str | None, **env: str) -> AsyncIterator[Pair]:
    """Two lively nodes with a session."""
    make_schema(url)
    given_env: dict[str, str] = {**LIVELY, "SESSIONCAST_JWT_SECRET": SECRET, **env}
    nodes = await two_nodes(node_factory, url, redis_url, **given_env)
    one, two = (_api(node) for node in nodes)
    with one.http, two.http:
        chain = await asyncio.to_thread(Chain.begin, one)
        yield Pair(nodes, chain, at(chain, two))


def at(chain: Chain, api: Api) -> Chain:
    """The same session, asked for at another node."""
    return replace(chain, api=api, work=Work(api, chain.work.project, chain.work.task))


@pytest.fixture
def redis_url(redis: bool, request: pytest.FixtureRequest) -> str | None:
    """Where announcements go, if anywhere."""
    if not redis:
        return None
    found: Valkey = request.getfixturevalue("valkey")
    return found.url


@with_and_without
async def test_the_queue_is_one(node_factory: NodeFactory, postgres_url: str, redis_url: str | None) -> None:
    """Those who wait at both nodes have their turns in the order in which they came, whichever node it ends at."""
    async with pair(node_factory, postgres_url, redis_url) as both:
        chains = (both.a, both.b)
        _, row = await asyncio.to_thread(both.a.taken)
        with ExitStack() as stack:
            queue = [
                await asyncio.to_thread(stack.enter_context, Waiting(chains[number % 2], wait_s=60))
                for number in range(6)
            ]
            assert problem(both.b.resume(), 409, "session_being_modified")["ahead"] == 7
            for number, one in enumerate(queue):
                assert not any(later.answered for later in queue[number:])
                left = given("L")
                await asyncio.to_thread(both.b.ended, row, new_provider_session_id=left)
                decision = await asyncio.to_thread(one.decision)
                assert (decision["fence"], decision["provider_session_id"]) == (3 + number, left)
                wish: dict[str, Any] = {"fence": decision["fence"], "resumed_from": left}
                row = await asyncio.to_thread(lambda wish=wish: chains[0].opened(**wish))  # type: ignore[misc]  # a default
        assert await asyncio.to_thread(both.b.actions) == await asyncio.to_thread(both.a.actions)


@with_and_without
async def test_a_turn_that_ends_there_wakes_who_waits_here(
    node_factory: NodeFactory, postgres_url: str, redis_url: str | None
) -> None:
    """Closed, given up for its silence, or lapsed unused at whichever node: the one at the other has its turn."""
    async with pair(node_factory, postgres_url, redis_url, SESSIONCAST_TURN_LEASE_S=str(STALL_S)) as both:

        def closed() -> None:
            _, row = both.a.taken()
            with Waiting(both.b) as waiting:
                both.a.ended(row)
                both.b.ended(both.b.opened(fence=waiting.decision()["fence"]))

        def silent() -> None:
            row = both.a.opened(lease_s=1, fence=both.a.decided()["fence"])
            with Waiting(both.b) as waiting:
                both.b.ended(both.b.opened(fence=waiting.decision()["fence"]))
            assert both.a.row(row)["state"] == "abandoned"

        def unused() -> None:
            lost = both.a.decided()
            with Waiting(both.b) as waiting:
                decision = waiting.decision()
            problem(both.a.open(headers=fenced(lost["fence"])), 409, "fenced")
            both.b.ended(both.b.opened(fence=decision["fence"]))

        for story in (closed, silent, unused):
            await asyncio.to_thread(story)
        assert await asyncio.to_thread(both.b.head_id) is not None


@without
async def test_a_node_that_dies_takes_its_places_with_it(
    node_factory: NodeFactory, postgres_url: str, redis_url: str | None
) -> None:
    """Those who waited at a node that is killed lose their places after a while, and who waits elsewhere moves up."""
    async with pair(node_factory, postgres_url, redis_url) as both:
        _, row = await asyncio.to_thread(both.b.taken)
        with ExitStack() as stack:
            lost = [await asyncio.to_thread(stack.enter_context, Waiting(both.a, wait_s=60)) for _ in range(2)]
            waiting = await asyncio.to_thread(stack.enter_context, Waiting(both.b, wait_s=60))
            both.nodes[0].kill()
            await until(lambda: all(one.answered for one in lost), "the connections to break")
            await asyncio.to_thread(both.b.ended, row)
            assert (await asyncio.to_thread(waiting.decision))["fence"] == 3
        decided = [line for line in await asyncio.to_thread(both.b.audit) if line["action"] == "resume_decided"]
        assert [line["data"]["fence"] for line in decided] == [2, 3]


@without
async def test_a_place_is_found_again_at_another_node(
    node_factory: NodeFactory, postgres_url: str, redis_url: str | None
) -> None:
    """Whose node is killed while he waits asks another one with his key, and is before those who came after him."""
    async with pair(node_factory, postgres_url, redis_url, SESSIONCAST_WAITER_LEASE_S="60") as both:
        _, row = await asyncio.to_thread(both.b.taken)
        with ExitStack() as stack:
            lost = await asyncio.to_thread(stack.enter_context, Waiting(both.a, wait_s=60, key="mine"))
            later = await asyncio.to_thread(stack.enter_context, Waiting(both.b, wait_s=60))
            both.nodes[0].kill()
            await until(lambda: lost.answered, "the connection to break")
            again = await asyncio.to_thread(stack.enter_context, Waiting(both.b, wait_s=60, key="mine"))
            await asyncio.to_thread(both.b.ended, row)
            decision = await asyncio.to_thread(again.decision)
            assert decision["fence"] == 3
            assert not later.answered
            row = await asyncio.to_thread(lambda: both.b.opened(fence=3))
            await asyncio.to_thread(both.b.ended, row)
            assert (await asyncio.to_thread(later.decision))["fence"] == 4


@without
async def test_whose_node_dies_goes_on_at_another(
    node_factory: NodeFactory, postgres_url: str, redis_url: str | None
) -> None:
    """A provider session that was begun at a node which was killed is renewed, told of and closed at the other; its
    turn is held all the while, and a lease that runs out meanwhile is found by whoever is left."""
    async with AsyncExitStack() as stack:
        both = await stack.enter_async_context(pair(node_factory, postgres_url, redis_url))
        decision, row = await asyncio.to_thread(both.a.taken)
        silent = await asyncio.to_thread(lambda: both.a.opened(fork=True, lease_s=1))
        both.nodes[0].kill()
        assert (await asyncio.to_thread(both.b.closed, silent))["state"] == "abandoned"
        assert problem(both.b.resume(), 409, "session_being_modified")["ahead"] == 1
        new = given("A")
        after = await asyncio.to_thread(lambda: both.b.ended(row, fence=decision["fence"], new_provider_session_id=new))
        assert (after["state"], both.b.head_id()) == ("ended", new)
        env = {**LIVELY, "SESSIONCAST_JWT_SECRET": SECRET}
        third = _api(await start_node(node_factory, postgres_url, redis_url, **env))
        stack.enter_context(third.http)
        assert at(both.b, third).decided()["provider_session_id"] == new


@with_and_without
async def test_a_key_is_one_at_both_nodes(node_factory: NodeFactory, postgres_url: str, redis_url: str | None) -> None:
    """A request that is sent to both nodes at once is one place, one turn and one decision."""
    async with pair(node_factory, postgres_url, redis_url) as both:
        _, row = await asyncio.to_thread(both.a.taken)
        with ExitStack() as stack:
            twins = [
                await asyncio.to_thread(stack.enter_context, Waiting(chain, wait_s=60, key="k"))
                for chain in (both.a, both.b)
            ]
            assert problem(both.b.resume(), 409, "session_being_modified")["ahead"] == 2
            await asyncio.to_thread(both.a.ended, row)
            one, other = [await asyncio.to_thread(twin.decision) for twin in twins]
        assert one == other
        assert one["fence"] == 3
        decided = [line for line in await asyncio.to_thread(both.a.audit) if line["action"] == "resume_decided"]
        assert len(decided) == 2
