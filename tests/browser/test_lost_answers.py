"""A start whose answer is lost, late or a failure is repeated by «Try again», and happens once."""

from collections.abc import Awaitable, Callable

from playwright.async_api import APIResponse, Route, expect

from sessioncast import Client, Task
from sessioncast_server.db.migrate import migrate
from sessioncast_shared import texts
from support.commitproxy import CommitProxy
from support.node import Node, NodeFactory
from support.postgres import Postgres
from support.screen import DEADLINE_MS, Console
from support.vitals import becomes, until_so

ConsoleFactory = Callable[[Node], Awaitable[Console]]
UNKNOWN = "Whether the server did it is not known. Trying again does not do it twice."


async def _opened(node: Node, console: Console) -> Task:
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
    await console.open("demo")
    await console.live()
    return task


async def _started_once(node: Node, console: Console, task: Task, tries: int) -> None:
    """One session of the task was ever made, it is the one that is shown, and all its requests were one."""
    shown = await console.selected()
    answers: list[APIResponse] = []

    async def told() -> bool:
        path = f"/v1/tasks/{task.id}/sessions?include_deleted=true"
        answers.append(await console.page.request.get(node.url + path))
        return answers[-1].ok

    await until_so(told, lambda: "the list")
    assert [session["id"] for session in (await answers[-1].json())["data"]] == [shown]
    keys = [await request.header_value("Idempotency-Key") for request in console.starts]
    assert len(keys) == tries
    assert len(set(keys)) == 1
    assert len({request.post_data for request in console.starts}) == 1


async def test_a_database_that_is_away_is_tried_again(
    node_factory: NodeFactory, console_factory: ConsoleFactory, own_postgres: Postgres
) -> None:
    """Without its database the server says CREATE_FAILED; with it there again, «Try again» is the same request."""
    migrate(own_postgres.url)
    node = await node_factory(env={"SESSIONCAST_DATABASE_URL": own_postgres.url})
    console = await console_factory(node)
    task = await _opened(node, console)
    own_postgres.kill()
    await console.start("T", model="m")
    await console.says(texts.CREATE_FAILED)
    await expect(console.dialog).to_have_accessible_name("The session was not started")
    await expect(console.dialog.get_by_role("button", name="Try again")).to_be_focused()
    own_postgres.start()
    await becomes(node, 200, "ok")
    answer = None
    while answer is None or not answer.ok:  # each connection that the pool kept may find out by itself
        await console.says(texts.CREATE_FAILED)
        async with console.page.expect_response("**/sessions") as answered:
            await console.choose("Try again")
        answer = await answered.value
    await _started_once(node, console, task, len(console.starts))


async def test_an_answer_that_is_lost_is_asked_for_again(node: Node, console: Console) -> None:
    """The server started it and nobody heard: «Try again» shows that session, and starts no other."""
    task = await _opened(node, console)

    async def lose(route: Route) -> None:
        assert (await route.fetch()).status == 201
        await route.abort("connectionreset")

    await console.page.route("**/sessions", lose, times=1)
    await console.start("T", model="m")
    await console.says(texts.CREATE_FAILED, UNKNOWN)
    await console.choose("Try again")
    await _started_once(node, console, task, 2)


async def test_a_commit_that_is_not_heard_of_is_asked_for_again(
    node_factory: NodeFactory, console_factory: ConsoleFactory, migrated_postgres_url: str
) -> None:
    """When the database's answer to the commit is lost, it may have happened: «Try again» finds that it did."""
    async with CommitProxy(migrated_postgres_url, after=b"INSERT INTO session") as proxy:
        node = await node_factory(env={"SESSIONCAST_DATABASE_URL": proxy.url})
        console = await console_factory(node)
        task = await _opened(node, console)
        proxy.armed = True
        await console.start("T", model="m")
        await console.says(texts.CREATE_FAILED, UNKNOWN)
        assert proxy.cuts == 1
        await console.choose("Try again")
        await _started_once(node, console, task, 2)
        node.kill()


async def test_a_server_that_is_away_is_tried_again(node: Node, console: Console) -> None:
    """No answer at all is CREATE_FAILED too; given up and asked for again unchanged, it is still the same request."""
    task = await _opened(node, console)
    await node.stop()
    await console.start("T", model="m")
    await console.says(texts.CREATE_FAILED, UNKNOWN)
    await console.choose("Cancel")
    await node.start()
    await console.page.locator("#start").get_by_role("button", name="Start").click()
    await _started_once(node, console, task, 2)


async def test_a_server_that_hangs_can_be_left(node: Node, console: Console) -> None:
    """While there is no answer the page says that it waits, and Esc leads back to the form."""
    task = await _opened(node, console)
    node.freeze()
    await console.start("T", model="m")
    await console.says("Waiting for the server…")
    await console.page.keyboard.press("Escape")
    await expect(console.dialog).to_have_count(0)
    await expect(console.page.get_by_label("Model")).to_have_value("m")
    node.thaw()
    await console.page.locator("#start").get_by_role("button", name="Start").click()
    await _started_once(node, console, task, 2)


async def test_a_failure_of_the_server_names_its_request(
    node_factory: NodeFactory, console_factory: ConsoleFactory
) -> None:
    """UNEXPECTED comes with the id that is in the log and with whom to ask; trying again is not offered."""
    node = await node_factory(env={"SESSIONCAST_SUPPORT_URL": "https://support.example/"})
    console = await console_factory(node)
    await _opened(node, console)
    problem = {"code": "unexpected", "detail": texts.UNEXPECTED, "status": 500, "request_id": "abc-123"}
    await console.page.route(
        "**/sessions", lambda route: route.fulfill(status=500, json=problem, content_type="application/problem+json")
    )
    await console.start("T", model="m")
    await console.says(texts.UNEXPECTED, "Request abc-123")
    await expect(console.dialog.get_by_role("button", name="Try again")).to_have_count(0)
    support = console.dialog.get_by_role("link", name="Contact Support")
    await expect(support).to_have_attribute("href", "https://support.example/")
    await console.choose("Close")


async def test_other_changes_are_made_once_too(node: Node, console: Console) -> None:
    """A task and a deletion whose answers are lost are repeated with their keys; UNAVAILABLE is what is said."""
    await _opened(node, console)
    page = console.page

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort("connectionreset")

    await page.route("**/tasks", lose, times=1)
    await page.get_by_label("Title of a new task").fill("Paint it")
    await page.get_by_role("button", name="Add").click()
    await console.says(texts.UNAVAILABLE, UNKNOWN)
    await console.choose("Try again")
    await expect(page.get_by_label("Title of a new task")).to_have_value("", timeout=DEADLINE_MS)
    await expect(page.get_by_role("heading", name="Paint it")).to_have_count(1)
    await console.start("T", model="m")
    session = await console.selected()
    await page.route(f"**/sessions/{session}", lose, times=1)
    await page.get_by_role("button", name="Delete run (m) of T").click()
    await console.choose("Delete")
    await console.says(texts.UNAVAILABLE)
    await console.choose("Try again")
    await expect(page.locator("dialog[open]")).to_have_count(0, timeout=DEADLINE_MS)
    await expect(page.locator("#detail-notice")).to_have_text("This session was deleted.")
