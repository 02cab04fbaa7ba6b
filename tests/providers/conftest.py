"""One node on each database for all tests of this folder that run in a worker; each test has its own project."""

from collections.abc import Iterator

import pytest

from support.api import ALL_SCOPES, Api
from support.chains import FLAG
from support.serving import served_on


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Requests with all rights to a node that looks often for leases and turns."""
    with served_on(request, tmp_path_factory) as found:
        yield found


@pytest.fixture
def admin(api: Api) -> Iterator[Api]:
    """The same for somebody who may switch flags; they are on again after the test."""
    root = api.acting(scopes=(*ALL_SCOPES, "admin"))
    yield root
    root.ok(root.request("PUT", FLAG, json={"state": "on"}), 200)
