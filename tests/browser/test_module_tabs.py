"""Tabs that share one connection, and who the server takes them for."""

import time

import httpx2
import jwt
import pytest

from sessioncast import Client
from support.modulepage import ModulePage, Tabs
from support.node import Node, NodeFactory
from support.vitals import until_so

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "a secret that is long enough for everybody"
TABS = 10


def _token(sub: str, seconds: float = 3600, **claims: object) -> str:
    known = {"sub": sub, "projects": "*", "scopes": ["sessions:read", "sessions:write", "admin"]}
    return jwt.encode({**known, "exp": time.time() + seconds, **claims}, SECRET, "HS256")


def _note(tab: ModulePage, urls: list[str]) -> None:
    tab.page.on("request", lambda request: urls.append(request.url))


async def _subscribers(node: Node) -> int:
    """WebSocket subscriptions of a node."""
    async with httpx2.AsyncClient(base_url=node.url) as http:
        text = (await http.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("sessioncast_subscribers{") and "websocket" in line]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


async def _have(node: Node, number: int) -> None:
    """Return once a node has so many; those of tests before go when it notices that they have gone."""

    async def so() -> bool:
        return await _subscribers(node) == number

    await until_so(so, lambda: f"{number} subscriptions")


async def test_ten_tabs_have_one_connection(tabs: Tabs, shared_node: Node) -> None:
    """All see every change by one subscription; when the tab that has it goes, another takes over without a gap."""
    async with Client(shared_node.url) as client:
        await client.projects.put("many")
        pages = [await tabs.open(shared_node.url) for _ in range(TABS)]
        for page in pages:
            await page.begin("many")
        for page in pages:
            await page.state("live", "websocket")
        [leader] = [page for page in pages if page.sockets == 1]
        assert sum(page.sockets for page in pages) == 1
        await _have(shared_node, 1)
        await client.tasks.create("many", "first")
        for page in pages:
            await page.until("told.events.length === 1 && live.tasks.size === 1")
        late = await tabs.open(shared_node.url)
        await late.begin("many")
        await late.until("live.tasks.size === 1")
        # The tab with the connection goes; meanwhile something happens.
        rest = [page for page in [*pages, late] if page is not leader]
        await leader.page.close()
        await client.tasks.create("many", "second")
        for page in rest:
            await page.until("live.tasks.size === 2")
        assert sum(page.sockets for page in rest) == 1
        await client.tasks.create("many", "third")
        for page in rest:
            await page.until("live.tasks.size === 3")
            assert await page.look("told.gaps") == []
            events = await page.look("told.events.map(([position]) => position)")
            assert len(events) == len(set(events)) == (2 if page is late else 3)
            assert await page.look("told.snapshots") == 1
        assert await _subscribers(shared_node) == 1
        assert await rest[-1].look("await c.refresh()") == {"checked": True, "mismatches": 0}


async def test_a_tab_that_leads_and_says_nothing_is_replaced(tabs: Tabs, shared_node: Node) -> None:
    """Whoever looks at another tab and gets no answer takes the lead; nothing is missed."""
    async with Client(shared_node.url) as client:
        await client.projects.put("silent")
        leader, other = await tabs.open(shared_node.url), await tabs.open(shared_node.url)
        for page in (leader, other):
            await page.begin("silent", limits={"leaderS": 0.5})
            await page.state("live")
        await leader.page.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
        await client.tasks.create("silent", "T")
        await leader.until("live.tasks.size === 1")
        assert await other.look("live.tasks.size") == 0
        await other.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await other.until("live.tasks.size === 1")
        assert (leader.sockets, other.sockets) == (1, 1)
        assert await other.look("[told.gaps, told.events.length]") == [[], 1]


async def test_tabs_of_other_filters_share_the_socket(tabs: Tabs, shared_node: Node) -> None:
    """What another tab wants is one more subscription on the same WebSocket, and ends with that tab."""
    async with Client(shared_node.url) as client:
        for name in ("one", "two"):
            await client.projects.put(name)
            await client.tasks.create(name, name)
        first, second = await tabs.open(shared_node.url), await tabs.open(shared_node.url)
        await first.begin("one")
        await second.begin("two")
        third = await tabs.open(shared_node.url)
        await third.begin("two")
        for page, name in ((first, "one"), (second, "two"), (third, "two")):
            await page.until("live.tasks.size === 1")
            assert await page.look("[...live.tasks.values()][0].title") == name
        await third.look("c.close()")
        assert (first.sockets, second.sockets) == (1, 0)
        await _have(shared_node, 2)
        await second.page.close()
        await _have(shared_node, 1)
        # Whichever of these leads next knows nothing of what the other one follows.
        fourth = await tabs.open(shared_node.url)
        await third.begin("one")
        await fourth.begin("two")
        for page in (third, fourth):
            await page.state("live")
        await first.page.close()
        await client.tasks.create("one", "more")
        await client.tasks.create("two", "more")
        for page in (third, fourth):
            await page.until("live.tasks.size === 2")
            assert await page.look("[told.gaps, told.snapshots]") == [[], 1]


async def test_tokens_are_renewed(tabs: Tabs, node_factory: NodeFactory) -> None:
    """A token that is refused or about to expire is replaced by a fresh one, and nothing is lost; none is in a URL."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET})
    good = _token("ann")
    async with Client(node.url, token=good) as client:
        await client.projects.put("p")
        for transport in ("websocket", "sse", "poll"):
            tab = await tabs.open(node.url)
            urls: list[str] = []
            _note(tab, urls)
            await tab.begin("p", transport=transport, tokens=["not a token", good], limits={"pollFactor": 0.05})
            await tab.state("polling" if transport == "poll" else "live", transport)
            assert not any(good in url or "token" in url for url in urls)
            await tab.look("c.close()")
        # One that lasts for some seconds is replaced on the open connection before its end.
        short = _token("ann", 31)
        tab = await tabs.open(node.url)
        await tab.begin("p", tokens=[short, good])
        await tab.until("window.asked === 2 && c.state.state === 'live'")
        await client.tasks.create("p", "T")
        await tab.until("told.events.length === 1")
        assert await tab.look("c.stats().reconnects") == 0
        # One that nobody accepts is told of, and not tried for ever.
        await tab.begin("p", "bad", token="not a token")
        await tab.state("refused", name="bad")
        assert await tab.look("c.state.problem.status", "bad") == 401


async def test_users_do_not_share(tabs: Tabs, node_factory: NodeFactory) -> None:
    """Tabs of different users have connections of their own, those of one user one."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET})
    async with Client(node.url, token=_token("ann")) as client:
        await client.projects.put("p")
    pages = [await tabs.open(node.url) for _ in range(3)]
    for number, (page, user) in enumerate(zip(pages, ("ann", "ann", "bob"), strict=True)):
        await page.begin("p", token=_token(user, 3600 + number))
        await page.state("live")
    assert [page.sockets for page in pages] == [1, 0, 1]
    for page in pages:
        await page.look("c.close()")
