"""The rivals as they are loaded; a server of ours whose part is missing is said to be not installed."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from crowd.frames import masked
from crowd.link import request
from crowd.receivers import Step
from crowd.side import SSE, Side, filled, get, upgrade
from crowd.tree import Tree, free_port, run

_FOLDER = Path(__file__).parents[1] / "rivals"
_NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_PUSHPIN = Path("/usr/lib/pushpin/internal.conf")
_LAST_ID = re.compile(rb'"last_message_id": ?"([^"]+)"')


class NotInstalledError(Exception):
    """The rival is not on this machine; the argument says what is missing."""


class PythonRival(Side):
    """A server of `rivals/` that takes `POST /publish` and keeps no positions."""

    def __init__(self, name: str, port: int, tree: Tree, size: int) -> None:
        super().__init__(port, tree)
        self.name = name
        self._size = size

    def steps(self, transport: str, index: int, position: str | None = None) -> Sequence[Step]:  # noqa: ARG002  the same for all
        if transport == SSE:
            return [Step(get("/sse"), b"event: ready")]
        return [Step(upgrade("/ws"), b"ready")]

    def compose(self, connection: int, mark: bytes) -> bytes:  # noqa: ARG002  one address for all
        return request("POST", "/publish", filled(mark, self._size))


class SocketIo(PythonRival):
    """The same, where a client says that it joins: engine.io 4 by WebSocket alone."""

    def steps(self, transport: str, index: int, position: str | None = None) -> Sequence[Step]:  # noqa: ARG002  the same for all
        return [Step(upgrade("/socket.io/?EIO=4&transport=websocket"), b"0{"), Step(masked(b"40"), b"40{")]


class Nchan(Side):
    """nginx with nchan: messages in its memory."""

    name = "nchan"
    resumes = True

    def __init__(self, port: int, tree: Tree, size: int) -> None:
        super().__init__(port, tree)
        self._size = size

    def steps(self, transport: str, index: int, position: str | None = None) -> Sequence[Step]:  # noqa: ARG002  the same for all
        headers = [f"Last-Event-ID: {position}"] if position else []
        if transport == SSE:
            return [Step(get("/sub/load", *headers), b"\r\n\r\n")]
        return [Step(upgrade("/sub/load", *headers), b"\r\n\r\n")]

    def compose(self, connection: int, mark: bytes) -> bytes:  # noqa: ARG002  one address for all
        return request("POST", "/pub/load", filled(mark, self._size))

    def position(self, answer: bytes) -> str:
        found = _LAST_ID.search(answer)
        assert found is not None, answer
        return found[1].decode()


class Pushpin(Side):
    """pushpin with the origin that it has in itself, which holds streams on the channel `test`."""

    name = "pushpin"
    answers_early = True

    def __init__(self, port: int, publish_port: int, tree: Tree, size: int) -> None:
        super().__init__(port, tree, publish_port=publish_port)
        self._size = size

    def steps(self, transport: str, index: int, position: str | None = None) -> Sequence[Step]:  # noqa: ARG002  the same for all
        if transport == SSE:
            return [Step(get("/stream"), b"[stream opened]")]
        return [Step(upgrade("/ws"), b"\r\n\r\n")]

    def compose(self, connection: int, mark: bytes) -> bytes:  # noqa: ARG002  one address for all
        text = filled(mark, self._size).decode()
        formats = {"http-stream": {"content": f"data: {text}\n\n"}, "ws-message": {"content": text}}
        return request("POST", "/publish/", json.dumps({"items": [{"channel": "test", "formats": formats}]}).encode())


@contextlib.contextmanager
def python_rival(
    name: str, program: str, modules: str, folder: Path, *, size: int, pythons: Sequence[str]
) -> Iterator[Side]:
    """A server of `rivals/`, run by the first Python that has its packages.

    Raises:
        NotInstalledError: none has.
    """
    python = next((path for path in pythons if _has(path, modules)), None)
    if python is None:
        raise NotInstalledError(modules)
    port = free_port()
    with run([python, str(_FOLDER / program), "--port", str(port)], port, folder, name=name) as pid:
        kind = SocketIo if name == "python-socketio" else PythonRival
        yield kind(name, port, Tree([pid]), size)


@contextlib.contextmanager
def pushpin(folder: Path, *, size: int) -> Iterator[Side]:
    """Its three processes, by a configuration of their own.

    Raises:
        NotInstalledError: it is not there.
    """
    program = shutil.which("pushpin")
    if program is None or not _PUSHPIN.exists():
        raise NotInstalledError("pushpin")
    port, publish_port = free_port(), free_port()
    config = folder / "pushpin.conf"
    words = {"INTERNAL": _PUSHPIN, "FOLDER": folder.absolute(), "PORT": port, "PUBLISH_PORT": publish_port}
    text = (_FOLDER / "pushpin.conf").read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    config.write_text(text)
    (folder / "routes").write_text("* test\n")
    with run([program, "--config", str(config)], port, folder, name="pushpin") as pid:
        yield Pushpin(port, publish_port, Tree([pid]), size)


def _has(python: str, modules: str) -> bool:
    ran = subprocess.run([python, "-c", f"import {modules}"], check=False, capture_output=True, timeout=60)
    return ran.returncode == 0


@contextlib.contextmanager
def nchan(folder: Path, *, size: int) -> Iterator[Side]:
    """One worker; a buffer of as many messages as our ring has events.

    Raises:
        NotInstalledError: no nginx, or no module.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None or not _NCHAN.exists():
        raise NotInstalledError("nginx libnginx-mod-nchan")
    port = free_port()
    template = (_FOLDER / "nchan.conf").read_text()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        template.replace("@MODULE@", str(_NCHAN)).replace("@PORT@", str(port)).replace("@USER@", user)
        .replace("@FOLDER@", str(folder.absolute()))
    )  # fmt: skip
    with run([nginx, "-c", str(config.absolute()), "-p", str(folder.absolute())], port, folder, name="nginx") as pid:
        yield Nchan(port, Tree([pid]), size)
