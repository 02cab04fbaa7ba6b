"""A rig per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.hubs import Rig, rigged


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Nodes on one SQLite database with a project `p`."""
    async with rigged(tmp_path) as rig:
        yield rig
