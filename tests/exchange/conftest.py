"""One node on each database for all tests of this folder that run in a worker; each test has its own project."""

from collections.abc import Iterator

import pytest

from sessioncast_server.db.migrate import migrate
from support.api import SECRET, Api
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database

ENV = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_MIN_POSITION_WAIT_S": "0.2",
    "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",  # tests read the log whole
}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def _url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('exchange')}/x.db"
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            migrate(url)
            yield url


@pytest.fixture(scope="session")
def api(_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Requests with all rights to a node that does not wait long for positions."""
    environment = {**ENV, "SESSIONCAST_DATABASE_URL": _url}
    node = NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=environment, arguments=())
    node.start()
    try:
        found = Api(node.url, database=_url.partition(":")[0])
        with found.http:
            yield found
    finally:
        node.stop()
