"""Sessions are started by clicking."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import orjson
import pytest
from playwright.async_api import expect

from sessioncast import Client, Task
from sessioncast_shared import texts
from support.node import Node, NodeFactory
from support.screen import DEADLINE_MS, Console
from support.waiting import DEADLINE_S, until

ConsoleFactory = Callable[[Node], Awaitable[Console]]
SECRET = "a secret that is long enough for everybody"


@pytest.fixture
async def task(node: Node, console: Console) -> Task:
    """The task «T», on the page."""
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
    await console.open("demo")
    await console.live()
    return task


async def test_a_session_is_started_as_it_was_filled_in(node: Node, console: Console, task: Task) -> None:
    """What was typed is what is asked for, digit by digit; the new session is shown, and focus is where it was."""
    page = console.page
    params = '{"seed": 9007199254740993, "top_p": 1.0}'
    await console.fill("T", phase="verify", model=" model-a ", version="1.2", params=params, agent="checker")
    await page.get_by_label("Debug session").check()
    await page.locator("#start").get_by_role("button", name="Start").click()
    shown = await console.selected()
    (request,) = console.starts
    assert request.post_data is not None
    assert params in request.post_data
    async with Client(node.url) as client:
        session = await client.sessions.get(shown)
    assert (session.phase, session.debug, session.agent, session.status) == ("verify", True, "checker", "pending")
    assert session.model == {"name": "model-a", "version": "1.2", "params": orjson.loads(params)}
    assert page.url.endswith(f"session={shown}")
    await expect(page.get_by_role("button", name="Start a session of T")).to_be_focused()


async def test_the_form_proposes_a_free_phase(node: Node, console: Console, task: Task) -> None:
    """The first phase without a live session is chosen already, and a debug session takes none."""
    page = console.page
    async with Client(node.url) as client:
        await client.sessions.start(task.id, "plan", "m")
        await client.sessions.start(task.id, "run", "m", debug=True)
    await expect(page.locator("nav a.session")).to_have_count(2, timeout=DEADLINE_MS)
    await page.get_by_role("button", name="Start a session of T").click()
    await expect(page.get_by_label("Phase")).to_have_value("run")


async def test_the_same_model_leads_to_the_running_session(node: Node, console: Console, task: Task) -> None:
    """A start with the model that is live says so, and «View the active session» shows that one."""
    async with Client(node.url) as client:
        live = (await client.sessions.start(task.id, "run", "model-a")).session
    await console.start("T", model="model-a")
    await console.says(texts.SAME_MODEL)
    view = console.dialog.get_by_role("button", name="View the active session")
    await expect(view).to_be_focused()
    await view.click()
    assert await console.selected() == live.id


async def test_mistakes_stand_beside_their_fields(console: Console, task: Task) -> None:
    """What the page can tell is not even sent; what the server finds is told in its words, and can be mended."""
    page = console.page
    model, params = page.get_by_label("Model"), page.get_by_label("Parameters")
    await console.start("T")
    await expect(page.locator("#start-model-problem")).to_have_text("A model is needed.")
    await expect(model).to_be_focused()
    for text, problem in (
        ("{temperature: 1}", "This is not JSON: "),
        ("[1]", 'Parameters are a JSON object, like {"temperature": 0.2}.'),
        ("null", 'Parameters are a JSON object, like {"temperature": 0.2}.'),
    ):
        await model.fill("m")
        await params.fill(text)
        await model.press("Enter")
        await expect(page.locator("#start-params-problem")).to_contain_text(problem)
        await expect(params).to_be_focused()
        await expect(params).to_have_accessible_description(await page.locator("#start-params-problem").inner_text())
    assert console.starts == []
    await params.fill("")
    await page.get_by_label("Version").fill("\0")
    await model.press("Enter")
    await expect(page.locator("#start-version-problem")).to_have_text("must not contain NUL")
    await expect(page.locator("#start-params-problem")).to_be_hidden()
    await page.get_by_label("Version").fill("")
    await params.fill('{"a": 1, "a": 2}')
    await model.press("Enter")
    await expect(page.locator("#start-form-problem")).to_contain_text("JSON")
    await params.fill('{"a": 1}')
    await model.press("Enter")
    await console.selected()


async def test_a_form_is_closed_with_its_project(node: Node, console: Console, task: Task) -> None:
    """Who goes back to another project while a form is open is not left with the form of the first."""
    async with Client(node.url) as client:
        await client.projects.put("other")
    await console.page.get_by_label("Project").fill("other")
    await console.page.get_by_role("button", name="Show").click()
    await expect(console.page.get_by_text("No tasks yet.")).to_be_visible(timeout=DEADLINE_MS)
    await console.page.go_back()
    await console.fill("T", model="m")
    await console.page.go_forward()
    await expect(console.page.locator("dialog[open]")).to_have_count(0)
    await expect(console.page.get_by_text("No tasks yet.")).to_be_visible(timeout=DEADLINE_MS)


async def test_a_task_is_made_by_its_title(console: Console, task: Task) -> None:
    """A title and Enter make a task, once however often it is pressed; a blank one makes none."""
    page = console.page
    title = page.get_by_label("Title of a new task")
    await title.fill("   ")
    await title.press("Enter")
    await title.fill("Paint it")
    await title.press("Enter")
    await title.press("Enter")
    await expect(page.get_by_role("heading", name="Paint it")).to_be_visible(timeout=DEADLINE_MS)
    await expect(title).to_have_value("")
    await expect(title).to_be_focused()
    await expect(page.locator("nav .task")).to_have_count(2)
    assert len([request for request in console.asked if request.method == "POST"]) == 1


async def test_a_project_is_lived_in_by_keyboard(console: Console, task: Task) -> None:
    """Without a pointer: a task is made, a session started, replaced, deleted, and focus is never lost."""
    page, keyboard = console.page, console.page.keyboard

    async def focused(name: str) -> None:
        await expect(page.locator(":focus")).to_have_accessible_name(name, timeout=DEADLINE_MS)

    async def press(*keys: str) -> None:
        for key in keys:
            await keyboard.press(key)

    await page.locator("#token-button").focus()
    await press("Tab")
    await focused("Title of a new task")
    await keyboard.type("U")
    await press("Enter")
    await expect(page.locator("nav .task")).to_have_count(2, timeout=DEADLINE_MS)
    await press("Tab", "Tab")
    await focused("Start a session of U")
    await press("Enter")
    await focused("Model")
    await keyboard.type("one")
    await press("Enter")
    first = await console.selected()
    await focused("Start a session of U")
    await press("Enter")
    await page.get_by_label("Phase").focus()
    await press("p", "Tab")
    await focused("Model")
    await keyboard.type("two")
    await press("Enter")
    await focused("Cancel")
    await press("Escape")
    await expect(console.dialog).to_have_count(0)
    await focused("Model")
    await press("Enter")
    await focused("Cancel")
    await press("Shift+Tab")
    await focused("Replace")
    await press("Enter")
    await focused("Start a session of U")
    assert await console.selected() != first
    await press("Tab", "Tab", "Tab")
    await focused("Delete plan (two) of U")
    await press("Enter")
    await focused("Cancel")
    await press("Shift+Tab", "Enter")
    await expect(page.locator("nav a.session")).to_have_count(0, timeout=DEADLINE_MS)
    await focused("Start a session of U")


async def _token(*scopes: str) -> str:
    arguments = [argument for scope in scopes for argument in ("--scope", scope)]
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast", "token", "--sub", "ann", "--project", "demo", *arguments),
        env={"SESSIONCAST_JWT_SECRET": SECRET, "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        out, _ = await program.communicate()
    return out.decode().strip()


async def test_who_may_not_is_told(node_factory: NodeFactory, console_factory: ConsoleFactory) -> None:
    """A token that only reads, one that is gone and a task that is gone are told in words; no address has a token."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET})
    reading, writing = await _token("sessions:read"), await _token("sessions:read", "sessions:write")
    console = await console_factory(node)
    page = console.page
    async with Client(node.url, token=writing) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        live = (await client.sessions.start(task.id, "run", "one")).session
    await console.open("demo")
    await console.state("refused")
    await page.get_by_label("Bearer token").fill(reading)
    await page.get_by_role("button", name="Use").click()
    await console.live()
    await console.start("T", model="two")
    await console.says("You have no right to do this.", "The scope sessions:write is needed.")
    await console.choose("Close")
    await page.evaluate("sessionStorage.clear()")
    await page.locator("#start").get_by_role("button", name="Start").click()
    await console.says("This server wants a token. Close this, and give one under «Token».")
    await console.choose("Close")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Token").click()
    await page.get_by_label("Bearer token").fill(writing)
    await page.get_by_role("button", name="Use").click()
    await console.live()
    await console.start("T", model="two")
    await console.says(texts.CONFIRM)
    async with page.expect_download() as download:
        await console.choose("Export the session")
    assert (await download.value).suggested_filename == f"session-{live.id}.json"
    await console.choose("Replace")
    assert await console.selected() != live.id
    assert not [request.url for request in console.asked if reading in request.url or writing in request.url]


async def test_no_page_may_frame_this_one(node: Node, console: Console) -> None:
    """In the frame of any page, be it of this very origin, there is nothing to click on."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        await client.tasks.create("demo", "T")
    await page.route(
        f"{node.url}/framing",
        lambda route: route.fulfill(content_type="text/html", body=f"<iframe src='{node.url}/?project=demo'>"),
    )
    await page.goto(f"{node.url}/framing")
    await until(lambda: any(frame.url.startswith("chrome-error:") for frame in page.frames), "the frame to be refused")
    assert await page.frame_locator("iframe").locator("#tasks").count() == 0
    console.faults.clear()  # where Chromium names the directive
