"""A database that was filled past the server is one that the server could have written."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import psycopg
import pytest

from bulk import writer
from population import SIZE_MAX, SIZE_MIN, Population, Size
from seed import fill
from sessioncast_server.db.sqlite import path_of
from support.node import NodeFactory

SIZE = Size(projects=3, tasks=60, sessions=600, output_bytes=6_000_000)
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """A database without even a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'seeded.db'}"
    return str(request.getfixturevalue("postgres_url"))


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(path_of(url))
        try:
            return list(connection.execute(query))
        finally:
            connection.close()
    with psycopg.connect(url) as given:
        return given.execute(query.encode()).fetchall()


def test_the_same_seed_gives_the_same_rows() -> None:
    """A population can be made again from what is printed, to the last byte."""
    first, second = ([*Population(SIZE, seed=7, now=NOW).tasks()] for _ in range(2))
    assert first == second
    assert [*Population(SIZE, seed=8, now=NOW).tasks()] != first


def test_sizes_keep_their_bounds() -> None:
    """What a session printed is between 100 B and 1 MB, and all of it together within its bound."""
    small = Size(projects=1, tasks=60, sessions=600, output_bytes=200_000)
    for size in (SIZE, small):
        sessions: dict[str, int] = {}
        for past in Population(size, seed=7, now=NOW).tasks():
            for row in past.outputs:
                sessions[row["session_id"]] = sessions.get(row["session_id"], 0) + len(row["text"])
        assert min(sessions.values()) >= SIZE_MIN
        assert max(sessions.values()) <= SIZE_MAX
        assert sum(sessions.values()) <= size.output_bytes


def test_too_few_sessions_are_refused() -> None:
    """Fewer sessions than live ones is an error."""
    with pytest.raises(ValueError, match="fewer"):
        list(Population(Size(projects=1, tasks=60, sessions=10), seed=7, now=NOW).tasks())


def test_the_past_is_consistent(empty_url: str) -> None:
    """Live sessions have their slot and only they, chains end in their successors, logs begin at their heads."""
    filled = fill(empty_url, SIZE, seed=7)
    ((sessions, live),) = rows(
        empty_url, "SELECT count(*), sum(CASE WHEN deleted_at IS NULL THEN 1 ELSE 0 END) FROM session"
    )
    assert (sessions, live) == (SIZE.sessions, filled.live)
    assert 0.25 < live / sessions < 0.42
    for nothing in (
        "SELECT id FROM session WHERE (slot IS NULL) <> (deleted_at IS NOT NULL)",
        "SELECT id FROM session WHERE slot <> task_id || '/' || phase || CASE WHEN debug THEN '/debug' ELSE '' END",
        """SELECT old.id FROM session old LEFT JOIN session new ON new.id = old.replaced_by
           WHERE old.replaced_by IS NOT NULL AND (new.id IS NULL OR new.task_id <> old.task_id
              OR new.phase <> old.phase OR new.debug <> old.debug OR new.created_at <> old.deleted_at
              OR new.fence <> old.fence + 1)""",
        "SELECT id FROM session WHERE (status IN ('completed', 'failed', 'cancelled')) <> (ended_at IS NOT NULL)",
        "SELECT id FROM session WHERE deleted_at IS NOT NULL AND ended_at IS NULL",
        """SELECT session.id FROM session LEFT JOIN
             (SELECT session_id, max(seq) AS last, count(*) AS chunks FROM session_output GROUP BY session_id) printed
             ON printed.session_id = session.id
           WHERE output_seq <> coalesce(last, 0) OR output_seq <> coalesce(chunks, 0)""",
        "SELECT project_id FROM channel WHERE head <> floor OR head < 1",
        "SELECT project_id FROM event",
        "SELECT id FROM project WHERE id NOT IN (SELECT project_id FROM channel)",
    ):
        assert rows(empty_url, nothing) == [], nothing


def test_nothing_stays_of_a_fill_that_broke_off(empty_url: str) -> None:
    """Filling is one transaction: a database is as it was, or full."""
    with writer(empty_url) as into:
        into.add("project", [{"id": "p", "created_at": NOW}])
    assert rows(empty_url, "SELECT id FROM project") == []


def places(url: str) -> Iterator[tuple[str, str, str]]:
    """Id, task and phase of live sessions that are not for debugging."""
    query = "SELECT id, task_id, phase FROM session WHERE slot IS NOT NULL AND slot NOT LIKE '%/debug' ORDER BY id"
    yield from rows(url, query)


async def test_a_server_goes_on_from_the_past(empty_url: str, node_factory: NodeFactory) -> None:
    """A server finds every live session, exports the largest, refuses what the rule refuses, and its log goes on."""
    fill(empty_url, SIZE, seed=7)
    largest = "SELECT session_id, sum(length(text)) FROM session_output GROUP BY session_id ORDER BY 2 DESC LIMIT 1"
    ((big, length),) = rows(empty_url, largest)
    wanted = list(places(empty_url))
    node = await node_factory(arguments=["--database-url", empty_url])
    with httpx2.Client(base_url=node.url, timeout=30) as http:
        for id_, task, phase in wanted:
            found = http.get(f"/v1/tasks/{task}/sessions", params={"phase": phase, "debug": "false"}).json()["data"]
            assert [session["id"] for session in found] == [id_]
        exported = http.get(f"/v1/sessions/{big}/export").json()
        assert sum(len(chunk["text"]) for chunk in exported["output"]) == int(length)
        assert length > 100_000

        id_, task, phase = wanted[0]
        path = f"/v1/tasks/{task}/sessions"
        wish: dict[str, Any] = {"phase": phase, "model": {"name": "another"}}
        asked = http.post(path, json=wish)
        assert (asked.status_code, asked.json()["confirm"]) == (409, {"session_id": id_})
        project = asked.json()["existing"].get("project_id") or http.get(f"/v1/tasks/{task}").json()["project_id"]
        before = http.get(f"/v1/projects/{project}").headers["X-Position"]
        replaced = http.post(path, json=wish | {"on_conflict": "replace", "confirm": asked.json()["confirm"]})
        assert (replaced.status_code, replaced.json()["replaced"]["id"]) == (201, id_)
        log = http.get(
            f"/v1/projects/{project}/events",
            params={"position": before, "snapshot": "never"},
            headers={"Accept": "application/json"},
        ).json()
        assert log["state"] == "resumed"
        assert [event["type"] for event in log["events"]] == ["session.replaced", "session.created"]
        epoch, _, head = before.partition(":")
        assert [event["position"] for event in log["events"]] == [
            f"{epoch}:{int(head) + 1}",
            f"{epoch}:{int(head) + 2}",
        ]
