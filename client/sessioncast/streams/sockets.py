"""All WebSockets of a client: as few as the server lets them be."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sessioncast.backoff import Backoff
from sessioncast.errors import ConnectionLost, ProblemError, SlowConsumer, Unauthenticated
from sessioncast.streams.frames import Frame, Goodbye
from sessioncast.streams.mailbox import Mailbox
from sessioncast.streams.socket import Socket
from sessioncast.streams.wire import Wire
from sessioncast_shared.filters import Filter

if TYPE_CHECKING:  # it loads the HTTP library
    from sessioncast.transport import Transport

PER_SOCKET = 100
"""Subscriptions on one connection: as many as the server takes as it comes."""


class SocketStream:
    """One subscription's part of a shared WebSocket."""

    def __init__(self, sockets: "Sockets", socket: Socket, mailbox: Mailbox, key: tuple[str, Filter]) -> None:
        self._sockets = sockets
        self._socket = socket
        self._mailbox = mailbox
        self._key = key

    async def receive(self) -> list[Frame]:
        """All frames that came since the last call; waits for one.

        Raises:
            ConnectionLost, ProblemError, ProtocolError: there are no more.
            SlowConsumer: more came than was read.
        """
        try:
            frames = await self._mailbox.take()
        except (ConnectionLost, ProblemError):
            if self._socket.broke():
                self._sockets.lost()
            raise
        if not frames:
            raise SlowConsumer(self._key[0])
        for frame in frames:
            self._sockets.heard(frame)
        return frames

    async def aclose(self) -> None:
        """Give the subscription up."""
        await self._socket.leave(self._mailbox, self._key)


class Sockets:
    """Opens connections, one at a time and no sooner than it should, and gives out places on them.

    A connection is shared by all subscriptions that are no copies of each other: of one project and filter the server
    takes one on each.
    """

    def __init__(self, transport: "Transport", *, cut: Callable[[], None]) -> None:
        """`cut` is called for each connection that broke after it had been opened."""
        self._transport = transport
        self._cut = cut
        self._limits = transport.limits
        self._backoff = Backoff(transport.limits)
        self._sockets: list[Socket] = []
        self._opening: asyncio.Task[Socket] | None = None
        self._not_before = 0.0
        scheme, _, rest = transport.url.partition("://")
        self.url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/ws"

    async def open(self, project: str, wanted: Filter, *, position: str | None, snapshot: str) -> SocketStream:
        """A subscription, asked for: its first frame says what has come of it.

        Raises:
            ConnectionLost, ProblemError: there is no connection.
        """
        key = (project, wanted)
        socket = await self._place(key)
        mailbox = Mailbox(max_bytes=self._limits.buffer_bytes, max_frames=self._limits.buffer_frames)
        stream = SocketStream(self, socket, mailbox, key)
        try:
            await socket.subscribe(project, wanted, mailbox, position=position, snapshot=snapshot)
        except BaseException:
            await stream.aclose()
            raise
        return stream

    def heard(self, frame: Frame) -> None:
        """A frame was read: the connection is a good one, or told not to come back so soon."""
        if isinstance(frame, Goodbye):
            self._hold(frame.retry_s)
        else:
            self._backoff.reset()

    def lost(self) -> None:
        """A connection broke: all clients of its server come back, but not in the same instant."""
        self._hold(None)
        self._cut()

    async def aclose(self) -> None:
        """Give all connections up."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        for socket in self._sockets:
            await socket.aclose()
        self._sockets.clear()

    async def _place(self, key: tuple[str, Filter]) -> Socket:
        while True:
            self._sockets = [socket for socket in self._sockets if not socket.ended]
            for socket in self._sockets:
                if socket.takes(key) and len(socket.keys) < PER_SOCKET:
                    socket.keys.add(key)
                    return socket
            if self._opening is None:
                self._opening = asyncio.create_task(self._connect())
                self._opening.add_done_callback(self._opened)
            await asyncio.shield(self._opening)

    async def turn(self) -> None:
        """Return when a connection may be opened, if one is needed."""
        if not any(socket.open for socket in self._sockets):
            await asyncio.sleep(max(0.0, self._not_before - asyncio.get_running_loop().time()))

    async def _connect(self) -> Socket:
        credentials = self._transport.credentials
        try:
            headers = await credentials.headers()
            token = credentials.token
            try:
                wire = await Wire.connect(self.url, headers, self._limits)
            except Unauthenticated:
                if await credentials.renew(token) is None:
                    raise
                headers = await credentials.headers()
                token = credentials.token
                wire = await Wire.connect(self.url, headers, self._limits)
        except (ConnectionLost, ProblemError) as error:
            self._hold(error.retry_after if isinstance(error, ProblemError) else None)
            raise
        return Socket(wire, credentials, token, self._limits, self._transport.counters)

    def _opened(self, opening: "asyncio.Task[Socket]") -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._sockets.append(opening.result())

    def _hold(self, asked_s: float | None) -> None:
        """The next connection no sooner than this: one wait for all who wait."""
        now = asyncio.get_running_loop().time()
        if self._not_before <= now:
            self._not_before = now + self._backoff.next_s(asked_s)
