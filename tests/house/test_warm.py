"""Nodes that are forks of a program that has loaded the server: each is as one that was started the long way."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from support import processes, warm
from support.node import NodeProcess
from support.ports import free_port
from support.program import DiedError
from support.waiting import wait_until

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=["warm", "cold"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How nodes of the test are started."""
    name: str = request.param
    if name == "cold":
        monkeypatch.setenv(warm.COLD, "1")
    return name


def node(folder: Path, **env: str) -> NodeProcess:
    """A node that is not started."""
    return NodeProcess(folder, port=free_port(), env=env, arguments=())


def test_its_life_is_the_same(way: str, tmp_path: Path) -> None:
    """It answers, leads a session of its own in its folder, with its environment, and ends with status 0."""
    one = node(tmp_path, SESSIONCAST_HEARTBEAT_S="9")
    with one:
        assert httpx2.get(f"{one.url}/health/live").status_code == 200
        assert os.getsid(one.pid) == one.pid
        assert Path(f"/proc/{one.pid}/cwd").resolve() == tmp_path
        assert (tmp_path / "data").is_dir()
        assert len(processes.family(one.pid)) == 1
        loaded = b"nursery" in Path(f"/proc/{one.pid}/cmdline").read_bytes()
        assert loaded == (way == "warm")
        assert one.stop() == 0


def test_its_descriptors_are_its_own(way: str, tmp_path: Path) -> None:
    """No two nodes share a socket: where one of them ends, nobody keeps its port or its connections."""
    with ExitStack() as stack:
        held = []
        for name in "abc":  # more than there are programs that fork
            (tmp_path / name).mkdir()
            one = stack.enter_context(node(tmp_path / name))
            links = {os.readlink(entry) for entry in Path(f"/proc/{one.pid}/fd").iterdir() if entry.exists()}
            held.append({link for link in links if link.startswith("socket:")})
        assert all(held)
        assert len(set.union(*held)) == sum(map(len, held))


def test_one_that_cannot_start_says_why(way: str, tmp_path: Path) -> None:
    """It ends with the status of such a command, and its words are in its log."""
    one = node(tmp_path, SESSIONCAST_HEARTBEAT_S="never")
    with pytest.raises(DiedError, match="SESSIONCAST_HEARTBEAT_S=never"):
        one.start()
    one.launch()
    assert one.wait() == 2


def test_a_signal_is_told_as_its_status(way: str, tmp_path: Path) -> None:
    """Of one that was killed the status is minus the signal."""
    with node(tmp_path) as one:
        os.kill(one.pid, 9)
        assert one.wait() == -9


def test_a_node_does_not_outlive_the_test_run(way: str, tmp_path: Path) -> None:
    """A run that is killed leaves no node behind."""
    code = (
        "import os, sys, time; from pathlib import Path; from support.node import NodeProcess\n"
        f"node = NodeProcess(Path({str(tmp_path)!r}), port={free_port()}, env={{}}, arguments=())\n"
        "node.start(); print(node.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, check=False
    )
    pid = int(done.stdout)
    wait_until(lambda: not processes.alive(pid), "the node to be gone")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [(("--workers", "2"), {}), ((), {"SESSIONCAST_WORKERS": "2"}), ((), {"PYTHONHASHSEED": "1"})],
)
def test_what_a_fork_could_not_do_is_started_the_long_way(arguments: tuple[str, ...], env: dict[str, str]) -> None:
    """Workers load the server themselves, and what is not a setting may have been read when it was loaded."""
    assert not warm.may_be_warm(arguments, env)
    assert warm.may_be_warm((), {"SESSIONCAST_PORT": "0"})
