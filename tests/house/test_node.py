"""The node that other tests start, kill and freeze: the real server."""

from pathlib import Path

import httpx2
import pytest

from support import processes
from support.node import Node, NodeFactory
from support.program import DiedError


async def _alive(node: Node, *, timeout_s: float = 30) -> bool:
    async with httpx2.AsyncClient(timeout=timeout_s) as http:
        return (await http.get(f"{node.url}/health/live")).status_code == 200


async def test_a_node_is_ready_at_its_url(node_factory: NodeFactory) -> None:
    """A started node answers at the address it printed."""
    node = await node_factory()
    assert node.url == f"http://127.0.0.1:{node.port}"
    assert await _alive(node)


async def test_a_killed_node_comes_back_at_its_url(node_factory: NodeFactory) -> None:
    """After a kill nothing of the node is left; started again it answers at the same address."""
    node = await node_factory()
    url, members = node.url, processes.family(node.pid)
    node.kill()
    assert not any(map(processes.alive, members))
    with pytest.raises(httpx2.ConnectError):
        await _alive(node)
    await node.start()
    assert node.url == url
    assert await _alive(node)


async def test_a_frozen_node_is_silent_until_it_is_thawed(node_factory: NodeFactory) -> None:
    """A frozen node answers nothing, and goes on after the thaw."""
    node = await node_factory()
    node.freeze()
    with pytest.raises(httpx2.ReadTimeout):
        await _alive(node, timeout_s=0.3)
    node.thaw()
    assert await _alive(node)


async def test_a_stopped_node_exits_in_order(node_factory: NodeFactory) -> None:
    """A node that is asked to end does so with status 0."""
    node = await node_factory()
    assert await node.stop() == 0
    assert not node.running


async def test_a_node_that_refuses_says_why(tmp_path: Path) -> None:
    """A node that ends instead of starting fails the test at once, with what it printed."""
    node = Node(tmp_path, env={"SESSIONCAST_HEARTBEAT_S": "never"})
    with pytest.raises(DiedError, match="SESSIONCAST_HEARTBEAT_S"):
        await node.start()
    assert not node.running


async def test_the_callers_settings_do_not_reach_a_node(
    node_factory: NodeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings in the environment of the test run are not the node's."""
    monkeypatch.setenv("SESSIONCAST_HEARTBEAT_S", "never")
    assert await _alive(await node_factory())
