"""One node with small bounds for all tests of a module."""

import asyncio
from collections.abc import Iterator

import pytest

from support.api import SECRET, Api
from support.node import Node
from support.waiting import STALL_S

SMALL = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_HEARTBEAT_S": "0.5",
    "SESSIONCAST_WS_AUTH_TIMEOUT_S": str(STALL_S),
    "SESSIONCAST_WS_SUBSCRIPTIONS_MAX": "5",
    "SESSIONCAST_SEND_DEADLINE_S": "1",
    "SESSIONCAST_SNAPSHOT_PAGE": "4",
    "SESSIONCAST_SNAPSHOT_MAX": "12",
    "SESSIONCAST_REPLAY_MAX_EVENTS": "40",
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with tokens, on its default store."""
    node = Node(tmp_path_factory.mktemp("node"), env=SMALL)
    asyncio.run(node.start())
    yield node
    node.kill()


@pytest.fixture
def api(node: Node) -> Iterator[Api]:
    """Requests to it."""
    api = Api(node.url, database="sqlite")
    yield api
    api.http.close()
