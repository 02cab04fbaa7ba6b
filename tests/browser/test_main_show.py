"""A command, its session, a browser and a program that watch it: one text, over a server that is killed."""

import re
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from sessioncast import Client
from support.command import Command
from support.node import Node
from support.screen import DEADLINE_MS, Console
from support.waiting import until

LINES = 200

# Prints its lines over some seconds, colours and long ones among them, and does not care who listens.
CHECKS = f"""
import time
for number in range({LINES}):
    print(f"check {{number:03}} " + ("passed" if number % 7 else "\\x1b[32mpassed\\x1b[0m " + "x" * 300), flush=True)
    time.sleep(0.025)
"""


@pytest.mark.timeout(180)
async def test_page_watcher_and_database_agree(node: Node, console: Console, tmp_path: Path) -> None:
    """Killed in the middle of a command's output and started again: three identical texts, which are the command's."""
    page = console.page
    async with Client(node.url) as client:
        await client.projects.put("demo")
    await console.open("demo")
    await console.live()
    arguments = ("--project", "demo", "--task", "checks", "--phase", "verify", "--")
    async with Command(tmp_path, node.url, "exec", *arguments, sys.executable, "-c", CHECKS) as command:
        await command.told("sessioncast: session ")
        session = re.search(r"session ([0-9a-f-]{36})", command.err)[1]  # type: ignore[index]  # just seen
        watching = ("watch", "demo", "--session", session, "--output-only", "--until-done")
        async with Command(tmp_path, node.url, *watching) as watcher:
            await page.locator(f'nav a[data-session="{session}"]').click(timeout=DEADLINE_MS)
            await expect(page.locator("#output")).to_contain_text("check 030", timeout=DEADLINE_MS)
            await watcher.wrote("check 030")
            node.kill()
            await console.state("reconnecting")
            written = command.raw.count(b"\n")
            assert written < LINES
            await until(lambda: command.raw.count(b"\n") > min(written + 20, LINES - 1), "the command to go on alone")
            await node.start()
            assert await command.ended() == 0
            assert await watcher.ended() == 0
            seen = watcher.raw.decode()
    async with Client(node.url) as client:
        chunks = [chunk async for chunk in client.sessions.read_output(session)]
    stored = "".join(chunk.text for chunk in chunks)
    assert stored == command.out == seen
    assert stored.count("\n") == LINES
    shown = await console.shows(len(chunks))
    assert shown == re.sub(r"\x1b\[\d+m", "", stored)
    await expect(page.locator(f'nav a[data-session="{session}"] .status')).to_have_text(
        "completed", timeout=DEADLINE_MS
    )
