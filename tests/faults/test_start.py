"""How a node starts, and what it says when it cannot."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from sessioncast_server.db.current import newest
from support.cluster import make_schema, start_node
from support.node import NodeFactory
from support.ports import free_port
from support.postgres import Postgres
from support.vitals import becomes, metrics, readiness, until_so
from support.waiting import STALL_S
from support.writer import Writer

SECRET = "0123456789abcdef0123456789abcdef"


def run(folder: Path, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A command of the server, to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SESSIONCAST_", "AGENT_"))}
    return subprocess.run(
        [sys.executable, "-m", "sessioncast", *arguments],
        cwd=folder, env={**kept, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """It failed with all of these words, and without a traceback."""
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "ready at" not in done.stdout


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"SESSIONCAST_PORT": "80800"}, ["SESSIONCAST_PORT=80800", "65535"]),
        ({"SESSIONCAST_HEARTBEAT_S": "never"}, ["SESSIONCAST_HEARTBEAT_S=never"]),
        ({"SESSIONCAST_HOST": "0.0.0.0"}, ["SESSIONCAST_HOST=0.0.0.0", "SESSIONCAST_JWT_SECRET"]),
        ({"SESSIONCAST_JWT_SECRET": "short"}, ["SESSIONCAST_JWT_SECRET=********", "32 bytes"]),
        ({"SESSIONCAST_DATABASE_URL": "mysql://x/y"}, ["SESSIONCAST_DATABASE_URL=mysql://x/y", "sqlite:///PATH"]),
        ({"SESSIONCAST_REDIS_ULR": "redis://x"}, ["SESSIONCAST_REDIS_ULR", "did you mean SESSIONCAST_REDIS_URL"]),
        ({"SESSIONCAST_DATABASE_URL": "sqlite:////dev/null/x.db"}, ["/dev/null/x.db"]),
        ({"SESSIONCAST_DATABASE_URL": "sqlite:////proc/x/y.db"}, ["/proc/x/y.db"]),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, env: dict[str, str], words: list[str]) -> None:
    """A node does not start on it, and says variable, value and reason."""
    assert_refused(run(tmp_path, "serve", **{"SESSIONCAST_PORT": "0", **env}), *words)


async def test_what_another_server_holds_is_named(node_factory: NodeFactory, tmp_path: Path) -> None:
    """A taken port and a database file in use each stop the start with a plain message."""
    node = await node_factory()
    url = f"sqlite:///{tmp_path}/other.db"
    assert_refused(
        run(tmp_path, "serve", "--port", str(node.port), "--database-url", url), f"port {node.port}", "in use"
    )
    assert_refused(run(tmp_path, "serve", "--port", "0"), "another sessioncast server has data/sessioncast.db open")


def test_a_postgres_without_schema_asks_for_migrate(tmp_path: Path, postgres_url: str) -> None:
    """`serve` refuses it with the command that helps, which then helps; running that twice does no harm."""
    refused = run(tmp_path, "serve", "--port", "0", "--database-url", postgres_url)
    assert_refused(refused, "run `sessioncast migrate`")
    for _ in range(2):
        done = run(tmp_path, "migrate", "--database-url", postgres_url)
        assert (done.returncode, done.stdout.split()[-1]) == (0, newest()), done.stderr


def test_a_postgres_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Both commands that need it say that it could not be reached."""
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/x"
    for command in (["serve", "--port", "0"], ["migrate"], ["epoch", "rotate"]):
        assert_refused(run(tmp_path, *command, "--database-url", url), "connection", "127.0.0.1")


def test_settings_are_listed_with_their_meaning(tmp_path: Path) -> None:
    """Every variable appears with its default, and `--example` is the file in the checkout."""
    listed = run(tmp_path, "settings")
    assert "SESSIONCAST_REDIS_BACKOFF_CAP_S=2" in listed.stdout
    example = Path(__file__).parents[2] / ".env.example"
    assert run(tmp_path, "settings", "--example").stdout == example.read_text()


async def test_a_made_token_is_accepted(node_factory: NodeFactory, tmp_path: Path) -> None:
    """What `sessioncast token` prints opens the projects it names on a node with the same secret."""
    node = await node_factory(env={"SESSIONCAST_JWT_SECRET": SECRET})
    made = run(tmp_path, "token", "--sub", "ada", "--project", "p", SESSIONCAST_JWT_SECRET=SECRET)
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    async with httpx2.AsyncClient(base_url=node.url) as http:
        assert (await http.put("/v1/projects/p", json={})).status_code == 401
        assert (await http.put("/v1/projects/p", json={}, headers=headers)).status_code == 201
        assert (await http.put("/v1/projects/q", json={}, headers=headers)).status_code == 404
    assert_refused(run(tmp_path, "token", "--sub", "ada"), "SESSIONCAST_JWT_SECRET")
    wrong = run(tmp_path, "token", "--sub", "ada", "--scope", "nonsense", SESSIONCAST_JWT_SECRET=SECRET)
    assert_refused(wrong, "'nonsense'", "sessions:read", "admin")


async def test_epochs_rotated_by_hand_are_noticed_by_a_running_node(node_factory: NodeFactory, tmp_path: Path) -> None:
    """`sessioncast epoch rotate` beside a node: its positions are of another epoch soon after."""
    node = await node_factory()
    writer = Writer(node.url, "p")
    await writer.put_project()
    await writer.change()
    before = writer.last.position
    done = run(tmp_path, "epoch", "rotate")
    assert (done.returncode, done.stdout) == (0, "1 logs have new epochs\n"), done.stderr
    await writer.change()
    old, new = (position.partition(":") for position in (before, writer.last.position))
    assert (new[0] != old[0], new[2]) == (True, "2")
    await writer.close()


async def test_a_quiet_start_says_nothing_of_migrations(node_factory: NodeFactory) -> None:
    """A node's log begins with what an operator needs, not with what a library assumes."""
    node = await node_factory()
    await node.restart()
    assert "Context impl" not in node.log()
    assert "Will assume" not in node.log()


async def test_readiness_follows_the_database(node_factory: NodeFactory, own_postgres: Postgres) -> None:
    """With PostgreSQL gone or frozen a node is alive and not ready, with the reason; with it back it is ready."""
    make_schema(own_postgres.url)
    node = await start_node(node_factory, own_postgres.url, None, SESSIONCAST_READ_DEADLINE_S=str(STALL_S))
    assert await readiness(node) == (200, {"status": "ok", "reasons": []})
    own_postgres.kill()
    assert (await becomes(node, 503, "unready"))[0].startswith("database: ")
    async with httpx2.AsyncClient(base_url=node.url) as http:
        assert (await http.get("/health/live")).status_code == 200
    own_postgres.start()
    await becomes(node, 200, "ok")
    own_postgres.freeze()
    assert (await becomes(node, 503, "unready"))[0].startswith("database: ")
    own_postgres.thaw()
    await becomes(node, 200, "ok")


async def test_the_metrics_move(node_factory: NodeFactory) -> None:
    """Everything the operations page lists is there from the start, and moves with what it counts."""
    node = await node_factory(env={"SESSIONCAST_HEAD_CHECK_S": "0.05"})
    before = await metrics(node)
    writer = Writer(node.url, "p")
    await writer.put_project()
    async with httpx2.AsyncClient(base_url=node.url, timeout=30) as http:
        async with http.stream("GET", "/v1/projects/p/events") as stream:
            lines = stream.aiter_lines()
            async with asyncio.timeout(30):
                while not (await anext(lines)).startswith("event: snapshot"):
                    pass
                for _ in range(3):
                    await writer.change()
                found = 0
                while found < 3:
                    found += (await anext(lines)).startswith('data: {"position"')
            during = await metrics(node)
        gap = await http.get("/v1/projects/p/events?position=other:3", headers={"Accept": "application/json"})
        assert gap.json()["state"] == "gap"
        await http.post("/v1/projects/p/tasks", json={"nonsense": 1})
    moved = {name for name, value in during.items() if value != before.get(name, 0)}
    assert moved >= {
        'sessioncast_requests_total{method="POST",route="/v1/projects/{project_id}/tasks",status="201"}',
        'sessioncast_mutations_total{outcome="201"}',
        "sessioncast_commit_seconds_count",
        "sessioncast_commit_group_size_sum",
        'sessioncast_subscribers{transport="sse"}',
        "sessioncast_deliveries_total",
        "sessioncast_snapshots_total",
    }
    assert set(during) >= {
        "sessioncast_announce_failures_total",
        "sessioncast_channel_lag",
        "sessioncast_gaps_found_total",
        "sessioncast_gaps_healed_total",
        "sessioncast_epoch_rotations_total",
    }
    assert during['sessioncast_subscribers{transport="sse"}'] == 1

    async def left() -> bool:
        return (await metrics(node))['sessioncast_subscribers{transport="sse"}'] == 0

    await until_so(left, lambda: "the stream to be let go of")
    await writer.close()
