"""Scripted servers, and a client that does not wait long."""

from collections.abc import AsyncIterator

import pytest

from sessioncast import Limits
from support.scripted import ScriptedServer, ScriptedSockets, scripted_server, scripted_sockets


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
