"""A TCP proxy that does to connections what networks do to them, switched while it runs."""

import asyncio
from contextlib import suppress
from typing import Literal, Self

Kind = Literal["websocket", "sse", "poll", "other"]
Answer = Literal["503", "html", "redirect"]

_PAGES: dict[Answer, tuple[str, str]] = {
    "503": ("503 Service Unavailable", ""),
    "html": ("200 OK", ""),
    "redirect": ("302 Found", "Location: http://portal.invalid/login\r\n"),
}
_HTML = "<!doctype html><title>Not what you asked for</title>"


class BadProxy:
    """Each request has a connection of its own. What is changed counts for bytes that come from then on.

    Attributes:
        url: of the server, through the proxy.
        refuses: kinds of requests that are answered by a page of 403.
        answers: a page that everything is answered with; None: the server answers.
        swallows: directions whose bytes vanish: `down` are the server's. A connection that has lost any is of no use
            for ever.
        holds_streams: the body of an event stream is passed on when it ends, and not before.
        sliced: each byte goes on by itself.
        delay_s: each piece goes on so much later.
        asked: what was asked for, in order.
        open: the connections there are.
        tokens: `Authorization` headers of what was asked for.
    """

    def __init__(self, port: int) -> None:
        self.url = ""
        self.refuses: set[Kind] = set()
        self.answers: Answer | None = None
        self.swallows: set[Literal["up", "down"]] = set()
        self.holds_streams = False
        self.sliced = False
        self.delay_s = 0.0
        self.asked: list[Kind] = []
        self.tokens: list[str] = []
        self._port = port
        self.open: dict[asyncio.Task[None], Kind] = {}
        self._flows = asyncio.Event()
        self._flows.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    async def cut(self, *kinds: Kind) -> None:
        """Break all connections, or those of these kinds."""
        tasks = [task for task, kind in self.open.items() if not kinds or kind in kinds]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Hold all bytes of both sides, new connections' too."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let them go on, the held ones first."""
        self._flows.set()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In a task of its own, which `cut` can end.
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.open[task] = "other"

        def ended(task: asyncio.Task[None]) -> None:
            del self.open[task]
            writer.close()  # of one that was cut before it began, too

        task.add_done_callback(ended)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipes: list[asyncio.Task[None]] = []
        far: asyncio.StreamWriter | None = None
        aborted = True
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await self._flows.wait()
            kind = _kind(head.lower())
            self.asked.append(kind)
            self.tokens.append(_token(head))
            task = asyncio.current_task()
            assert task is not None
            self.open[task] = kind
            page = self._page(kind)
            if page is not None:
                writer.write(page)
                await writer.drain()
                aborted = False
                return
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._port)
            if kind != "websocket":
                line, _, rest = head.partition(b"\r\n")
                head = line + b"\r\nConnection: close\r\n" + _without(rest)
            if "up" not in self.swallows:
                far.write(head)
            pipes = [
                asyncio.ensure_future(self._pipe(reader, far, "up", kind)),
                asyncio.ensure_future(self._pipe(far_reader, writer, "down", kind)),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            aborted = not pipes[1].done()  # what the server said last goes on before its end does
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side is away: the other one finds that out by the end of its connection
        finally:
            for pipe in pipes:
                pipe.cancel()
            for one in (far, writer if aborted else None):
                if one is not None:
                    one.transport.abort()
            writer.close()
            await asyncio.gather(*pipes, return_exceptions=True)  # last: a cut may come while they end

    def _page(self, kind: Kind) -> bytes | None:
        if self.answers is not None:
            status, more = _PAGES[self.answers]
        elif kind in self.refuses:
            status, more = "403 Forbidden", ""
        else:
            return None
        head = f"HTTP/1.1 {status}\r\n{more}Content-Type: text/html\r\nContent-Length: {len(_HTML)}\r\n"
        return f"{head}Connection: close\r\n\r\n{_HTML}".encode()

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Literal["up", "down"], kind: Kind
    ) -> None:
        loop = asyncio.get_running_loop()
        coming: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        moving = asyncio.ensure_future(self._move(coming, writer, holds=way == "down" and kind == "sse"))
        lost = False
        try:
            with suppress(OSError):
                while data := await reader.read(65536):
                    lost = lost or way in self.swallows
                    if not lost:
                        coming.put_nowait((loop.time() + self.delay_s, data))
            if lost:
                await asyncio.Event().wait()  # its end vanishes, too
            coming.put_nowait((loop.time() + self.delay_s, b""))
            await moving
        finally:
            moving.cancel()
            await asyncio.gather(moving, return_exceptions=True)

    async def _move(
        self, coming: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, *, holds: bool
    ) -> None:
        """Pass on what comes, when it is due: late, but as much at a time as ever."""
        loop = asyncio.get_running_loop()
        held: list[bytes] = []
        with suppress(OSError):
            while True:
                due, data = await coming.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._flows.wait()
                if not data:
                    await self._pass(b"".join(held), writer)
                    return
                if holds and self.holds_streams:
                    held.append(data)
                else:
                    await self._pass(data, writer)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if not self.sliced:
            writer.write(data)
            await writer.drain()
            return
        for number in range(len(data)):
            writer.write(data[number : number + 1])
            await writer.drain()
            await asyncio.sleep(0)  # who reads it has a turn, and sees this byte alone


def _kind(head: bytes) -> Kind:
    if b"\r\nupgrade: websocket" in head:
        return "websocket"
    if b"\r\naccept: text/event-stream" in head:
        return "sse"
    return "poll" if b"/events" in head.partition(b"\r\n")[0] else "other"


def _token(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"authorization":
            return value.strip().decode()
    return ""


def _without(headers: bytes) -> bytes:
    return b"\r\n".join(line for line in headers.split(b"\r\n") if not line.lower().startswith(b"connection:"))
