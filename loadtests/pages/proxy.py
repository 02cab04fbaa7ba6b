"""A proxy between a page and a node that counts what goes through, and has the page's own files."""

import asyncio
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_HEAD_MAX = 64 * 1024
_READ = 64 * 1024
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_FILES = "/pages/"


@dataclass(slots=True)
class Traffic:
    """What was asked for and went through, by the part of the page that asked.

    Attributes:
        calls: requests of the API; those for pages and scripts are not.
        size: bytes of both directions, with heads.
    """

    calls: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "Traffic":
        """As it is now."""
        return Traffic(self.calls.copy(), self.size.copy())


class CountingProxy:
    """Passes requests on, one after another on each connection, and everything after an upgrade.

    Attributes:
        url: of the node, through the proxy.
        traffic: so far.
    """

    def __init__(self, port: int, *, parts: Collection[str] = (), files: Path | None = None) -> None:
        """Nothing is open yet.

        Args:
            port: the node's, on loopback.
            parts: user agents that are counted apart; all others are `page`.
            files: a folder whose files are at `/pages/`.
        """
        self.url = ""
        self.traffic = Traffic()
        self._port = port
        self._parts = frozenset(parts)
        self._files = files
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0, limit=_HEAD_MAX)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_Connection(self, reader, writer).run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def part(self, head: bytes) -> str | None:
        """Who asks; None: it is no call."""
        if not head.partition(b" ")[2].startswith(b"/v1/"):
            return None
        agent = _header(head, b"user-agent")
        return agent if agent in self._parts else "page"

    def file(self, head: bytes) -> bytes | None:
        """The answer, if it is a file of the page's that is asked for."""
        path = head.split(b" ", 2)[1].decode().partition("?")[0]
        if self._files is None or not path.startswith(_FILES):
            return None
        file = self._files / Path(path).name
        content = file.read_bytes() if file.is_file() else b""
        status, type_ = "200 OK" if content else "404 Not Found", _TYPES.get(file.suffix, "text/plain")
        told = f"HTTP/1.1 {status}\r\nContent-Type: {type_}\r\nContent-Length: {len(content)}\r\n\r\n"
        return told.encode() + content

    @property
    def port(self) -> int:
        """The node's."""
        return self._port


class _Connection:
    """One connection of a page's, and its own to the node."""

    def __init__(self, proxy: CountingProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._part: str | None = None

    async def run(self) -> None:
        """Until either side closes."""
        back: asyncio.Task[None] | None = None
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._proxy.port)
            back = asyncio.ensure_future(self._back(far_reader))
            while True:
                head = await self._reader.readuntil(b"\r\n\r\n")
                if (file := self._proxy.file(head)) is not None:
                    self._writer.write(file)
                    continue
                self._part = self._proxy.part(head)
                if self._part is not None:
                    self._proxy.traffic.calls[self._part] += 1
                self._pass(head, far)
                if _header(head, b"upgrade"):
                    while data := await self._reader.read(_READ):
                        self._pass(data, far)
                    return
                if length := int(_header(head, b"content-length") or 0):
                    self._pass(await self._reader.readexactly(length), far)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it has gone
        finally:
            if back is not None:
                back.cancel()
            for writer in (self._writer, far):
                if writer is not None:
                    writer.transport.abort()

    def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._part is not None:
            self._proxy.traffic.size[self._part] += len(data)
        writer.write(data)

    async def _back(self, far: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await far.read(_READ):
                self._pass(data, self._writer)
                await self._writer.drain()
        # The node closes connections that are idle: the page must see that, and what was said before.
        self._writer.close()


def _header(head: bytes, name: bytes) -> str:
    found = re.search(rb"\r\n" + name + rb": *([^\r]*)\r\n", head, re.IGNORECASE)
    return "" if found is None else found[1].decode()
