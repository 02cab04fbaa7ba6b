"""When workers do not start, and what is said then."""

import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from sessioncast_server.db.migrate import migrate
from sessioncast_server.settings import from_json, load, to_json
from sessioncast_server.workers.keeper import Keeper, Patience, WorkersError
from sessioncast_server.workers.port import Port
from support.node import Node, NodeFactory
from support.postgres import Postgres
from support.processes import send
from support.team import PROJECT, stream_at, until_logged, workers
from support.valkey import Valkey
from support.writer import Writer

POSTGRES = {"SESSIONCAST_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
REDIS = {"SESSIONCAST_REDIS_URL": "redis://127.0.0.1:1"}


def serve(folder: Path, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """`sessioncast serve`, which is expected to end by itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SESSIONCAST_", "AGENT_"))}
    return subprocess.run(
        [sys.executable, "-m", "sessioncast", "serve", *arguments],
        cwd=folder, env={**kept, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


NEEDS_POSTGRES = (
    "SESSIONCAST_WORKERS=2: a SQLite file is served by one process; more need "
    "SESSIONCAST_DATABASE_URL=postgresql://… and SESSIONCAST_REDIS_URL=redis://…"
)
NEEDS_REDIS = (
    "SESSIONCAST_WORKERS=2: without SESSIONCAST_REDIS_URL workers would learn of each other's changes up to 1 s late"
)


@pytest.mark.parametrize(
    ("workers", "env", "line"),
    [
        ("0", {**POSTGRES, **REDIS}, "SESSIONCAST_WORKERS=0: Input should be greater than or equal to 1"),
        ("-1", {**POSTGRES, **REDIS}, "SESSIONCAST_WORKERS=-1: Input should be greater than or equal to 1"),
        ("257", {**POSTGRES, **REDIS}, "SESSIONCAST_WORKERS=257: Input should be less than or equal to 256"),
        ("2", {}, NEEDS_POSTGRES),
        ("2", REDIS, NEEDS_POSTGRES),
        ("2", POSTGRES, NEEDS_REDIS),
    ],
)
def test_workers_that_cannot_be_are_refused(tmp_path: Path, workers: str, env: dict[str, str], line: str) -> None:
    """One line that says what is missing, status 2, and nothing was made."""
    done = serve(tmp_path, f"--workers={workers}", **env)
    assert (done.returncode, done.stderr, done.stdout) == (2, f"sessioncast: {line}\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_variable_means_the_same(tmp_path: Path) -> None:
    """SESSIONCAST_WORKERS is what `--workers` is without it."""
    done = serve(tmp_path, SESSIONCAST_WORKERS="3")
    assert (done.returncode, done.stderr[:36]) == (2, "sessioncast: SESSIONCAST_WORKERS=3: ")


def test_one_worker_is_any_server() -> None:
    """It needs nothing that a server alone does not need."""
    assert load({"SESSIONCAST_WORKERS": "1"}).is_sqlite


def test_settings_reach_a_worker_as_they_are() -> None:
    """Secrets, lists and numbers are the same on the other side, whatever its environment."""
    settings = load(
        {"SESSIONCAST_JWT_SECRET": "s" * 32, "SESSIONCAST_ALLOWED_ORIGINS": "https://a.b,https://c.d"},
        host="0.0.0.0",
        switch_interval_s=0.0007,
    )
    assert from_json(to_json(settings)).model_dump() == settings.model_dump()


async def test_a_port_that_workers_hold_is_taken(team: Node, environment: dict[str, str], tmp_path: Path) -> None:
    """A second server is refused, with workers, although theirs share the port among themselves, and without."""
    for workers_of_second in ("2", "1"):
        done = serve(tmp_path, "--port", str(team.port), "--workers", workers_of_second, **environment)
        assert done.returncode == 2
        assert f"sessioncast: cannot listen on 127.0.0.1 port {team.port}" in done.stderr


def test_a_schema_that_is_not_there_is_told_by_the_parent(
    tmp_path: Path, postgres_url: str, own_valkey: Valkey
) -> None:
    """Once, and not by each worker."""
    done = serve(tmp_path, "--workers=2", "--database-url", postgres_url, "--redis-url", own_valkey.url)
    assert (done.returncode, done.stderr.count("sessioncast migrate")) == (2, 1)


def test_what_hinders_a_worker_is_told_as_if_it_were_alone(
    tmp_path: Path, own_postgres: Postgres, own_valkey: Valkey
) -> None:
    """The reason of the first that cannot start, once, and status 2."""
    migrate(own_postgres.url)
    with psycopg.connect(own_postgres.url, autocommit=True) as admin:
        # Enough for the look at the schema, too few for a node.
        admin.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 1")
        admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO few")
    url = own_postgres.url.replace("postgres@", "few@")
    done = serve(tmp_path, "--workers=2", "--port=0", "--database-url", url, "--redis-url", own_valkey.url)
    assert done.returncode == 2
    assert done.stderr.count('sessioncast: connection: connection failed: connection to server at "127.0.0.1"') == 1
    assert "too many connections for role" in done.stderr
    assert "ready at" not in done.stdout


async def test_a_worker_that_waits_for_the_database_ends_nobody(
    node_factory: NodeFactory, own_postgres: Postgres, own_valkey: Valkey, stack: AsyncExitStack
) -> None:
    """However often it is refused, the other keeps its streams, and it is back when the database is."""
    migrate(own_postgres.url)
    env = {"SESSIONCAST_DATABASE_URL": own_postgres.url, "SESSIONCAST_REDIS_URL": own_valkey.url}
    node = await node_factory(env={**env, "SESSIONCAST_LOG": "json", "SESSIONCAST_WORKERS": "2"})
    writer = Writer(node.url, PROJECT)
    await writer.put_project()
    await writer.close()
    victim, other = workers(node)
    held = await stream_at(stack, node, "sse", other)
    own_postgres.kill()
    send([victim], signal.SIGKILL)
    fifth = (await until_logged(node, 5, event="worker died"))[4]
    assert fifth["why"].startswith("connection: ")
    own_postgres.start()
    await until_logged(node, 3, event="worker ready")
    assert len(workers(node)) == 2
    assert all(one.stream.closed is None for one in held if one.pid == other)
    assert await node.stop() == 0


async def test_a_worker_that_is_not_ready_in_time_is_killed(environment: dict[str, str]) -> None:
    """The wait for it has an end."""
    said: list[str] = []
    settings = load(environment, workers=2, port=0)
    port = Port.hold(settings.host, settings.port)
    with pytest.raises(WorkersError, match=r"^worker \d was not ready within 0\.001 s at the start$") as caught:
        await Keeper(settings, port, Patience(start_s=0.001, stop_s=10), ready=said.append).keep()
    assert (caught.value.status, said) == (2, [])
    port.close()


async def test_a_worker_that_cannot_be_started_is_told(environment: dict[str, str]) -> None:
    """When the machine has nothing left for it, that is the reason."""
    settings = load(environment, workers=2, port=0)
    port = Port.hold(settings.host, settings.port)
    port.close()
    with pytest.raises(WorkersError, match=r"^cannot be started: ") as caught:
        await Keeper(settings, port, Patience(start_s=10, stop_s=10), ready=print).keep()
    assert caught.value.status == 2
