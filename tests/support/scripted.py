"""A server that says exactly what a test wrote, byte for byte, over a real socket."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from support.waiting import until


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int = 200
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Streamed:
    """An event stream: bytes are sent, events waited for; then it hangs until the client goes, ends or breaks."""

    parts: Sequence[bytes | asyncio.Event]
    then: str = "hang"


class Lost:
    """The request is read, and the connection breaks without an answer."""


class ScriptedServer:
    """Answers one request after the other with the next line of its script; keeps what it was asked.

    Reports of clients are kept apart, and taken without a line of the script.
    """

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.reports: list[Seen] = []
        self._script: deque[Reply | Streamed | Lost] = deque()
        self._answering: set[asyncio.Task[None]] = set()

    def say(self, *lines: Reply | Streamed | Lost) -> None:
        """Lines that come after those it was given already."""
        self._script.extend(lines)

    async def saw(self, count: int) -> None:
        """Return when so many requests came."""
        await until(lambda: len(self.seen) >= count, f"request {count}")

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            while (seen := await _read(reader)) is not None:
                if seen.path == "/v1/client-reports":
                    self.reports.append(seen)
                    await _speak(Reply(204), reader, writer)
                    continue
                self.seen.append(seen)
                line = self._script.popleft() if self._script else Reply(500, {"detail": "not in the script"})
                if not await _speak(line, reader, writer):
                    return
        except ConnectionError:
            pass
        finally:
            self._answering.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Seen(method, url.path, parse_qs(url.query), headers, body)


async def _speak(line: Reply | Streamed | Lost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Say one line; whether the connection can take another request."""
    if isinstance(line, Lost):
        writer.transport.abort()
        return False
    if isinstance(line, Reply):
        body = b"" if line.document is None else json.dumps(line.document).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **line.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {line.status} So\r\n{head}\r\n".encode() + body)
        await writer.drain()
        return True
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for part in line.parts:
        if isinstance(part, asyncio.Event):
            await part.wait()
        else:
            writer.write(part)
            await writer.drain()
    if line.then == "hang":
        await reader.read()
    elif line.then == "break":
        writer.transport.abort()
    return False


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """A scripted server on a port of its own."""
    server = ScriptedServer()
    listener = await asyncio.start_server(server._answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(server._answering):
            task.cancel()
        await asyncio.gather(*server._answering, return_exceptions=True)
        await listener.wait_closed()


@dataclass(frozen=True)
class Talk:
    """One WebSocket connection: what is said after the client's first frame, and the code it is closed with.

    Without a code it hangs until the client goes.
    """

    frames: Sequence[Mapping[str, Any] | str | bytes]
    close: int | None = None


class ScriptedSockets:
    """Talks to one WebSocket after the other as its script says; keeps headers and first frames."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self._script: deque[Talk] = deque()

    def say(self, *talks: Talk) -> None:
        """Talks that come after those it was given already."""
        self._script.extend(talks)

    async def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        talk = self._script.popleft() if self._script else Talk([], 4400)
        try:
            first = await socket.recv(decode=False)
            headers = {name.lower(): value for name, value in socket.request.headers.raw_items()}
            self.seen.append(Seen("GET", socket.request.path, {}, headers, first))
            for frame in talk.frames:
                await socket.send(json.dumps(frame) if isinstance(frame, Mapping) else frame)
            if talk.close is None:
                await socket.wait_closed()
            else:
                await socket.close(talk.close)
        except ConnectionClosed:
            pass


@asynccontextmanager
async def scripted_sockets() -> AsyncIterator[ScriptedSockets]:
    """A scripted WebSocket server on a port of its own."""
    server = ScriptedSockets()
    async with serve(server._talk, "127.0.0.1", 0, compression=None) as listener:
        server.url = f"http://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"
        yield server
