"""Tabs of a real Chromium that use the browser's module."""

import json
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Page, WebSocket

from support.waiting import DEADLINE_S

_NETWORK = ("Failed to load resource", "WebSocket connection to")
"""Chromium itself writes these of requests that fail; where a server is away that is no fault of a page."""

_BEGIN = """async (asked) => {
    window.module = await import("/client/sessioncast.js");
    window.connections = {};
    window.told = {};
    window.begin = (name, options) => {
        const connection = window.module.connect("", options);
        const told = { states: [], snapshots: 0, events: [], gaps: [], mismatches: [], changes: [] };
        window.told[name] = told;
        connection.addEventListener("state", ({ detail }) => told.states.push([detail.state, detail.transport]));
        connection.addEventListener("snapshot", () => { told.snapshots += 1; });
        connection.addEventListener("event", ({ detail }) => told.events.push([detail.position, detail.type]));
        connection.addEventListener("gap", ({ detail }) => told.gaps.push(detail.reason));
        connection.addEventListener("resync", ({ detail }) => told.gaps.push(detail.reason));
        connection.addEventListener("mismatch", ({ detail }) => told.mismatches.push(detail));
        connection.live().addEventListener("change", ({ detail }) => told.changes.push(...detail.changes));
        window.connections[name] = connection;
    };
}"""


class ModulePage:
    """One tab on a page of a node's that has nothing in it.

    Attributes:
        page: the tab.
        sockets: WebSockets that it has opened so far.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets = 0
        page.on("websocket", self._opened)

    def _opened(self, _: WebSocket) -> None:
        self.sockets += 1

    async def begin(self, project: str, name: str = "c", **options: Any) -> None:
        """Connect, under a name. Options are the module's; of `tokens`, a list, a function gives one each time."""
        tokens = options.pop("tokens", None)
        given = {"project": project, **options}
        script = """([name, options, tokens]) => {
            window.asked = 0;
            if (tokens) options.token = async () => tokens[Math.min(window.asked++, tokens.length - 1)];
            window.begin(name, options);
        }"""
        await self.page.evaluate(script, [name, given, tokens])

    async def until(self, condition: str, name: str = "c") -> None:
        """Return once an expression over `c`, a connection, `live` and what it `told` holds."""
        names = "const c = window.connections[name], live = c.live(), told = window.told[name];"
        body = f"(name) => {{ {names} return Boolean({condition}); }}"
        await self.page.wait_for_function(body, arg=name, timeout=DEADLINE_S * 1000, polling=20)

    async def look(self, expression: str, name: str = "c") -> Any:
        """The value of an expression over the same."""
        names = "const c = window.connections[name], live = c.live(), told = window.told[name];"
        return await self.page.evaluate(f"async (name) => {{ {names} return {expression}; }}", name)

    async def state(self, state: str, transport: str | None = None, name: str = "c") -> None:
        """Return once the connection is in this state, over this transport."""
        also = "" if transport is None else f" && c.state.transport === {json.dumps(transport)}"
        await self.until(f"c.state.state === {json.dumps(state)}{also}", name)


class Tabs:
    """Tabs of one window, which share what tabs share.

    Attributes:
        faults: what went wrong in their scripts.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.faults: list[str] = []
        self._context = context

    async def open(self, url: str) -> ModulePage:
        """One more, on a page of this server."""
        page = await self._context.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._said)
        tab = ModulePage(page)
        await self.load(tab, url)
        return tab

    async def load(self, tab: ModulePage, url: str) -> None:
        """Go to that server's page, also again."""
        await tab.page.goto(f"{url}/console/config.json")
        await tab.page.evaluate(_BEGIN)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_NETWORK):
            self.faults.append(message.text)
