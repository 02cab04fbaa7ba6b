"""The console over a server that goes away, comes back, forgets, and lets nobody in without a token."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from sessioncast import Client, Session
from support.node import Node, NodeFactory
from support.screen import DEADLINE_MS, Console
from support.waiting import DEADLINE_S, until

SECRET = "a secret that is long enough for everybody"
ConsoleFactory = Callable[[Node], Awaitable[Console]]


async def _running_session(client: Client) -> Session:
    await client.projects.put("demo")
    task = await client.tasks.create("demo", "T")
    return (await client.sessions.start(task.id, "run", "m")).session


async def _stored(client: Client, session: Session) -> str:
    return "".join([chunk.text async for chunk in client.sessions.read_output(session.id)])


async def _output_of(program: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(DEADLINE_S):
        out, _ = await program.communicate()
    assert program.returncode == 0
    return out.decode()


@pytest.mark.parametrize("end", ["term", "kill"])
async def test_output_is_whole_after_a_restart(node: Node, console: Console, end: str) -> None:
    """Stopped or killed and started again, the server is waited for, and no line is missing or doubled."""
    async with Client(node.url) as client:
        session = await _running_session(client)
        await client.sessions.append(session.id, [("log", f"before {number}\n") for number in range(30)])
        await console.open("demo", session.id)
        await console.live()
        await console.shows(30)
        await console.record_states()
        if end == "term":
            await node.stop()
        else:
            node.kill()
        await console.state("reconnecting")
        await expect(console.page.locator("#state")).to_have_text("reconnecting")
        await node.start()
        # Before the page is back, more than an event carries it over.
        await client.sessions.append(session.id, [("log", f"between {number}\n") for number in range(300)])
        await console.live()
        for number in range(20):
            await client.sessions.append(session.id, [("log", f"after {number}\n")])
        shown = await console.shows(350)
        assert shown == await _stored(client, session)
    states = await console.states()
    assert states[0] == states[-1] == "live"
    assert "reconnecting" in states


async def test_a_first_load_that_fails_says_so(node: Node, console: Console) -> None:
    """The text is shown at once with a countdown; after the last try it stays, with «Refresh», which loads."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
    await page.route("**/v1/projects/demo/events?**", lambda route: route.abort())
    await page.route_web_socket("**/v1/ws", lambda socket: socket.close())
    await console.open("demo")
    await expect(page.locator("#notice-text")).to_have_text("Failed to load session data. Please try again.")
    await expect(page.locator("#notice-detail")).to_contain_text("Trying again in")
    await expect(page.locator("#notice-refresh")).to_be_hidden()
    await console.state("failed")
    await expect(page.locator("#notice-text")).to_have_text("Failed to load session data. Please try again.")
    await page.unroute("**/v1/projects/demo/events?**")
    await page.get_by_role("button", name="Refresh").click()
    await console.live()
    await expect(page.locator("#notice")).to_be_hidden()


async def test_a_log_with_a_new_life_refreshes(node: Node, console: Console, tmp_path: Path) -> None:
    """After `epoch rotate` the page says that it missed something, and shows the present state and all output."""
    page = console.page
    async with Client(node.url) as client:
        session = await _running_session(client)
        await client.sessions.append(session.id, [("log", f"before {number}\n") for number in range(30)])
        await console.open("demo", session.id)
        await console.shows(30)
        url = f"sqlite:///{tmp_path}/data/sessioncast.db"
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sessioncast", "epoch", "rotate", "--database-url", url),
            stdout=asyncio.subprocess.PIPE,
        )
        assert await _output_of(program) == "1 logs have new epochs\n"
        await expect(page.locator("#connection")).to_have_attribute("data-gap", "epoch", timeout=DEADLINE_MS)
        await expect(page.locator("#state")).to_have_text("gap: refreshed")
        await client.tasks.create("demo", "U")
        await expect(page.get_by_role("heading", name="U")).to_be_visible(timeout=DEADLINE_MS)
        await client.sessions.append(session.id, [("log", "after\n")])
        assert await console.shows(31) == await _stored(client, session)


async def test_a_token_is_asked_for(node_factory: NodeFactory, console_factory: ConsoleFactory) -> None:
    """Without a right token the page says how to give one; with it all works, and no address has it."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET})
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast", "token", "--sub", "ann", "--project", "demo"),
        env={"SESSIONCAST_JWT_SECRET": SECRET, "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
    )
    token = (await _output_of(program)).strip()
    async with Client(node.url, token=token) as client:
        session = await _running_session(client)
        await client.sessions.append(session.id, [("log", "words\n")])
    console = await console_factory(node)
    page = console.page
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await console.open("demo", session.id)
    await console.state("refused")
    await expect(page.locator("#notice-text")).to_have_text("This server wants a token: give one above.")
    await page.get_by_label("Bearer token").fill("wrong")
    await page.get_by_role("button", name="Use").click()
    await console.state("refused")
    await page.get_by_label("Bearer token").fill(token)
    await page.get_by_role("button", name="Use").click()
    await console.live()
    assert await console.shows(1) == "words\n"
    async with page.expect_download() as download:
        await page.get_by_role("link", name="export").click()
    exported = await asyncio.to_thread(Path(await (await download.value).path()).read_text)
    assert '"words\\n"' in exported
    await page.reload()
    assert await console.shows(1) == "words\n"
    assert not [url for url in requests if token in url]
    await page.get_by_role("button", name="Token").click()
    await page.get_by_role("button", name="Forget").click()
    await console.state("refused")


async def test_a_server_that_falls_silent_is_noticed(node: Node, console: Console) -> None:
    """A frozen server's connections stay open: after two heartbeats of silence the page says that it is stale.

    It offers a refresh, connects again by itself, and reports the session that is looked at, and when it last heard.
    """
    page = console.page
    await page.clock.install()
    async with Client(node.url) as client:
        session = await _running_session(client)
        await console.open("demo")
        await console.live()
        await page.locator("nav a.session").click()
        node.freeze()
        await page.clock.fast_forward(29_000)
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await page.clock.fast_forward(2_000)
        await expect(page.locator("#state")).to_have_text("stale")
        await expect(page.get_by_role("button", name="Refresh")).to_be_visible()
        await page.clock.fast_forward(1_000)
        node.thaw()
        await console.live()
        await client.tasks.create("demo", "later")
        await expect(page.get_by_role("heading", name="later", exact=True)).to_be_visible(timeout=DEADLINE_MS)
        await expect(page.get_by_role("button", name="Refresh")).to_be_hidden()
    await until(lambda: bool(_reports(node, "stale")), "a report")
    report = _reports(node, "stale")[0]
    assert report["session_id"] == session.id
    assert report["heard_at"] < report["at"]


def _reports(node: Node, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{") and "client report" in line]
    return [line for line in lines if line["kind"] == kind]


async def test_without_push_the_page_polls(node: Node, console: Console) -> None:
    """Where push is switched off the page says that it polls, and shows what is made; back on, it is pushed to."""
    async with Client(node.url) as client, httpx2.AsyncClient(base_url=node.url) as http:
        await client.projects.put("demo")
        assert (await http.put("/v1/admin/flags/push_enabled", json={"state": "off"})).status_code == 200
        await console.open("demo")
        await console.state("polling")
        await client.tasks.create("demo", "T")
        await expect(console.page.get_by_role("heading", name="T", exact=True)).to_be_visible(timeout=DEADLINE_MS)
        assert (await http.put("/v1/admin/flags/push_enabled", json={"state": "on"})).status_code == 200
        await console.live()


async def test_a_project_too_large_for_a_snapshot_is_read_as_a_list(
    node_factory: NodeFactory, console_factory: ConsoleFactory
) -> None:
    """The page says so, reads the list that the snapshot names, and follows the changes from there on."""
    node = await node_factory(env={"SESSIONCAST_SNAPSHOT_MAX": "1"})
    console = await console_factory(node)
    page = console.page
    async with Client(node.url) as client:
        session = await _running_session(client)
        for number in range(4):
            await client.tasks.create("demo", f"T{number}")
        await console.open("demo")
        await console.live()
        await expect(page.get_by_text("too large to list whole")).to_be_visible(timeout=DEADLINE_MS)
        await expect(page.locator("nav .task")).to_have_count(5, timeout=DEADLINE_MS)
        await expect(page.locator("nav a.session")).to_have_count(1, timeout=DEADLINE_MS)
        await client.sessions.patch(session.id, status="running")
        await expect(page.locator("nav .status")).to_have_text("running", timeout=DEADLINE_MS)


async def test_a_large_project_is_read_in_two_requests(
    node_factory: NodeFactory, console_factory: ConsoleFactory
) -> None:
    """The newest hundred tasks of a project too large for a snapshot come with all their sessions in one answer."""
    node = await node_factory(env={"SESSIONCAST_SNAPSHOT_MAX": "110"})
    console = await console_factory(node)
    async with Client(node.url) as client:
        await client.projects.put("demo")
        tasks = [await client.tasks.create("demo", f"T{number}") for number in range(111)]
        for task in tasks[-9:]:
            await client.sessions.start(task.id, "run", "m")
    await console.open("demo")
    await expect(console.page.locator("nav .task")).to_have_count(100, timeout=DEADLINE_MS)
    await expect(console.page.locator("nav a.session")).to_have_count(9, timeout=DEADLINE_MS)
    paths = [request.url.removeprefix(node.url).partition("?")[0] for request in console.asked]
    asked = [path for path in paths if path.startswith("/v1/")]
    assert asked == [f"/v1/projects/demo/{list_}" for list_ in ("tasks", "events")]
