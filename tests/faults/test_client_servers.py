"""Servers, brokers, tokens and laptops that fail: the mirror is the database's afterwards, and no event came twice."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sessioncast import Client, StreamState
from sessioncast_server.auth.tokens import make_token
from support.api import ALL_SCOPES, SECRET
from support.badproxy import BadProxy
from support.cluster import make_schema, two_nodes
from support.mirrored import SOON, Works, watched
from support.node import Node, NodeFactory
from support.program import Program
from support.valkey import Valkey
from support.vitals import becomes
from support.waiting import until

TRANSPORTS = ["websocket", "sse", "poll", "auto"]
LIVELY = {"SESSIONCAST_HEARTBEAT_S": "0.5"}


async def working(client: Client) -> Works:
    """Somebody who works in a project."""
    await client.projects.put("p")
    works = Works(client, "p")
    await works.some()
    return works


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_killed_server_costs_no_event(node_factory: NodeFactory, transport: str) -> None:
    """Killed, away for a while, and started again: a user sees it, and all goes on where it was, on the same way."""
    node = await node_factory(env=LIVELY)
    async with Client(node.url, limits=SOON) as client:
        works = await working(client)
        async with watched(node.url, "p", transport=transport) as seen:
            before = seen.live.transport
            node.kill()
            await until(lambda: seen.live.state is not StreamState.OPEN and seen.live.last_error is not None, "a fault")
            await node.start()
            await works.some()
            await works.told(seen)
            assert (seen.live.state, seen.live.transport) == (StreamState.OPEN, before)
            assert seen.live.last_error is None
            assert not seen.client.stats().gaps


async def test_a_mirror_outlives_its_broker(node_factory: NodeFactory, postgres_url: str, own_valkey: Valkey) -> None:
    """What is done on one node arrives on the other without Redis, and with it again."""
    make_schema(postgres_url)
    a, b = await two_nodes(node_factory, postgres_url, own_valkey.url, **LIVELY)
    async with Client(a.url, limits=SOON) as client:
        works = await working(client)
        async with watched(b.url, "p") as seen:
            await works.told(seen)
            own_valkey.kill()
            await becomes(b, 200, "degraded")
            await works.some()
            await works.told(seen)
            own_valkey.start()
            await works.some()
            await works.told(seen)
            assert seen.live.state is StreamState.OPEN


class Laptop(Program):
    """A program of its own with a mirror, which prints what it sees as lines of JSON."""

    def __init__(self, folder: Path, url: str, transport: str) -> None:
        super().__init__(folder / "laptop.log")
        self._arguments = [url, transport]

    def command(self) -> Sequence[str | Path]:
        """This very file."""
        return [sys.executable, Path(__file__).with_name("laptop.py"), *self._arguments]

    def environment(self) -> Mapping[str, str] | None:
        """The test's own."""
        return None

    def is_ready(self) -> bool:
        """Whether it has seen anything."""
        return bool(self.lines())

    def lines(self) -> list[dict[str, object]]:
        """What it has printed so far."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]

    def shows(self, sessions: Mapping[str, int]) -> bool:
        """Whether the last it has shown are these sessions, in these versions."""
        shown = [line["sessions"] for line in self.lines() if "sessions" in line]
        return bool(shown) and shown[-1] == dict(sessions)


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_a_laptop_that_sleeps_wakes_up_to_the_present(
    node_factory: NodeFactory, tmp_path: Path, transport: str
) -> None:
    """Asleep for longer than it waits for a word and than the server waits for it: the mirror is right again."""
    env = {
        **LIVELY,
        "SESSIONCAST_SEND_DEADLINE_S": "1",
        "SESSIONCAST_TCP_USER_TIMEOUT_S": "1",
        "SESSIONCAST_WS_PING_S": "1",
    }
    node = await node_factory(env=env)
    async with Client(node.url, limits=SOON) as client:
        works = await working(client)
        laptop = Laptop(tmp_path, node.url, transport)
        await asyncio.to_thread(laptop.start)
        try:
            _, sessions = await works.truth()
            await until(lambda: laptop.shows({id_: one.version for id_, one in sessions.items()}), "what there is")
            laptop.freeze()
            asleep_at = time.monotonic()
            for _ in range(3):
                await works.some()
            await until(lambda: time.monotonic() - asleep_at > 4, "the night to pass")  # twice the laptop's patience
            laptop.thaw()
            await works.some()
            _, sessions = await works.truth()
            await until(lambda: laptop.shows({id_: one.version for id_, one in sessions.items()}), "the present")
            offsets = [line["offset"] for line in laptop.lines() if "offset" in line]
            assert offsets == sorted(set(offsets), key=lambda offset: int(str(offset)))
        finally:
            laptop.kill()


def _token(ttl_s: float) -> str:
    return make_token(SECRET, sub="ann", projects="*", scopes=ALL_SCOPES, ttl_s=ttl_s)


async def _secured(node_factory: NodeFactory) -> Node:
    return await node_factory(env={**LIVELY, "SESSIONCAST_JWT_SECRET": SECRET})


async def test_a_websocket_outlives_its_token(node_factory: NodeFactory) -> None:
    """A token that expires is renewed on the way: no reconnect, no gap, and not a word to the user."""
    node = await _secured(node_factory)
    given: list[float] = []

    def fresh() -> str:
        given.append(time.monotonic())
        return _token(12)

    limits = replace(SOON, idle_s=30.0, renew_s=10.0)
    async with Client(node.url, _token(3600)) as client, BadProxy(node.port) as proxy:
        works = await working(client)
        async with watched(proxy.url, "p", transport="websocket", limits=limits, token=fresh) as seen:
            await until(lambda: time.monotonic() - given[0] > 13, "the first token to expire")
            await works.some()
            await works.told(seen)
            assert len(given) > 1
            assert proxy.asked.count("websocket") == 2  # the mirror and the stream beside it are copies of each other
        assert set(seen.states) == {StreamState.OPEN, StreamState.CLOSED}


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_a_token_that_was_not_renewed_in_time_is_asked_for_again(
    node_factory: NodeFactory, transport: str
) -> None:
    """The stream expires in the middle; it comes back with a fresh token, from where it was."""
    node = await _secured(node_factory)
    given: list[str] = []

    async def fresh() -> str:
        given.append(_token(2))
        return given[-1]

    limits = replace(SOON, idle_s=30.0, renew_s=0.001)
    async with Client(node.url, _token(3600)) as client:
        works = await working(client)
        async with watched(node.url, "p", transport=transport, limits=limits, token=fresh) as seen:
            for expected in (2, 3):
                await until(lambda: len(given) >= expected, "the token to expire")  # noqa: B023  at once
                await works.some()
            await works.told(seen)
            assert not seen.client.stats().gaps
