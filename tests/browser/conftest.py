"""Chromium, and a node for it to look at."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from support.absent import absent
from support.modulepage import ModulePage, Tabs
from support.node import Node, NodeFactory
from support.screen import Console

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

ConsoleFactory = Callable[[Node], Awaitable[Console]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives a browser, and two at a time would be too much for a small machine."""
    for item in items:
        if "/tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    program = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
    if program is None:
        absent("no Chromium: install the package chromium, or name one in TEST_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A Chromium with nothing in it."""
    async with _chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_browser() -> AsyncIterator[Browser]:
    """A Chromium for all tests of the module; each has windows of its own."""
    async with _chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A node for all tests of the module; each has a project of its own."""
    async with Node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(shared_browser: Browser) -> AsyncIterator[Tabs]:
    """Tabs of one window that can import the module; none of a test's may have had a fault."""
    context = await shared_browser.new_context()
    tabs = Tabs(context)
    yield tabs
    await context.close()
    assert tabs.faults == []


@pytest_asyncio.fixture(loop_scope="session")
async def module_page(tabs: Tabs, shared_node: Node) -> ModulePage:
    """One tab of the shared node."""
    return await tabs.open(shared_node.url)


@pytest.fixture
async def console_factory(browser: Browser) -> AsyncIterator[ConsoleFactory]:
    """`await console_factory(node)` is a tab; none of a test's tabs may have had a fault."""
    async with AsyncExitStack() as stack:
        consoles: list[Console] = []

        async def make(node: Node) -> Console:
            page = await browser.new_page(viewport={"width": 1280, "height": 800})
            stack.push_async_callback(page.close)
            consoles.append(Console(page, node.url))
            return consoles[-1]

        yield make
        assert [fault for console in consoles for fault in console.faults] == []


@pytest.fixture
async def node(node_factory: NodeFactory) -> Node:
    """A node on its default store."""
    return await node_factory()


@pytest.fixture
async def console(console_factory: ConsoleFactory, node: Node) -> Console:
    """A tab for that node."""
    return await console_factory(node)
