"""A TCP proxy in front of two servers that may lead two connections of one client to different ones."""

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit


class Crossing:
    """Connections go to the servers in turn, whichever connection it is.

    Attributes:
        url: address of the proxy.
    """

    def __init__(self, *urls: str) -> None:
        self._targets = [(parts.hostname, parts.port or 6379) for parts in map(urlsplit, urls)]
        self._accepted = 0
        self._pipes: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._targets[self._accepted % len(self._targets)]
        self._accepted += 1
        far_reader, far_writer = await asyncio.open_connection(host, port)
        for pipe in (_pipe(reader, far_writer), _pipe(far_reader, writer)):
            self._pipes.add(asyncio.create_task(pipe))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.transport.abort()
