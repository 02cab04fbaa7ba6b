"""One node on each database for all tests of this folder that run in a worker; each test has its own project."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.threads import Chat, calmly_served

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who shares a node shares a worker: to start one takes longer than most of these tests."""
    for item in items:
        given = getattr(item, "callspec", None)
        if item.path.parent == _HERE and given is not None and "api" in given.params:
            item.add_marker(pytest.mark.xdist_group(f"threads on {given.params['api']}"))


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Requests with all rights but those to others' threads, to a node that looks often for leases and turns."""
    with calmly_served(request, tmp_path_factory) as found:
        yield found


@pytest.fixture
def chat(api: Api) -> Chat:
    """A thread that is not there yet, in a new project."""
    return Chat.begin(api)
