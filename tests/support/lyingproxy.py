"""A TCP proxy that once, or a few times, puts other bytes of the same length into what a server says."""

import asyncio
from contextlib import suppress
from typing import Self


class LyingProxy:
    """Passes bytes on, but for a few: the first `times` that `true` comes from the server, `lie` goes on instead.

    Attributes:
        url: of the server, through the proxy.
        lies: how often it lied.
    """

    def __init__(self, port: int, *, true: bytes, lie: bytes, times: int = 1) -> None:
        if len(true) != len(lie):
            raise ValueError("a lie of another length would break the framing")
        self._port = port
        self._true = true
        self._lie = lie
        self._times = times
        self._pipes: set[asyncio.Task[None]] = set()
        self.lies = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for pipe in (self._pipe(reader, far_writer, told=False), self._pipe(far_reader, writer, told=True)):
            self._pipes.add(asyncio.create_task(pipe))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, told: bool) -> None:
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    if told and self.lies < self._times and self._true in data:
                        self.lies += 1
                        data = data.replace(self._true, self._lie, 1)
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()
