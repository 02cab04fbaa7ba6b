"""A node that checks tokens, for many tests or for one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessioncast_server.db.migrate import migrate
from support.api import SECRET, Api
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database
from support.waiting import RENEWED_S

LIVELY = {
    "SESSIONCAST_LEASE_LOOK_S": "0.05",
    "SESSIONCAST_TURN_LOOK_S": "0.05",
    "SESSIONCAST_WAITER_LEASE_S": str(RENEWED_S),
}
"""Settings of a node that looks often for leases and turns."""
_ENV = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",  # tests read the log whole
    "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
}


@contextmanager
def served(folder: Path, database_url: str, **env: str) -> Iterator[Api]:
    """Requests with all rights to a lively node on a migrated database, which stops at the end."""
    given = {**_ENV, **LIVELY, **env, "SESSIONCAST_DATABASE_URL": database_url}
    node = NodeProcess(folder, port=free_port(), env=given, arguments=())
    node.start()
    try:
        api = Api(node.url, database=database_url.partition(":")[0])
        with api.http:
            yield api
    finally:
        node.stop()


@contextmanager
def served_on(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The same on a new database of the kind that the fixture's parameter names: `sqlite` or `postgresql`."""
    folder = factory.mktemp("node")
    if request.param == "sqlite":
        url = f"sqlite:///{folder}/x.db"
        migrate(url)
        with served(folder, url) as found:
            yield found
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            migrate(url)
            with served(folder, url) as found:
                yield found
