"""A server's processes: started on one core, watched from outside, ended by their ids."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

SERVER_CORE, GENERATOR_CORE = 0, 1
_START_S = 30.0
_STOP_S = 10.0
# Below the range of outgoing connections and of ports that are asked for as 0 (32768 up on Linux): one of those would
# be on the port before the server, which would not start, and a stranger would be measured in its place.
_PORTS = range(20_000, 32_000)
_PORT_TRIES = 200
_choice = random.SystemRandom()  # whoever seeded the other one must not choose the same ports in each process


class Tree:
    """Processes of one server with all that they started."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in roots]

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        return float(sum(sum(member.cpu_times()[:2]) for member in self._members()))

    def memory(self) -> int:
        """Resident bytes of one process; of several, their proportional shares (PSS), so that nothing counts twice."""
        members = self._members()
        if len(members) == 1:
            return int(members[0].memory_info().rss)
        return int(sum(member.memory_full_info().pss for member in members))

    def _members(self) -> list[psutil.Process]:
        return [member for root in self._roots for member in (root, *root.children(recursive=True))]


def pin(core: int) -> bool:
    """Keep this process, and those it starts from now on, to a core; False where there is no second one."""
    cores = sorted(os.sched_getaffinity(0) | {SERVER_CORE, GENERATOR_CORE})
    if (os.cpu_count() or 1) < 2:
        return False
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {cores[core]})
        return True
    return False


def free_port() -> int:
    """A port that nobody listens on at this moment, and that the kernel gives to nobody before a server is there.

    Raises:
        OSError: none was found.
    """
    for _ in range(_PORT_TRIES):
        port = _choice.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closing connections bar no server
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


@contextlib.contextmanager
def run(
    command: Sequence[str],
    port: int,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    name: str = "server",
) -> Iterator[int]:
    """A process on the server's core that listens on a port; its id.

    Raises:
        RuntimeError: it ended, or did not listen in time; with the end of what it said.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SESSIONCAST_", "AGENT_SESSION_"))}
    log_path = folder / f"{name}.log"
    with log_path.open("wb") as log:
        pin(SERVER_CORE)
        try:
            process = subprocess.Popen(
                list(command), cwd=folder, env={**kept, **(environment or {})}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        finally:
            pin(GENERATOR_CORE)
        try:
            _await_port(process, port, log_path)
            yield process.pid
        finally:
            _end(process)


def _await_port(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"the server did not come up ({process.poll()}): {log.read_text(errors='replace')[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End it and what it started; those that stay are killed, each by its id."""
    try:
        members = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        members = []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
