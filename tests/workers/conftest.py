"""A server with two workers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from support.node import Node, NodeFactory
from support.valkey import Valkey


@pytest.fixture
def environment(migrated_postgres_url: str, own_valkey: Valkey) -> dict[str, str]:
    """Settings with which workers are possible."""
    return {
        "SESSIONCAST_DATABASE_URL": migrated_postgres_url,
        "SESSIONCAST_REDIS_URL": own_valkey.url,
        "SESSIONCAST_LOG": "json",
    }


@pytest.fixture
async def team(node_factory: NodeFactory, environment: dict[str, str]) -> Node:
    """Two workers on one port."""
    return await node_factory(env=environment, arguments=["--workers", "2"])


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is entered is left at the end of the test."""
    async with AsyncExitStack() as entered:
        yield entered
