"""A TCP proxy before PostgreSQL that can lose the answer to a COMMIT, and the connection with it."""

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class CommitProxy:
    """Passes bytes on; once `armed`, it waits until the server has answered a COMMIT and cuts instead of telling.

    Args:
        after: bytes that a connection must have sent, or its COMMIT is not meant: a node also reads by itself.

    Attributes:
        url: of the database, through the proxy.
        cuts: how often it did so.
    """

    def __init__(self, url: str, *, after: bytes = b"") -> None:
        self._target = urlsplit(url)
        self._after = after
        self._pipes: set[asyncio.Task[None]] = set()
        self.armed = False
        self.cuts = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = urlunsplit(self._target._replace(netloc=f"postgres@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        meant = asyncio.Event()
        for pipe in (self._pipe(reader, far_writer, writer, meant), self._pipe(far_reader, writer, far_writer, meant)):
            self._pipes.add(asyncio.create_task(pipe))

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        meant: asyncio.Event,
    ) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    if self._after in data:
                        meant.set()
                    # CommandComplete of a COMMIT: from then on the change is durable (PostgreSQL 18, section 54.7).
                    if self.armed and meant.is_set() and b"C\x00\x00\x00\x0bCOMMIT\x00" in data:
                        self.armed = False
                        self.cuts += 1
                        back.transport.abort()
                        break
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()
