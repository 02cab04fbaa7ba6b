"""The browser's line of the quickstart does what the page says."""

import asyncio
import re
from pathlib import Path

from playwright.async_api import ConsoleMessage

from sessioncast import Client
from support.node import Node
from support.screen import Console
from support.waiting import DEADLINE_S

_PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


async def test_the_line_for_the_browser_prints_types_of_events(node: Node, console: Console) -> None:
    """Pasted into the page's console it prints the type of each event, on nothing but the browser's own means."""
    (line,) = re.findall(r"^```js\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    said: asyncio.Queue[str] = asyncio.Queue()

    def hear(message: ConsoleMessage) -> None:
        said.put_nowait(message.text)

    async with Client(node.url) as client:
        await client.projects.put("demo")
        await console.open("demo")
        await console.live()
        console.page.on("console", hear)
        await console.page.evaluate(f"() => {{ {line} }}")
        async with asyncio.timeout(DEADLINE_S):
            while said.empty():  # what happens before the stream is open belongs to its snapshot
                await client.tasks.create("demo", "Something to see")
            assert await said.get() == "task.created"
