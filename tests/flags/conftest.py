"""One node on each database for all tests of this folder that run in a worker; flags are as shipped before each."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessioncast_server.db.migrate import migrate
from sessioncast_server.flags.rules import Flag
from support.api import SECRET, Api, bearer
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database

SCOPES = ("sessions:read", "sessions:write", "admin")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def _url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('flags')}/x.db"
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            migrate(url)
            yield url


@pytest.fixture(scope="session")
def _node(_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    environment = {
        "SESSIONCAST_JWT_SECRET": SECRET,
        "SESSIONCAST_DATABASE_URL": _url,
        "SESSIONCAST_FLAGS_REFRESH_S": "3600",  # what this node knows it learned from its own changes
    }
    node = NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=environment, arguments=())
    node.start()
    yield node
    node.stop()


@pytest.fixture
def admin(_node: NodeProcess, _url: str) -> Iterator[Api]:
    """Requests of somebody who may switch flags."""
    api = Api(_node.url, database=_url.partition(":")[0], token=bearer(sub="root", scopes=SCOPES))
    with api.http:
        for flag in Flag:
            api.ok(api.request("PUT", f"/v1/admin/flags/{flag}", json={"state": "on"}), 200)
        yield api


@pytest.fixture
def logged(_node: NodeProcess) -> Callable[[], list[dict[str, Any]]]:
    """What the node logged since the test began."""
    start = _node.log.stat().st_size

    def lines() -> list[dict[str, Any]]:
        with _node.log.open("rb") as log:
            log.seek(start)
            return [json.loads(line) for line in log.read().splitlines() if line.startswith(b"{")]

    return lines
