"""The servers that are loaded: each a process of its own on loopback, with a fresh file unless told otherwise."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crowd.tree import free_port
from sessioncast_server.db.migrate import migrate

_RIVALS = Path(__file__).parent / "rivals"
_START_S = 60.0
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Side:
    """A running server.

    Attributes:
        database: `sqlite` or `postgresql`.
        bulk: whether it makes many tasks by one request, which is set-up and not measured.
    """

    name: str
    database: str
    port: int
    pid: int
    bulk: bool

    def cpu(self) -> float:
        """Seconds of processor time that the process has used."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def ours(folder: Path, *, database_url: str | None = None, redis_url: str | None = None) -> Iterator[Side]:
    """`sessioncast serve` with nothing but a port and a database."""
    url = database_url or f"sqlite:///{(folder / 'ours.db').absolute()}"
    migrate(url)  # on PostgreSQL a server does not do it itself
    command = ["-m", "sessioncast", "serve", "--database-url", url]
    if redis_url is not None:
        command += ["--redis-url", redis_url]
    with _serve("sessioncast", url, command, folder, bulk=False) as side:
        yield side


@contextmanager
def fastapi_sqlmodel(folder: Path, *, database_url: str | None = None) -> Iterator[Side]:
    """The rival."""
    url = database_url or f"sqlite:///{(folder / 'rival.db').absolute()}"
    command = [str(_RIVALS / "fastapi_sqlmodel.py"), "--database-url", url]
    with _serve("fastapi+sqlmodel", url, command, folder, bulk=True) as side:
        yield side


@contextmanager
def _serve(name: str, url: str, command: list[str], folder: Path, *, bulk: bool) -> Iterator[Side]:
    port = free_port()
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("SESSIONCAST_", "AGENT_SESSION_"))
    }
    log_path = folder / f"{name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            _await_port(process, port, log_path)
            yield Side(name, url.partition(":")[0], port, process.pid, bulk)
        finally:
            _end(process)


def _await_port(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"the server did not listen within {_START_S:g} s")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
