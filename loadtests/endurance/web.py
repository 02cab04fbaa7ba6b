"""Requests and streams by plain sockets on an event loop."""

import asyncio
import json
import socket
import struct
from typing import Any, Self

from crowd.link import request
from crowd.reactor import clock

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s; close() resets, as a network does that is gone
_ANSWER_S = 30.0


class Answer:
    """Status, head in small letters, and body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.status = int(head[9:12])
        self.head = head.lower()
        self.body = body

    @property
    def document(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)

    @property
    def position(self) -> str | None:
        """Of the change that was made."""
        _, found, rest = self.head.partition(b"\r\nx-position: ")
        return rest.partition(b"\r")[0].decode() if found else None


class Client:
    """A keep-alive connection for requests one after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def ask(self, method: str, path: str, document: Any = None) -> Answer:
        """The answer.

        Raises:
            OSError, EOFError: the server broke it off.
            TimeoutError: there was none.
        """
        body = b"" if document is None else json.dumps(document).encode()
        if clock() - self._used > 2:  # the server closes what is idle for five
            self.close()
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        reader, writer = self._ends
        async with asyncio.timeout(_ANSWER_S):
            writer.write(request(method, path, body))
            head = await reader.readuntil(b"\r\n\r\n")
            answer = Answer(head, b"")
            _, _, rest = answer.head.partition(b"\r\ncontent-length: ")
            answer.body = await reader.readexactly(int(rest.partition(b"\r")[0] or 0))
        self._used = clock()
        return answer

    async def samples(self) -> dict[str, float]:
        """The page of metrics."""
        lines = (await self.ask("GET", "/metrics")).body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def close(self) -> None:
        """Be gone."""
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None


class Raw:
    """A socket with as small a receive buffer as asked for."""

    def __init__(self, port: int, *, tiny: bool = False) -> None:
        self.one = socket.socket()
        self.one.setblocking(False)
        if tiny:
            self.one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        self._port = port
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        try:
            await self._loop.sock_connect(self.one, ("127.0.0.1", self._port))
        except BaseException:
            self.one.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.one.close()

    def reset_at_close(self) -> None:
        """Break off instead of closing."""
        self.one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def send(self, data: bytes) -> None:
        """All of it."""
        await self._loop.sock_sendall(self.one, data)

    async def read(self, most: int = 65536) -> bytes:
        """What there is; nothing at the end.

        Raises:
            OSError: it was reset.
        """
        return await self._loop.sock_recv(self.one, most)
