"""The console tells what the chosen session's provider sessions used."""

from playwright.async_api import expect

from sessioncast import Client
from support.node import Node
from support.screen import Console


async def test_what_a_session_used_is_shown_as_it_grows(node: Node, console: Console) -> None:
    """Nothing while there is nothing; then provider sessions, tokens, turns and cost, without a reload."""
    async with Client(node.url) as client:
        await client.projects.put("demo")
        task = await client.tasks.create("demo", "T")
        session = (await client.sessions.start(task.id, "run", "m")).session
        await console.open("demo", session.id)
        await console.live()
        line = console.page.locator("#detail-usage")
        await expect(line).to_be_hidden()
        async with client.iteration(session) as it:
            await it.record(tokens=262_189, cached_tokens=1_000, turns=10)
        await expect(line).to_have_text("1 provider session · 262,189 tokens (1,000 cached) · 10 turns · cost unknown")
        async with client.iteration(session) as it:
            await it.record(tokens=11, turns=1, cost_usd=0.125)
        await expect(line).to_have_text(
            "2 provider sessions · 262,200 tokens (1,000 cached) · 11 turns · $0.125 and more"
        )
        # A decision is an event of the session; it changes nothing that is shown of it.
        await client.providers.resume(session.id)
        await expect(console.page.locator("#detail-about")).to_contain_text("pending")
        await expect(console.page.locator("#detail-title")).to_have_text("T")
