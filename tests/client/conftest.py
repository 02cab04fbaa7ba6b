"""Scripted servers, and a client that does not wait long."""

from collections.abc import AsyncIterator, Iterator

import pytest

from sessioncast import Limits
from support.node import NodeProcess
from support.ports import free_port
from support.scripted import ScriptedServer, ScriptedSockets, scripted_server, scripted_sockets


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of a file, each in a project of its own."""
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env={}, arguments=()) as started:
        yield started


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    """A server that answers by a script."""
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def sockets() -> AsyncIterator[ScriptedSockets]:
    """A WebSocket server that talks by a script."""
    async with scripted_sockets() as server:
        yield server


@pytest.fixture
def quick() -> Limits:
    """Bounds that let a test try again at once."""
    return Limits(deadline_s=20.0, attempt_s=10.0, backoff_base_s=0.001, backoff_cap_s=0.01)
