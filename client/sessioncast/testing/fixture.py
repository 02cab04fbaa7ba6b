"""The server as a fixture of pytest."""

from collections.abc import Iterator

import pytest

from sessioncast.testing.server import Server


@pytest.fixture(scope="session")
def sessioncast_server() -> Iterator[Server]:
    """A server for all tests of this run, in open mode: give each test a project of its own."""
    with Server() as server:
        yield server
