"""Nodes that need not load the server first: forks of a program that has, see `support.nursery`.

Only what is told nothing but settings is started so; `--workers` starts processes of its own, which load it again.
`TEST_COLD_NODES=1` starts each node the long way, as an operator does; `_COLD` in `tests/conftest.py` says for which
tests that is always so. What is loaded before the fork is counted as covered by those.
"""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from support import nursery
from support.waiting import DEADLINE_S

COLD = "TEST_COLD_NODES"
_SETTINGS = ("SESSIONCAST_", "AGENT_SESSION_")
_NURSERIES = 2
"""They take turns, so that two nodes of a test differ as two processes do: in the hashes of strings, say."""


class WarmProcess:
    """A fork; the part of `subprocess.Popen` that programs of tests use. Threads may share it."""

    def __init__(self, line: socket.socket, command: Sequence[str]) -> None:
        self._line = line
        self._command = command
        self._status: int | None = None
        self._lock = threading.Lock()
        self._heard = b""
        self._line.settimeout(DEADLINE_S)
        while b"\n" not in self._heard:
            if not (heard := self._line.recv(64)):
                raise RuntimeError("the nursery is gone")
            self._heard += heard
        self._line.setblocking(False)
        pid, _, self._heard = self._heard.partition(b"\n")
        self.pid = int(pid)

    def poll(self) -> int | None:
        """Its exit status, minus the signal's number if one ended it; None while it runs."""
        with self._lock:
            if self._status is None:
                with suppress(BlockingIOError):
                    self._heard += self._line.recv(64)
                    if b"\n" not in self._heard:
                        raise RuntimeError("the nursery is gone, and its nodes with it")
                    self._status = int(self._heard)
            return self._status

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not in time.
        """
        ended = select.poll()
        ended.register(self._line, select.POLLIN)
        ended.poll(None if timeout is None else timeout * 1000)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(list(self._command), timeout or 0)
        return status

    def release(self) -> None:
        """Let the pid be another's; one that still runs is killed."""
        self._line.close()


class _Nursery:
    """The program that forks, as long as this process lives."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", *_SETTINGS))}
            self._process = subprocess.Popen(
                [sys.executable, nursery.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=kept,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is the test's
            )

    def fork(self, arguments: Sequence[str], *, env: Mapping[str, str], folder: Path, log: int) -> WarmProcess:
        """A new process, which writes to this descriptor."""
        ours, theirs = socket.socketpair()
        with theirs:
            request = {"arguments": list(arguments), "env": dict(env), "folder": str(folder)}
            socket.send_fds(self._requests, [json.dumps(request).encode()], [log, theirs.fileno()])
        return WarmProcess(ours, arguments)

    def close(self) -> None:
        """Kill what still runs, and end."""
        self._requests.close()
        self._process.wait()


_nurseries: list[_Nursery] = []
_lock = threading.Lock()


def may_be_warm(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a node of these arguments and this environment, beside the test's own, can be a fork."""
    if COLD in os.environ or "--workers" in arguments or "SESSIONCAST_WORKERS" in env:
        return False
    return all(name.startswith(_SETTINGS) for name in env)


def fork(arguments: Sequence[str], *, env: Mapping[str, str], folder: Path, log: int) -> WarmProcess:
    """`python -m sessioncast ARGUMENTS` with exactly this environment, in this folder."""
    with _lock:
        if len(_nurseries) < _NURSERIES:
            _nurseries.append(_Nursery())
        else:
            _nurseries.append(_nurseries.pop(0))
        chosen = _nurseries[-1]
    return chosen.fork(arguments, env=env, folder=folder, log=log)


def close() -> None:
    """End the programs that fork; called once no test runs any more."""
    while _nurseries:
        _nurseries.pop().close()
