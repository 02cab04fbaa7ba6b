"""The console in a real Chromium, as its reader sees it."""

from urllib.parse import urlencode

from playwright.async_api import ConsoleMessage, Page, expect

from support.waiting import DEADLINE_S

DEADLINE_MS = DEADLINE_S * 1000

# Chromium itself writes this for every request that fails; while a server is away that is no fault of the page.
_NETWORK = "Failed to load resource"


class Console:
    """One tab on the page of a node.

    Attributes:
        page: the tab.
        faults: what went wrong in its scripts.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self._url = url
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._said)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_NETWORK):
            self.faults.append(message.text)

    async def open(self, project: str, session: str | None = None) -> None:
        """Go to a project, and to a session in it."""
        query = {"project": project} | ({} if session is None else {"session": session})
        await self.page.goto(f"{self._url}/?{urlencode(query)}")

    async def live(self) -> None:
        """Return once everything up to now was told."""
        await self.state("live")

    async def state(self, state: str) -> None:
        """Return once the connection is in this state."""
        await expect(self.page.locator("#connection")).to_have_attribute("data-state", state, timeout=DEADLINE_MS)

    async def states(self) -> list[str]:
        """Every state of the connection since `record_states`."""
        states: list[str] = await self.page.evaluate("window.recordedStates")
        return states

    async def record_states(self) -> None:
        """Begin to note the connection's states: a short one would be missed by looking."""
        await self.page.evaluate(
            """() => {
                const connection = document.getElementById("connection");
                window.recordedStates = [connection.dataset.state];
                new MutationObserver(() => window.recordedStates.push(connection.dataset.state))
                    .observe(connection, {attributeFilter: ["data-state"]});
            }"""
        )

    async def shows(self, seq: int) -> str:
        """The text of the output pane, once it shows the chunk with this `seq` and is drawn."""
        pane = self.page.locator("#output")
        await expect(pane).to_have_attribute("data-shown", str(seq), timeout=DEADLINE_MS)
        await self.page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        return await pane.evaluate("pane => pane.textContent") or ""
