"""One node on each database for all tests of this folder that run in a worker; each test has its own project."""

from collections.abc import Iterator

import pytest

from sessioncast_server.db.migrate import migrate
from support.api import ALL_SCOPES, Api
from support.chains import FLAG
from support.postgres import fresh_database
from support.serving import served


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def _url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('providers')}/x.db"
        migrate(url)
        yield url
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            migrate(url)
            yield url


@pytest.fixture(scope="session")
def api(_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Requests with all rights to a node that looks often for leases and turns."""
    with served(tmp_path_factory.mktemp("node"), _url) as found:
        yield found


@pytest.fixture
def admin(api: Api) -> Iterator[Api]:
    """The same for somebody who may switch flags; they are on again after the test."""
    root = api.acting(scopes=(*ALL_SCOPES, "admin"))
    yield root
    root.ok(root.request("PUT", FLAG, json={"state": "on"}), 200)
