"""A node that checks tokens, for many tests or for one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.api import SECRET, Api
from support.node import NodeProcess
from support.ports import free_port

LIVELY = {
    "SESSIONCAST_LEASE_LOOK_S": "0.05",
    "SESSIONCAST_TURN_LOOK_S": "0.05",
    "SESSIONCAST_WAITER_LEASE_S": "2",
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
