"""A live session is replaced, restarted or deleted only by who has read what goes with it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import psycopg
import pytest
from playwright.async_api import Locator, expect

from sessioncast import Client, Session, Task
from sessioncast_shared import texts
from support.node import Node, NodeFactory
from support.screen import DEADLINE_MS, Console
from support.vitals import until_so

ConsoleFactory = Callable[[Node], Awaitable[Console]]
CHANGED = "Another session is live in this phase by now."
# The seed is a number that JavaScript cannot hold.
PARAMS = {"temperature": 0.2, "tools": ["search"], "seed": 9007199254740993}
MODEL = {"name": "model-a", "version": "1.2", "params": PARAMS}
OTHER = {"model": "model-b", "version": "1.2", "params": '{"temperature": 0.7, "seed": 9007199254740993}'}


@pytest.fixture
async def live(node: Node) -> Session:
    """A running session of the task «T»."""
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        session = (await client.sessions.start(task.id, "run", MODEL, agent="checker")).session
        await client.sessions.append(session.id, [("log", "words\n")])
        return await client.sessions.patch(session.id, status="running")


async def _live_now(node: Node, session: Session) -> list[Session]:
    async with Client(node.url) as client:
        return list(await client.sessions.list(session.task_id))


async def test_a_replacement_is_confirmed(node: Node, console: Console, live: Session) -> None:
    """The dialog has the exact texts, what differs, whose session goes, and its export; «no» is the default."""
    await console.open("demo")
    await console.start("T", **OTHER)
    await console.says(texts.CONFIRM, texts.LOSS)
    dialog = console.dialog
    await expect(dialog).to_have_accessible_name("Replace the session?")
    assert await dialog.locator("li").all_inner_texts() == [
        "name: from model-a to model-b",
        "parameter temperature: from 0.2 to 0.7",
        'parameter tools: from ["search"] to none',
    ]
    terms = dict(
        zip(await dialog.locator("dt").all_inner_texts(), await dialog.locator("dd").all_inner_texts(), strict=True)
    )
    assert {name: terms[name] for name in ("Model", "Agent", "User", "Status")} == {
        "Model": "model-a 1.2",
        "Agent": "checker",
        "User": "local",
        "Status": "running",
    }
    assert terms.keys() >= {"Started", "Last activity"}
    async with console.page.expect_download() as download:
        await console.choose("Export the session")
    exported = json.loads(await asyncio.to_thread(Path(await (await download.value).path()).read_text))
    assert [chunk["text"] for chunk in exported["output"]] == ["words\n"]
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_visible()
    await console.page.keyboard.press("Escape")
    await expect(console.dialog).to_have_count(0)
    assert [it.id for it in await _live_now(node, live)] == [live.id]
    await console.page.locator("#start").get_by_role("button", name="Start").click()
    await console.says(texts.CONFIRM)
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await console.choose("Replace")
    shown = await console.selected()
    assert [(it.id, it.model["name"]) for it in await _live_now(node, live)] == [(shown, "model-b")]
    keys = [await request.header_value("Idempotency-Key") for request in console.starts]
    assert len(set(keys)) == 3  # each is an intent of its own
    assert f'"confirm":{{"session_id":"{live.id}"}}' in (console.starts[-1].post_data or "")


async def test_of_two_tabs_one_replaces(
    node: Node, console: Console, console_factory: ConsoleFactory, live: Session
) -> None:
    """Who confirms too late is shown the session that is live by now, and may replace that one instead."""
    other = await console_factory(node)
    for tab, model in ((console, "model-b"), (other, "model-c")):
        await tab.open("demo")
        await tab.start("T", model=model)
        await tab.says(texts.CONFIRM)
    await asyncio.gather(console.choose("Replace"), other.choose("Replace"))
    late = other.page.get_by_text(CHANGED), console.page.get_by_text(CHANGED)
    await until_so(lambda: _any(late), lambda: "one of them to be told")
    (winner, model), (loser, _) = ((console, "model-b"), (other, "model-c"))[:: 1 if await late[0].count() else -1]
    first = await winner.selected()
    await loser.says(CHANGED, texts.CONFIRM, texts.LOSS)
    await expect(loser.dialog.locator("dd").first).to_have_text(model)
    await expect(loser.dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert [it.id for it in await _live_now(node, live)] == [first]
    await loser.choose("Replace")
    second = await loser.selected()
    assert [it.id for it in await _live_now(node, live)] == [second]
    assert f'"confirm":{{"session_id":"{first}"}}' in (loser.starts[-1].post_data or "")
    await expect(winner.page.locator("#detail-notice")).to_contain_text("was replaced", timeout=DEADLINE_MS)


async def _any(texts: Iterable[Locator]) -> bool:
    return any([await text.count() for text in texts])


async def test_a_session_is_restarted(node: Node, console: Console, live: Session) -> None:
    """«Restart» asks the same question, and starts the same model and agent anew; focus is not lost with the row."""
    await console.open("demo")
    restart = console.page.get_by_role("button", name="Restart run (model-a 1.2) of T")
    await restart.click(timeout=DEADLINE_MS)
    await console.says(texts.CONFIRM, texts.LOSS, "The model is the same; it starts anew.")
    await console.choose("Cancel")
    await expect(restart).to_be_focused()
    await restart.click()
    await console.says(texts.CONFIRM)
    await console.choose("Replace")
    shown = await console.selected()
    assert shown != live.id
    (now,) = await _live_now(node, live)
    assert (now.id, now.model, now.agent, now.status) == (shown, MODEL, "checker", "pending")
    await expect(console.page.locator("nav :focus")).to_have_count(1, timeout=DEADLINE_MS)


async def test_a_session_is_deleted(node: Node, console: Console, live: Session) -> None:
    """A deletion is confirmed in plain words, frees the phase, and the focus goes to what starts another."""
    page = console.page
    await console.open("demo")
    await page.get_by_role("button", name="Delete run (model-a 1.2) of T").click(timeout=DEADLINE_MS)
    await expect(console.dialog).to_have_accessible_name("Delete this session?")
    await expect(console.dialog.get_by_text(texts.LOSS)).to_have_count(0)
    await expect(console.dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await console.choose("Delete")
    await expect(page.get_by_text("no live session")).to_be_visible(timeout=DEADLINE_MS)
    await expect(page.get_by_role("button", name="Start a session of T")).to_be_focused()
    assert await _live_now(node, live) == []
    await console.start("T", model="model-b")
    started = await console.selected()  # it is there once the page shows it
    assert [it.id for it in await _live_now(node, live)] == [started]


async def test_a_task_that_is_kept_busy_is_tried_again(
    node_factory: NodeFactory, console_factory: ConsoleFactory, migrated_postgres_url: str
) -> None:
    """While another holds the task's lock the text is BUSY; «Try again» waits as long as the server asks for."""
    node = await node_factory(
        env={"SESSIONCAST_DATABASE_URL": migrated_postgres_url, "SESSIONCAST_LOCK_TIMEOUT_S": "0.3"}
    )
    console = await console_factory(node)
    task = await _task(node)
    await console.page.clock.install()
    await console.open("demo")
    async with await psycopg.AsyncConnection.connect(migrated_postgres_url) as holder:
        await holder.execute("SELECT id FROM task FOR UPDATE")
        await console.start("T", model="m")
        await console.says(texts.BUSY)
        await console.page.clock.pause_at(await console.page.evaluate("Date.now() / 1000 + 0.05"))
        await holder.rollback()
    await console.choose("Try again")
    assert len(console.starts) == 1
    await console.page.clock.run_for(1_000)
    await console.page.clock.resume()
    shown = await console.selected()
    async with Client(node.url) as client:
        assert [it.id for it in await client.sessions.list(task.id)] == [shown]


async def _task(node: Node) -> Task:
    async with Client(node.url) as client:
        await client.projects.put("demo")
        return await client.tasks.create("demo", "T")


async def test_a_model_that_is_deleted_is_marked(node: Node, console: Console, live: Session) -> None:
    """Its session is still listed, opened and replaced, with «Model Not Found» beside it; nothing starts with it."""
    page = console.page
    await console.open("demo", live.id)
    async with Client(node.url) as client:
        for model in ("model-a", "model-b"):
            await client.models.register("demo", model)
        await expect(page.get_by_role("button", name="Restart")).to_have_count(1)
        await client.models.delete("demo", "model-a")
    await expect(page.locator("nav .model")).to_have_text(f"model-a 1.2 {texts.MODEL_MISSING}", timeout=DEADLINE_MS)
    await expect(page.locator("#detail-about")).to_contain_text(f"model-a 1.2 {texts.MODEL_MISSING} · running")
    await expect(page.get_by_role("button", name="Restart")).to_have_count(0)
    assert await console.shows(1) == "words\n"
    await console.start("T", model="model-a", version="1.2")
    await expect(page.locator("#start-model-problem")).to_have_text(texts.MODEL_MISSING)
    await expect(page.get_by_label("Model", exact=True)).to_be_focused()
    options = page.locator("#start-models option")
    assert await options.evaluate_all("options => options.map(({ value }) => value)") == ["model-b"]
    await page.get_by_label("Model", exact=True).fill("model-b")
    await page.get_by_label("Model", exact=True).press("Enter")
    await expect(console.dialog.locator("dd").first).to_have_text(f"model-a 1.2 {texts.MODEL_MISSING}")
    await console.choose("Replace")
    started = await console.selected()  # it is there once the page shows it
    assert [it.id for it in await _live_now(node, live)] == [started]


async def test_a_restart_with_a_model_that_goes_is_told(node: Node, console: Console, live: Session) -> None:
    """Deleted while its restart was being confirmed, the model is «Model Not Found», and the session stays."""
    await console.open("demo")
    await console.page.get_by_role("button", name="Restart").click(timeout=DEADLINE_MS)
    await console.says(texts.CONFIRM)
    async with Client(node.url) as client:
        await client.models.register("demo", "model-a")
        await client.models.delete("demo", "model-a")
    await console.choose("Replace")
    await console.says(texts.MODEL_MISSING)
    await console.choose("Close")
    await expect(console.page.get_by_role("button", name="Delete")).to_have_count(1)
    assert [it.id for it in await _live_now(node, live)] == [live.id]


async def test_all_sessions_of_a_phase_are_listed(node: Node, console: Console, live: Session) -> None:
    """With several sessions to a phase, as the flag allows, each is listed, newest first, and deleted by itself."""
    page = console.page
    async with Client(node.url) as client:
        await client.flags.set("single_session_enabled", "off")
    await console.open("demo")
    await console.start("T", model="model-b")
    second = await console.selected()
    links = page.locator("nav a.session")
    await expect(links).to_have_count(2)
    shown = await links.evaluate_all("links => links.map((link) => link.dataset.session)")
    assert shown == [second, live.id]
    await page.get_by_role("button", name="Delete run (model-b) of T").click()
    await console.choose("Delete")
    await expect(links).to_have_count(1, timeout=DEADLINE_MS)
    await expect(links).to_have_attribute("data-session", live.id)


@pytest.mark.parametrize(("width", "height"), [(800, 600), (390, 640)])
async def test_dialogs_fit_small_windows(node: Node, console: Console, live: Session, width: int, height: int) -> None:
    """However much there is to say, it scrolls between the question and its answers, and nothing sticks out."""
    page = console.page
    await page.set_viewport_size({"width": width, "height": height})
    await console.open("demo")
    params = json.dumps({f"parameter-{'long' * 20}-{number}": "x" * 200 for number in range(30)})
    await console.fill("T", model="m" * 200, params=params)
    await _fits(page.locator("#start"), width, height)
    await page.locator("#start").get_by_role("button", name="Start").click()
    await console.says(texts.CONFIRM)
    await _fits(console.dialog, width, height)
    for seen in (console.dialog.locator("h2"), *await console.dialog.get_by_role("button").all()):
        await expect(seen).to_be_in_viewport(ratio=1)
    await expect(console.dialog.get_by_text(texts.LOSS)).to_be_in_viewport(ratio=1)
    for _ in range(2):
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("End")
    await expect(console.dialog.locator("li").last).to_be_in_viewport()


async def _fits(dialog: Locator, width: int, height: int) -> None:
    box = await dialog.bounding_box()
    assert box is not None
    assert (box["x"] >= 0, box["y"] >= 0) == (True, True)
    assert (box["x"] + box["width"] <= width, box["y"] + box["height"] <= height) == (True, True)
    assert await dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    assert await dialog.evaluate("() => document.documentElement.scrollWidth") == width
