"""One node on each database for all tests of this folder that run in a worker; each test has its own project."""

from collections.abc import Iterator

import pytest

from sessioncast_server.db.migrate import migrate
from support.api import SECRET, Api
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database

_ENV = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",  # tests read the log whole
    "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
}


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def _url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('models')}/models.db"
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            migrate(url)
            yield url


@pytest.fixture(scope="session")
def api(_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Requests with all rights to a node that other tests use too."""
    env = {**_ENV, "SESSIONCAST_DATABASE_URL": _url}
    node = NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=())
    node.start()
    api = Api(node.url, database=_url.partition(":")[0])
    with api.http:
        yield api
    node.stop()
