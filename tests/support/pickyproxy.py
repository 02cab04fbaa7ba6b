"""An HTTP proxy that lets through what it likes, as those of companies do, and that can fall silent."""

import asyncio
from contextlib import suppress
from typing import Literal, Self

Kind = Literal["websocket", "sse", "poll", "other"]

_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 4\r\nConnection: close\r\n\r\nNope"


class PickyProxy:
    """Each request has a connection of its own; what is refused is answered by a page of the proxy's.

    Attributes:
        url: of the server, through the proxy.
        refuses: what does not come through.
        asked: what was asked for, in order.
        open: what is being answered now.
    """

    def __init__(self, port: int) -> None:
        self.url = ""
        self.refuses: set[Kind] = set()
        self.asked: list[Kind] = []
        self.open: dict[asyncio.Task[None], Kind] = {}
        self._port = port
        self._mute = asyncio.Event()
        self._mute.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._end(list(self.open))

    async def cut(self, kind: Kind) -> None:
        """Break all connections of this kind."""
        await self._end([task for task, its in self.open.items() if its == kind])

    def mute(self) -> None:
        """Keep what the server says from now on."""
        self._mute.clear()

    def unmute(self) -> None:
        """Let it through again."""
        self._mute.set()

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Of its own, so that a browser which keeps a connection for later is not waited for.
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
            return
        kind = _kind(head.lower())
        self.asked.append(kind)
        if kind in self.refuses:
            writer.write(_REFUSAL)
            writer.close()
            return
        task = asyncio.ensure_future(self._serve(head, kind, reader, writer))
        self.open[task] = kind
        task.add_done_callback(self.open.pop)

    async def _serve(self, head: bytes, kind: Kind, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipes: list[asyncio.Task[None]] = []
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            line, _, rest = head.partition(b"\r\n")
            far_writer.write(head if kind == "websocket" else line + b"\r\nConnection: close\r\n" + _without(rest))
            pipes = [
                asyncio.ensure_future(_pipe(reader, far_writer, None)),
                asyncio.ensure_future(_pipe(far_reader, writer, self._mute)),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the server is away: the browser finds that out by the end of its connection
        finally:
            for pipe in pipes:
                pipe.cancel()
            if pipes:
                far_writer.transport.abort()
            writer.close()


def _kind(head: bytes) -> Kind:
    if b"\r\nupgrade: websocket" in head:
        return "websocket"
    if b"\r\naccept: text/event-stream" in head:
        return "sse"
    return "poll" if b"/events" in head.partition(b"\r\n")[0] else "other"


def _without(headers: bytes) -> bytes:
    return b"\r\n".join(line for line in headers.split(b"\r\n") if not line.lower().startswith(b"connection:"))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            if gate is not None:
                await gate.wait()
            writer.write(data)
            await writer.drain()
