"""The browser's module where something is in its way."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from sessioncast import Client
from support.modulepage import ModulePage, Tabs
from support.node import Node
from support.pickyproxy import PickyProxy
from support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUICK = {"asideS": 1, "pollFactor": 0.05, "backoffBaseS": 0.05}
"""Periods that a test can wait for."""


async def _project(node: Node, name: str) -> None:
    async with Client(node.url) as client:
        await client.projects.put(name)


async def _task(node: Node, project: str, title: str) -> None:
    async with Client(node.url) as client:
        await client.tasks.create(project, title)


def _reports(node: Node, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{") and "client report" in line]
    return [line for line in lines if line.get("kind") == kind]


async def test_down_the_ladder_and_up_again(tabs: Tabs, shared_node: Node) -> None:
    """What a proxy refuses is done without, and used again once it lets it through; no event is missed or doubled."""
    await _project(shared_node, "ladder")
    async with PickyProxy(shared_node.port) as proxy:
        proxy.refuses = {"websocket", "sse"}
        tab = await tabs.open(proxy.url)
        await tab.begin("ladder", limits=QUICK)
        await tab.state("polling")
        await _task(shared_node, "ladder", "by poll")
        await tab.until("told.events.length === 1")
        proxy.refuses = {"websocket"}
        await tab.state("live", "sse")
        await _task(shared_node, "ladder", "by SSE")
        await tab.until("told.events.length === 2")
        proxy.refuses = set()
        await tab.state("live", "websocket")
        await until(lambda: list(proxy.open.values()).count("sse") == 0, "the event stream to be given up")
        await _task(shared_node, "ladder", "by WebSocket")
        await tab.until("told.events.length === 3")
        assert await tab.look("[told.gaps, told.snapshots]") == [[], 1]
        assert await tab.look("told.states.some(([state]) => state === 'reconnecting')") is False
        stats = await tab.look("c.stats()")
        assert stats["transports"] == {"websocket": 1, "sse": 1, "poll": 1}
        assert stats["polls"] >= 2
        assert sum(stats["pollIntervals"].values()) >= 1
        await tab.look("c.close()")


async def test_a_cut_is_healed(tabs: Tabs, shared_node: Node) -> None:
    """A WebSocket that breaks is opened again where it was: what was said meanwhile is told, once."""
    await _project(shared_node, "cut")
    async with PickyProxy(shared_node.port) as proxy:
        tab = await tabs.open(proxy.url)
        await tab.begin("cut", limits=QUICK)
        await tab.state("live", "websocket")
        proxy.refuses = {"websocket", "other"}  # and its page for what is asked besides: the server is not away
        await proxy.cut("websocket")
        await _task(shared_node, "cut", "meanwhile")
        await tab.state("live", "sse")
        await tab.until("told.events.length === 1")
        assert await tab.look("[told.gaps, told.snapshots]") == [[], 1]
        await tab.look("c.close()")


async def test_silence_is_told_and_ended(tabs: Tabs, shared_node: Node) -> None:
    """Who hears nothing for two heartbeats says so, to the reader and to the server, and connects anew."""
    await _project(shared_node, "silence")
    async with PickyProxy(shared_node.port) as proxy:
        tab = await tabs.open(proxy.url)
        await tab.begin("silence", transport="websocket", limits={**QUICK, "heartbeatS": 0.5})
        # The server's heartbeat is 15 s: to this reader every quiet is too long.
        await tab.until("told.states.some(([state]) => state === 'stale')")
        await tab.until("c.stats().staleTimes >= 1 && told.states.at(-1)[0] === 'live'")
        await until(lambda: bool(_reports(shared_node, "stale")), "a report")
        [report, *_] = _reports(shared_node, "stale")
        assert report["transport"] == "websocket"
        assert report["heard_at"] < report["at"]
        await tab.look("c.close()")


async def test_what_a_stream_lost_is_found(tabs: Tabs, shared_node: Node) -> None:
    """An event that never came is found by the full check: the state is put right, counted and reported."""
    await _project(shared_node, "lost")
    tab = await tabs.open(shared_node.url)

    def lose(message: Any, onto: Any) -> None:
        if "LOST" not in str(message):
            onto.send(message)

    def between(route: Any) -> None:
        server = route.connect_to_server()
        server.on_message(lambda message: lose(message, route))

    await tab.page.route_web_socket("**/v1/ws", between)
    await tab.begin("lost", limits=QUICK | {"checkWaitS": 0.1})
    await tab.state("live", "websocket")
    await _task(shared_node, "lost", "LOST")
    await _task(shared_node, "lost", "kept")
    await tab.until("live.tasks.size === 1")
    assert await tab.look("await c.refresh()") == {"checked": True, "mismatches": 1}
    assert await tab.look("[...live.tasks.values()].map(({ title }) => title).sort()") == ["LOST", "kept"]
    assert await tab.look("[told.mismatches.length, c.stats().mismatches]") == [1, 1]
    assert await tab.look("await c.refresh()") == {"checked": True, "mismatches": 0}
    # What somebody has written into it is found, too, though its version says nothing and nothing has happened since.
    await tab.look("void Object.assign([...live.tasks.values()][0], { title: 'forged' })")
    assert await tab.look("await c.refresh()") == {"checked": True, "mismatches": 1}
    assert await tab.look("[...live.tasks.values()].map(({ title }) => title).sort()") == ["LOST", "kept"]
    await until(lambda: len(_reports(shared_node, "mismatch")) >= 2, "reports")
    await tab.look("c.close()")


async def test_a_first_load_that_fails(tabs: Tabs, shared_node: Node) -> None:
    """Nothing is loaded: told at once with the time of the next try, three times more, then for good, until asked."""
    await _project(shared_node, "first")
    async with PickyProxy(shared_node.port) as proxy:
        tab = await tabs.open(proxy.url)
        await tab.begin("nowhere", "n", limits=QUICK)
        await tab.state("refused", name="n")
        assert await tab.look("c.state.problem.status", "n") == 404
        proxy.refuses = {"poll"}
        limits = QUICK | {"firstLoadS": [0.1, 0.2, 0.4]}
        await tab.begin("first", transport="poll", limits=limits)
        await tab.until("c.state.state === 'reconnecting' && c.state.first && c.state.at > Date.now() - 60_000")
        await tab.state("failed")
        states = await tab.look("told.states.map(([state]) => state)")
        assert states == ["connecting", *["reconnecting", "connecting"] * 3, "failed"]
        proxy.refuses = set()
        await tab.look("c.retry()")
        await tab.state("polling")
        await until(lambda: bool(_reports(shared_node, "load_failed")), "a report")
        await tab.look("c.close()")
        await tab.look("c.close()", "n")


async def test_push_that_is_switched_off(module_page: ModulePage, shared_node: Node) -> None:
    """With `push_enabled` off the client polls, and is pushed to again as soon as an answer says so."""
    await _project(shared_node, "switched")
    async with httpx2.AsyncClient(base_url=shared_node.url) as http:
        await module_page.begin("switched", limits=QUICK)
        await module_page.state("live", "websocket")
        assert (await http.put("/v1/admin/flags/push_enabled", json={"state": "off"})).status_code == 200
        await module_page.state("polling")
        await _task(shared_node, "switched", "by poll")
        await module_page.until("told.events.length === 1")
        assert (await http.put("/v1/admin/flags/push_enabled", json={"state": "on"})).status_code == 200
        await module_page.state("live", "websocket")
        await _task(shared_node, "switched", "by WebSocket")
        await module_page.until("told.events.length === 2")
        assert await module_page.look("told.gaps") == []
        await module_page.look("c.close()")


async def test_reads_are_cached_and_corrected(module_page: ModulePage, shared_node: Node) -> None:
    """A read is asked for once, by many; events and own changes correct it at once, and a change happens once."""
    await _project(shared_node, "cache")
    await module_page.begin("cache", limits=QUICK)
    await module_page.state("live")
    asked: list[str] = []
    module_page.page.on("request", lambda it: asked.append(f"{it.method} {it.url.rpartition('/v1/')[2]}"))
    made = await module_page.look("(await c.send('POST', '/v1/projects/cache/tasks', { title: 'T' })).body")
    path = f"/v1/tasks/{made['id']}"
    both = f"await Promise.all([c.get('{path}'), c.get('{path}')])"
    assert await module_page.look(f"({both}).map(({{ body }}) => body.title)") == ["T", "T"]
    assert await module_page.look(f"(await c.get('{path}')).stale") is False
    assert asked.count(f"GET tasks/{made['id']}") == 1
    async with Client(shared_node.url) as client:
        await client.tasks.patch(made["id"], title="U")
    await module_page.until(f"live.tasks.get('{made['id']}').title === 'U'")
    assert await module_page.look(f"(await c.get('{path}')).body.title") == "U"
    await module_page.look(f"c.send('PATCH', '{path}', {{ title: 'V' }})")
    assert await module_page.look(f"(await c.get('{path}')).body.title") == "V"
    stats = await module_page.look("c.stats()")
    assert (stats["cacheHits"], stats["cacheMisses"]) == (1, 4)
    # What is told of a session needs no reading.
    async with Client(shared_node.url) as client:
        session = (await client.sessions.start(made["id"], "run", "m")).session
        await module_page.until("live.sessions.size === 1")
        path = f"/v1/sessions/{session.id}"
        await module_page.look(f"c.get('{path}')")
        await client.sessions.append(session.id, [("log", "one"), ("log", "two")])
        await client.sessions.patch(session.id, status="running")
        await module_page.until("told.events.at(-1)[1] === 'session.updated'")
        body = (await module_page.look(f"c.get('{path}')"))["body"]
        assert (body["output_seq"], body["status"]) == (2, "running")
        assert asked.count(f"GET sessions/{session.id}") == 1
    # A change whose answer was lost is asked for again by the same name, and is one change.
    lost = asyncio.Event()

    async def lose(route: Any) -> None:
        await route.fetch()
        lost.set()
        await route.abort("connectionreset")

    await module_page.page.route("**/cache/tasks", lose, times=1)
    await module_page.look("c.send('POST', '/v1/projects/cache/tasks', { title: 'once' })")
    assert lost.is_set()
    await module_page.until("live.tasks.size === 2")
    async with Client(shared_node.url) as client:
        assert len((await client.tasks.list("cache")).data) == 2
    await module_page.look("c.close()")
