"""Whether a node is alive, and whether it should be sent requests."""

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.observe.api import endpoints
from sessioncast_server.observe.health import Check, Health
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.web.endpoint import router, routes
from sessioncast_server.web.inputs import Limits


def says(answer: str | None) -> Check:
    """A check with this outcome."""

    async def check() -> str | None:
        return answer

    return check


async def breaks() -> str | None:
    """A check that fails itself."""
    raise ConnectionError("password in here")


async def hangs() -> str | None:
    """A check that never ends."""
    await asyncio.Event().wait()
    return None


FINE = says(None)


@pytest.mark.parametrize(
    ("vital", "helpful", "status", "document"),
    [
        (FINE, FINE, 200, {"status": "ok", "reasons": []}),
        (FINE, says("deaf for 3 s"), 200, {"status": "degraded", "reasons": ["broker: deaf for 3 s"]}),
        (says("locked"), FINE, 503, {"status": "unready", "reasons": ["database: locked"]}),
        (
            breaks,
            breaks,
            503,
            {"status": "unready", "reasons": ["database: ConnectionError", "broker: ConnectionError"]},
        ),
        (hangs, FINE, 503, {"status": "unready", "reasons": ["database: no answer within 0.05 s"]}),
        (FINE, hangs, 200, {"status": "degraded", "reasons": ["broker: no answer within 0.05 s"]}),
    ],
)
async def test_readiness_follows_the_checks(
    vital: Check, helpful: Check, status: int, document: dict[str, Any]
) -> None:
    """The database decides, the broker degrades; a check that fails or hangs is not well, and says nothing secret."""
    health = Health(vital={"database": vital}, helpful={"broker": helpful}, deadline_s=0.05)
    assert await health.ready() == (status, document)


async def test_a_draining_node_is_not_ready() -> None:
    """However well it is."""
    health = Health(vital={"database": FINE})
    health.drain()
    assert await health.ready() == (503, {"status": "unready", "reasons": ["draining"]})


def test_watchers_need_no_token() -> None:
    """Liveness, readiness and figures are answered to anybody, fresh, also while draining."""
    health = Health(vital={"database": FINE})
    table = endpoints(health, Metrics())
    app = router(routes(table, authenticator=Authenticator(secret="s" * 32), limits=Limits()))
    with TestClient(app) as client:
        assert client.get("/health/live").json() == {"status": "ok", "reasons": []}
        assert client.get("/health/ready").json() == {"status": "ok", "reasons": []}
        figures = client.get("/metrics")
        assert "sessioncast_subscribers" in figures.text
        assert figures.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert figures.headers["cache-control"] == "no-store"
        health.drain()
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
