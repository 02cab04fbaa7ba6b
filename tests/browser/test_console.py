"""The console shows a project as it changes."""

import pytest
from playwright.async_api import expect

from sessioncast import Client
from support.node import Node
from support.screen import DEADLINE_MS, Console

HOSTILE = '<img src=x onerror="window.hit=1"> <b>b</b> \u202ertl \u0645\u0631\u062d\u0628\u0627 \U0001f980 &amp; \'"'


async def test_an_empty_project_says_so(node: Node, console: Console) -> None:
    """A project without tasks is live, and says that there are none."""
    async with Client(node.url) as client:
        await client.projects.put("demo")
    await console.open("demo")
    await console.live()
    await expect(console.page.get_by_text("No tasks yet. They appear here as they are made.")).to_be_visible()


async def test_a_project_that_is_not_there_is_named_as_missing(node: Node, console: Console) -> None:
    """A missing project is told once, with a way to ask again; made meanwhile, it is found by that."""
    await console.open("demo")
    await console.state("refused")
    await expect(console.page.locator("#notice-text")).to_have_text("There is no such project, or no right to it.")
    async with Client(node.url) as client:
        await client.projects.put("demo")
    await console.page.get_by_role("button", name="Refresh").click()
    await console.live()
    await expect(console.page.locator("#notice")).to_be_hidden()


async def test_what_is_made_appears(node: Node, console: Console) -> None:
    """A task and its session, made over HTTP, appear, and its status follows."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        await console.open("demo")
        await console.live()
        task = await client.tasks.create("demo", "Write the plan", milestone="M1")
        await expect(page.get_by_role("heading", name="Write the plan M1")).to_be_visible(timeout=DEADLINE_MS)
        session = (await client.sessions.start(task.id, "plan", "some-model")).session
        link = page.locator(f'nav a[data-session="{session.id}"]')
        await expect(link).to_contain_text("some-model", timeout=DEADLINE_MS)
        await expect(link.locator(".status")).to_have_text("pending")
        await client.sessions.patch(session.id, status="running")
        await expect(link.locator(".status")).to_have_text("running", timeout=DEADLINE_MS)
        await client.tasks.patch(task.id, title="Rewrite the plan")
        await expect(page.get_by_role("heading", name="Rewrite the plan M1")).to_be_visible(timeout=DEADLINE_MS)
        await client.sessions.delete(session.id)
        await expect(page.get_by_text("no live session")).to_be_visible(timeout=DEADLINE_MS)


async def test_a_replaced_session_leaves_the_list(node: Node, console: Console) -> None:
    """Only the new session is listed; who watched the old one is told, and led to the new one."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        old = (await client.sessions.start(task.id, "run", "one")).session
        await client.sessions.append(old.id, [("log", "old words\n")])
        await console.open("demo", old.id)
        assert await console.shows(1) == "old words\n"
        new = (
            await client.sessions.start(task.id, "run", "two", on_conflict="replace", confirm={"session_id": old.id})
        ).session
        await expect(page.locator("nav a.session")).to_have_count(1)
        await expect(page.locator("nav a.session")).to_have_attribute("data-session", new.id, timeout=DEADLINE_MS)
        await expect(page.locator("#detail-notice")).to_contain_text("This session was replaced.", timeout=DEADLINE_MS)
        await page.get_by_role("link", name="View the active session.").click()
        await client.sessions.append(new.id, [("log", "new words\n")])
        assert await console.shows(1) == "new words\n"
        assert page.url.endswith(f"session={new.id}")


async def test_output_is_seen_line_by_line(node: Node, console: Console) -> None:
    """Each append is on the page before the next is made, and the pane follows its end unless one scrolls up."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        session = (await client.sessions.start(task.id, "run", "m")).session
        await console.open("demo")
        await page.locator("nav a.session").click(timeout=DEADLINE_MS)
        said = ""
        for number in range(1, 61):
            said += f"line {number}\n"
            await client.sessions.append(session.id, [("log", f"line {number}\n")])
            assert await console.shows(number) == said
        scroller = page.locator("#scroller")
        at_end = "pane => pane.scrollHeight - pane.scrollTop - pane.clientHeight < 30"
        assert await scroller.evaluate(at_end)
        await scroller.evaluate("pane => { pane.scrollTop = 0 }")
        await expect(page.get_by_role("button", name="Follow the end")).to_be_visible()
        await client.sessions.append(session.id, [("log", "more\n")])
        await console.shows(61)
        assert await scroller.evaluate("pane => pane.scrollTop") == 0
        await page.get_by_role("button", name="Follow the end").click()
        assert await scroller.evaluate(at_end)


async def test_a_session_is_chosen_by_the_address(node: Node, console: Console) -> None:
    """The address leads to a session's whole output, also of one that is no longer live; a foreign one is refused."""
    async with Client(node.url) as client:
        for project in ("demo", "other"):
            await client.projects.put(project)
        task = await client.tasks.create("demo", "T")
        session = (await client.sessions.start(task.id, "run", "m")).session
        lines = [f"line {number}\n" for number in range(450)]
        await client.sessions.append(session.id, [("log", line) for line in lines])
        await client.sessions.delete(session.id)
    await console.open("demo", session.id)
    assert await console.shows(450) == "".join(lines)
    await expect(console.page.locator("#detail-notice")).to_have_text("This session was deleted.")
    await console.open("other", session.id)
    await expect(console.page.locator("#output-notice-text")).to_have_text("There is no such session in this project.")
    assert await console.page.locator("#output").text_content() == ""


async def test_a_list_is_used_by_keyboard(node: Node, console: Console) -> None:
    """Sessions are links: Tab reaches them, Enter chooses, the browser's «back» undoes it."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        session = (await client.sessions.start(task.id, "run", "m")).session
        await client.sessions.append(session.id, [("log", "words\n")])
    await console.open("demo")
    await console.live()
    await expect(page.locator("nav a.session")).to_have_count(1)
    await page.get_by_role("button", name="Start a session of T").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    assert await console.shows(1) == "words\n"
    await expect(page.locator("nav a.session")).to_have_attribute("aria-current", "true")
    await page.go_back()
    await expect(page.locator("nav a[aria-current]")).to_have_count(0)
    assert await console.shows(0) == ""


async def test_the_last_project_is_remembered(node: Node, console: Console) -> None:
    """Chosen by the field, a project is in the address, and is the one that the bare address leads to later."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
    await console.open("nothing-here")
    await page.get_by_label("Project").fill("demo")
    await page.get_by_role("button", name="Show").click()
    await console.live()
    assert page.url.endswith("/?project=demo")
    await page.goto(node.url + "/")
    await console.live()
    assert page.url.endswith("/?project=demo")


async def test_hostile_texts_do_nothing(node: Node, console: Console) -> None:
    """Markup is shown as it is, terminal codes are colours or nothing, and nothing runs."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", HOSTILE, milestone=HOSTILE)
        session = (await client.sessions.start(task.id, "run", HOSTILE, metadata={"x": HOSTILE})).session
        chunks = [
            ("log", f"{HOSTILE}\n"),
            ("log", "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[1mbo"),
            ("log", "ld\x1b["),
            ("log", "0m plain\x07\x08\n"),
            (HOSTILE, "\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\\n"),
            ("log", "10 %\r100 %\r\n"),
            ("log", "x" * 200_000 + "\n"),
            ("log", "the end\n"),
        ]
        await client.sessions.append(session.id, chunks)
    await console.open("demo", session.id)
    shown = (await console.shows(len(chunks))).splitlines()
    assert shown[:4] == [HOSTILE, "red bold plain", "link", "100 %"]
    assert shown[4].startswith("x" * 20_000 + " … 180,000 more")
    assert shown[5] == "the end"
    await expect(page.locator("#output .c-red")).to_have_text("red")
    await expect(page.locator("#output .bold")).to_have_text("bold")
    await expect(page.locator("#detail-title")).to_have_text(HOSTILE)
    assert await page.locator("main img, main b").count() == 0
    assert await page.evaluate("window.hit") is None
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.timeout(180)
async def test_huge_output_is_bounded(node: Node, console: Console) -> None:
    """Of very much output the end is shown and the rest is not even fetched; the export is named."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        session = (await client.sessions.start(task.id, "run", "m")).session
        for start in range(0, 8_000, 1_000):
            lines = [("log", f"line {number}\n") for number in range(start, start + 1_000)]
            await client.sessions.append(session.id, lines)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await console.open("demo", session.id)
    assert (await console.shows(8_000)).splitlines() == [f"line {number}" for number in range(3_000, 8_000)]
    await expect(page.locator("#earlier")).to_be_visible()
    assert sum("/output?" in url for url in requests) == 25
    async with page.expect_download() as download:
        await page.get_by_role("link", name="export").click()
    assert (await download.value).suggested_filename == f"session-{session.id}.json"
