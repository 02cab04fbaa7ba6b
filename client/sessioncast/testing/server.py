"""A real server as a child process, for tests."""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import digest
from pathlib import Path
from types import TracebackType
from typing import Any, Self

READY_S = 60.0
"""It is given up if it has not begun to serve by then."""
STOP_S = 30.0
"""It is killed if it has not ended by then."""
_LOOK_S = 0.02
_READY = b"sessioncast is ready at "
_TAIL = 4000

# Runs in the child. Nobody's settings but the test's own are in its environment, and it does not outlive who started
# it, however that one ends: then its input is closed.
_CHILD = """\
import json, os, threading
def read():
    return os.read(0, 65536) or os._exit(0)
given = b""
while not given.endswith(b"\\n"):
    given += read()
for name in [name for name in os.environ if name.startswith(("SESSIONCAST_", "AGENT_SESSION_"))]:
    del os.environ[name]
os.environ.update(json.loads(given))
def watch():
    while True:
        read()
threading.Thread(target=watch, daemon=True).start()
from sessioncast.__main__ import main
main()
"""


class ServerError(RuntimeError):
    """The server did not begin to serve; the text has the end of what it printed."""


class Server:
    """`sessioncast serve` on a free port of this machine, with a SQLite file in a folder of its own.

    `with Server() as server:`, or `async with`, returns when it answers, and ends it at the end. The package must be
    installed with its extra `server`.

    Attributes:
        url: its address; the same over restarts.
    """

    def __init__(self, *, secret: str | None = None, settings: Mapping[str, str] | None = None) -> None:
        """Nothing is started yet.

        Args:
            secret: of at least 32 bytes; tokens are asked for, and `token` makes them. Without one it runs open.
            settings: more of the server's settings, by their names (`SESSIONCAST_HEARTBEAT_S`, …).
        """
        self._secret = secret
        self._settings = {**(settings or {}), **({} if secret is None else {"SESSIONCAST_JWT_SECRET": secret})}
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def log(self) -> str:
        """What it printed, over all its starts, while it is in use."""
        return self._log.read_text(errors="replace") if self._folder is not None and self._log.exists() else ""

    @property
    def pid(self) -> int:
        """Of its process.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError("it does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def token(
        self,
        sub: str = "tester",
        projects: Sequence[str] | str = "*",
        *,
        scopes: Sequence[str] = ("sessions:read", "sessions:write"),
        ttl_s: float = 3600.0,
    ) -> str:
        """A bearer token of a user for projects, `*` for all.

        Raises:
            RuntimeError: the server runs open, and takes no tokens.
        """
        if self._secret is None:
            raise RuntimeError("it runs open; Server(secret=…) takes tokens")
        known = projects if projects == "*" or not isinstance(projects, str) else [projects]
        claims = {"sub": sub, "projects": known if isinstance(known, str) else list(known), "scopes": list(scopes)}
        # RFC 7515, section 3.1.
        head, body = _encoded({"alg": "HS256", "typ": "JWT"}), _encoded({**claims, "exp": int(time.time() + ttl_s)})
        signature = digest(self._secret.encode(), head + b"." + body, sha256)
        return b".".join((head, body, urlsafe_b64encode(signature).rstrip(b"="))).decode()

    def start(self) -> None:
        """Start it, on the port and with the data that it had; return when it answers.

        Raises:
            ServerError: it ended instead, or took too long.
        """
        if self.running:
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sessioncast-")
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        command = [sys.executable, "-c", _CHILD, "serve", "--port", str(self._port)]
        command += ["--database-url", f"sqlite:///{Path(self._folder.name) / 'sessions.db'}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  this very interpreter, and a program of ours
                command, cwd=self._folder.name, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self._process.stdin is not None  # noqa: S101  for the type checker: it is a pipe
        self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
        self._process.stdin.flush()
        ends = time.monotonic() + READY_S
        while not self._is_ready():
            ended = self._process.poll()
            if ended is not None or time.monotonic() > ends:
                self.kill()
                why = "did not serve in time" if ended is None else f"ended with status {ended}"
                raise ServerError(f"the server {why}: {self.log[-_TAIL:]}")
            time.sleep(_LOOK_S)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(0.0)

    def stop(self) -> None:
        """End it as an operator would: it drains."""
        if self._process is not None:
            self._process.terminate()
        self._end(STOP_S)

    def restart(self) -> None:
        """End it if it runs, and start it again: the same address, the same data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        self.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _end(self, wait_s: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    @property
    def _log(self) -> Path:
        assert self._folder is not None  # noqa: S101  for the type checker: it was started
        return Path(self._folder.name) / "server.log"

    def _is_ready(self) -> bool:
        with self._log.open("rb") as log:
            log.seek(self._log_from)
            return _READY in log.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _encoded(value: Any) -> bytes:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
