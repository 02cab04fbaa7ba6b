"""The browser's module over each way to a real node."""

import pytest

from sessioncast import Client
from support.modulepage import ModulePage
from support.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_what_is_changed_is_seen(module_page: ModulePage, shared_node: Node, transport: str) -> None:
    """Over each way a snapshot comes first, then every change, in order; the mirror is what the server has."""
    async with Client(shared_node.url) as client:
        project = f"seen-{transport}"
        await client.projects.put(project)
        task = await client.tasks.create(project, "T")
        await module_page.begin(project, transport=transport, limits={"pollFactor": 0.05})
        await module_page.state("polling" if transport == "poll" else "live", transport)
        assert await module_page.look("[told.snapshots, [...live.tasks.keys()]]") == [1, [task.id]]
        session = (await client.sessions.start(task.id, "run", "m")).session
        await client.sessions.append(session.id, [("log", "one\n"), ("log", "two\n")])
        await client.sessions.patch(session.id, status="running")
        await module_page.until("live.sessions.size === 1 && [...live.sessions.values()][0].status === 'running'")
        types = await module_page.look("told.events.map(([, type]) => type)")
        assert types == ["session.created", "session.output", "session.updated"]
        seen = await module_page.look(f"live.sessions.get('{session.id}')")
        assert (seen["output_seq"], seen["version"]) == (2, 2)
        await client.sessions.delete(session.id)
        await module_page.until("live.sessions.size === 0")
        assert await module_page.look("told.gaps") == []
        await module_page.look("c.close()")
        assert await module_page.look("told.states.at(-1)") == ["closed", None]
