"""Two nodes on one PostgreSQL, and readers on both."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from sessioncast_server.db.migrate import migrate
from support.follower import ClientFollower, Follower, SseFollower, WebSocketFollower
from support.node import Node, NodeFactory
from support.writer import Writer

PROJECT = "p"


def make_schema(url: str) -> None:
    """What an operator does before the first node is started, without the second that a process of its own takes."""
    migrate(url)


async def two_nodes(node_factory: NodeFactory, url: str, redis: str | None, **env: str) -> tuple[Node, Node]:
    """Nodes A and B on a database with the schema."""
    return await start_node(node_factory, url, redis, **env), await start_node(node_factory, url, redis, **env)


async def start_node(node_factory: NodeFactory, url: str, redis: str | None, **env: str) -> Node:
    """One node more."""
    shared: Mapping[str, str] = {"SESSIONCAST_DATABASE_URL": url, **env}
    return await node_factory(env={**shared, **({"SESSIONCAST_REDIS_URL": redis} if redis else {})})


async def readers(stack: AsyncExitStack, *nodes: Node, snapshot: str = "auto") -> list[Follower]:
    """One of each protocol, and the Python client, on each node; all have their place."""
    made: list[Follower] = []
    for name, node in zip("ABCDE", nodes, strict=False):
        made += [
            SseFollower(f"{name} SSE", node.url, PROJECT, snapshot=snapshot),
            WebSocketFollower(f"{name} WebSocket", node.url, PROJECT, snapshot=snapshot),
            ClientFollower(f"{name} client", node.url, PROJECT),
        ]
    for reader in made:
        await stack.enter_async_context(reader)
    for reader in made:
        await reader.opened()
    return made


def assert_same_story(followers: list[Follower], writer: Writer, *, first: int) -> None:
    """Every reader was given every event from `first` on, once, in order, and the acknowledged ones among them."""
    story = followers[0].signs
    for follower in followers:
        assert follower.offsets == list(range(first, first + len(story))), follower.name
        assert follower.signs == story, follower.name
    positions = {position for position, _, _ in story}
    assert positions.issuperset(change.position for change in writer.acknowledged)
