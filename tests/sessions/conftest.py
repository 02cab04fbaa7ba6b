"""One node on each database for all tests of this folder that run in a worker; each test has its own project."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.api import SECRET, Api
from support.cluster import make_schema
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database

_ENV = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",  # tests read the log whole
    "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
    "SESSIONCAST_RESUME_WAIT_S": "0.05",  # random requests take turns and never end them
    "SESSIONCAST_THREAD_WAIT_S": "0.05",  # the same
}


@contextmanager
def _node(folder: Path, database_url: str, **env: str) -> Iterator[NodeProcess]:
    given = {**_ENV, **env, "SESSIONCAST_DATABASE_URL": database_url}
    node = NodeProcess(folder, port=free_port(), env=given, arguments=())
    node.start()
    try:
        yield node
    finally:
        node.stop()


@contextmanager
def _database(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder}/sessions.db"
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            make_schema(url)
            yield url


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Kind and URL of the shared node's database."""
    name: str = request.param
    with _database(name, request, tmp_path_factory.mktemp(name)) as url:
        yield name, url


@pytest.fixture(scope="session")
def shared_node(database: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that checks tokens."""
    with _node(tmp_path_factory.mktemp("node"), database[1]) as node:
        yield node


@pytest.fixture(scope="session")
def api(shared_node: NodeProcess, database: tuple[str, str]) -> Iterator[Api]:
    """Requests with all rights to a node that other tests use too."""
    found = Api(shared_node.url, database=database[0])
    with found.http:
        yield found


@pytest.fixture(scope="session")
def hasty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, str]]:
    """Requests to a node on PostgreSQL that waits half a second for locks, and its database."""
    folder = tmp_path_factory.mktemp("hasty")
    with (
        _database("postgresql", request, folder) as url,
        _node(folder, url, SESSIONCAST_LOCK_TIMEOUT_S="0.5") as node,
    ):
        found = Api(node.url, database="postgresql")
        with found.http:
            yield found, url


@pytest.fixture(scope="session")
def postgres_nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    """Two nodes on one PostgreSQL."""
    folder = tmp_path_factory.mktemp("two")
    with (
        _database("postgresql", request, folder) as url,
        _node(folder, url) as one,
        _node(folder, url) as two,
    ):
        pair = [Api(node.url, database="postgresql") for node in (one, two)]
        yield pair
        for node in pair:
            node.http.close()
