"""`sessioncast serve` as a process of its own, which is told to end and watched while it does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crowd.tree import GENERATOR_CORE, SERVER_CORE, free_port, pin

_START_S = 60.0
_END_S = 30.0


class ServerFailedError(Exception):
    """The server did not come up, or did not end by itself; with the end of what it said."""


@dataclass(slots=True)
class Server:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        log: what it says.
    """

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def end(self) -> int:
        """SIGTERM, unless it has ended, and its exit status.

        Raises:
            ServerFailedError: it did not end in time; it is killed then.
        """
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerFailedError(f"the server did not end in {_END_S:g} s: {self.said()}") from None


@contextlib.contextmanager
def serving(
    folder: Path,
    *,
    environment: Mapping[str, str],
    arguments: Sequence[str] = (),
    program: Sequence[str] = ("-m", "sessioncast"),
) -> Iterator[Server]:
    """A server on a core of its own, with a fresh SQLite file in the folder unless the arguments name a database.

    Raises:
        ServerFailedError: it did not come up, or had to be killed at the end.
    """
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SESSIONCAST_", "AGENT_SESSION_"))}
    command = [sys.executable, *program, "serve", "--port", str(port), *arguments]
    if "--database-url" not in arguments:
        command += ["--database-url", f"sqlite:///{folder.absolute() / 'sessioncast.db'}"]
    log = folder / "server.log"
    with log.open("wb") as out:
        pin(SERVER_CORE)
        try:
            process = subprocess.Popen(
                command, cwd=folder, env={**kept, "PYTHONUNBUFFERED": "1", **environment}, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        finally:
            pin(GENERATOR_CORE)
    server = Server(port, log, process)
    try:
        _await_ready(server)
        yield server
    finally:
        if process.poll() is None:
            server.end()


def _await_ready(server: Server) -> None:
    deadline = time.monotonic() + _START_S
    while b"ready at http" not in server.log.read_bytes():
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailedError(f"the server did not come up ({server.process.poll()}): {server.said()}")
        time.sleep(0.02)
