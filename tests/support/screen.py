"""The console in a real Chromium, as its reader sees it."""

from urllib.parse import urlencode

from playwright.async_api import ConsoleMessage, Locator, Page, Request, expect

from support.waiting import DEADLINE_S

DEADLINE_MS = DEADLINE_S * 1000

# Chromium itself writes these of requests that fail; while a server is away that is no fault of the page.
_NETWORK = ("Failed to load resource", "WebSocket connection to")


class Console:
    """One tab on the page of a node.

    Attributes:
        page: the tab.
        faults: what went wrong in its scripts.
        asked: every request that it made.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self.asked: list[Request] = []
        self._url = url
        page.on("request", lambda request: self.asked.append(request))  # noqa: PLW0108  a builtin method is not taken
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

    @property
    def dialog(self) -> Locator:
        """The question that is open over the page."""
        return self.page.locator("dialog#dialog[open]")

    @property
    def starts(self) -> list[Request]:
        """Every request to start a session that it made."""
        return [it for it in self.asked if it.method == "POST" and it.url.endswith("/sessions")]

    async def fill(self, task: str, *, phase: str = "run", **fields: str) -> None:
        """Open the form that starts a session of a task, and fill it in."""
        await self.page.get_by_role("button", name=f"Start a session of {task}").click(timeout=DEADLINE_MS)
        await self.page.locator("#start-phase").select_option(phase)
        for field, text in fields.items():
            await self.page.locator(f"#start-{field}").fill(text)

    async def start(self, task: str, *, phase: str = "run", **fields: str) -> None:
        """Ask for a session of a task."""
        await self.fill(task, phase=phase, **fields)
        await self.page.locator("#start").get_by_role("button", name="Start").click()

    async def says(self, *texts: str) -> None:
        """Return once a question is open that says all of this, each in a paragraph of its own."""
        for text in texts:
            await expect(self.dialog.get_by_text(text, exact=True)).to_be_visible(timeout=DEADLINE_MS)

    async def choose(self, label: str) -> None:
        """Answer the question that is open."""
        await self.dialog.get_by_role("button", name=label, exact=True).click()

    async def selected(self) -> str:
        """Id of the session that is shown, once all is closed and one is."""
        await expect(self.page.locator("dialog[open]")).to_have_count(0, timeout=DEADLINE_MS)
        link = self.page.locator("nav a[aria-current]")
        await expect(link).to_have_count(1, timeout=DEADLINE_MS)
        return await link.get_attribute("data-session") or ""
