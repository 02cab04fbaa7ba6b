"""What the store costs a request, how its pools are and how large it is can be seen at /metrics."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.settings import load
from support.cluster import make_schema
from support.gate import Gate
from support.postgres import Postgres
from support.statements import CountedReads
from support.waiting import DEADLINE_S, wait_until


class Figures:
    """The samples at /metrics, as of now."""

    def __init__(self, client: TestClient) -> None:
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float | None:
        """One of them, None when it is not there."""
        return self._samples.get((f"sessioncast_{name}", frozenset(labels.items())))


@contextmanager
def _served(url: str, **settings: str) -> Iterator[tuple[Application, TestClient]]:
    application = Application(load({"SESSIONCAST_DATABASE_URL": url, **settings}))
    with TestClient(application.asgi, base_url="http://localhost") as client:
        yield application, client


def test_statements_of_requests_are_counted_by_route(database_url: str) -> None:
    """The histogram has one observation per answered read and change, and the statements that the driver ran."""
    with _served(database_url) as (application, client), pytest.MonkeyPatch.context() as patch:
        assert client.put("/v1/projects/p", json={}).status_code == 201
        task = client.post("/v1/projects/p/tasks", json={"title": "T"}).json()["id"]
        assert client.get("/v1/tasks/none").status_code == 404
        counted = CountedReads(application.database)
        patch.setattr(application.database, "read", counted.read)
        ran = []
        for _ in range(2):
            assert client.get(f"/v1/tasks/{task}").status_code == 200
            ran.append(counted.taken())
        assert client.patch(f"/v1/tasks/{task}", json={"title": "U"}).status_code == 200
        figures = Figures(client)
        read = {"method": "GET", "route": "/v1/tasks/{task_id}"}
        assert figures.get("request_statements_count", **read) == 2
        assert figures.get("request_statements_sum", **read) == sum(ran) > 0
        changed = {"method": "PATCH", "route": "/v1/tasks/{task_id}"}
        assert figures.get("request_statements_count", **changed) == 1
        statements = figures.get("request_statements_sum", **changed)
        assert statements is not None
        assert 3 <= statements <= 8, "read, change, read back, and the event"
        assert figures.get("request_statements_count", method="GET", route="/health/live") is None


def test_pools_and_size_are_shown(database_url: str) -> None:
    """Connections by state, waits, failures at zero and the bytes of the store are there from the beginning."""
    settings = {"SESSIONCAST_READ_THREADS": "2", "SESSIONCAST_POSTGRES_READ_THREADS": "2"}
    with _served(database_url, **settings) as (_, client):
        assert client.put("/v1/projects/p", json={}).status_code == 201
        wait_until(lambda: (Figures(client).get("database_bytes") or 0) > 4096, "the size to be measured")
        assert client.get("/v1/projects/p").status_code == 200
        wait_until(lambda: Figures(client).get("pool_connections", pool="read", state="active") == 0, "reads to end")
        figures = Figures(client)
        assert figures.get("pool_connections", pool="read", state="max") == 2
        assert figures.get("pool_connections", pool="read", state="idle") in (1, 2)
        waits = figures.get("pool_wait_seconds_count", pool="read")
        assert waits is not None
        assert waits >= 2, "the size and the project"
        pools = ["read", "observe"] if database_url.startswith("sqlite:") else ["read", "observe", "write"]
        for pool in pools:
            for reason in ("connection", "io", "pool", "deadline", "queue"):
                assert figures.get("pool_failures_total", pool=pool, reason=reason) == 0


def test_who_waits_too_long_for_a_connection_is_told_to_come_back(migrated_postgres_url: str) -> None:
    """A read that finds the only connection busy for longer than it may wait is 503 `unavailable`, and counted."""
    settings = {"SESSIONCAST_POSTGRES_READ_THREADS": "1", "SESSIONCAST_POOL_WAIT_S": "0.2"}
    gate = Gate()
    with _served(migrated_postgres_url, **settings) as (application, client):
        assert client.put("/v1/projects/p", json={}).status_code == 201
        wait_until(lambda: bool(Figures(client).get("database_bytes")), "the size to be measured")
        assert client.portal is not None
        busy = client.portal.start_task_soon(application.database.read, gate)
        wait_until(gate.entered.is_set, "the connection to be busy")
        assert Figures(client).get("pool_connections", pool="read", state="active") == 1
        answer = client.get("/v1/projects/p")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        assert Figures(client).get("pool_failures_total", pool="read", reason="pool") == 1
        gate.open()
        busy.result(DEADLINE_S)
        assert client.get("/v1/projects/p").status_code == 200


def test_a_database_that_is_down_is_seen_in_the_pools(own_postgres: Postgres) -> None:
    """With PostgreSQL killed reads are 503 and failures to connect are counted; the size stays as it was."""
    make_schema(own_postgres.url)
    with _served(own_postgres.url) as (_, client):
        assert client.put("/v1/projects/p", json={}).status_code == 201
        wait_until(lambda: bool(Figures(client).get("database_bytes")), "the size to be measured")
        own_postgres.kill()
        assert client.get("/v1/projects/p").status_code == 503
        figures = Figures(client)
        failures = figures.get("pool_failures_total", pool="read", reason="connection")
        assert failures is not None
        assert failures >= 1
        assert figures.get("database_bytes")
