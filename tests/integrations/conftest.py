"""A node for all tests of a file, and what is made anew for each."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from sessioncast import Client
from sessioncast.integrations.openai_agents import Session
from support.node import NodeProcess
from support.ports import free_port


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of a file, each in a project of its own."""
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env={}, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.fixture
async def project(client: Client) -> str:
    """A new project."""
    return (await client.projects.put(f"p-{uuid4().hex}")).id


@pytest.fixture
def ours(client: Client, project: str) -> Session:
    """A session whose thread is not there yet."""
    return Session("chat", client, project=project)
