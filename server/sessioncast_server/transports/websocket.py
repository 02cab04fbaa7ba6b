"""WebSockets by Starlette: the portable lane, and the endpoint of both."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from sessioncast_server.auth.principal import Principal
from sessioncast_server.channels.framing import Framing, Opening
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.channels.wheel import Wheel
from sessioncast_server.problems import Problem
from sessioncast_server.transports.admission import Admission, Ticket, TooManyError, address_of
from sessioncast_server.transports.conversation import Conversation, WebSocketParts, farewell, problem_to_tell
from sessioncast_server.transports.cut import cut
from sessioncast_server.transports.fastlane import offer_of
from sessioncast_server.transports.push import PUSH_DISABLED
from sessioncast_server.transports.sse import opening_fields
from sessioncast_server.transports.wsframes import WebSocketFraming, closing, frame, goodbye
from sessioncast_server.transports.wsstream import WebSocketStream
from sessioncast_shared.codes import Close, Code

_log = structlog.get_logger(__name__)

_REPLIES_MAX = 64  # answers that may wait for the client; then it is not read from until it reads

_PORTION = 128  # connections that are looked after in one turn of the loop


class _Sink:
    """One subscription's way out: at most one frame of it waits for the connection, but for those that open it."""

    full = False

    def __init__(self, connection: "Connection", key: str, ref: Any) -> None:
        self._connection = connection
        self._key = key
        self._ref = ref
        self._opened = False
        self.subscriber: Subscriber | None = None

    def opening(self, opening: Opening) -> bytes:
        return frame("subscribed", ref=self._ref, key=self._key, **opening_fields(opening))

    def feed(self, data: bytes) -> bool:
        self._opened = True
        self._connection.queue(data, self)
        return False

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        for part in parts[:-1]:
            self._connection.reply(part)
        return self.feed(parts[-1])

    def stalled_since(self) -> float:
        return 0.0  # Starlette says nothing of a frame that is on its way

    def end(self, reason: str) -> None:
        if reason == PUSH_DISABLED:
            self._connection.reply(farewell(self._key, self._ref, opened=self._opened))
        else:
            self._connection.end(reason)


class Connection:
    """One WebSocket: what waits to be sent, and who is fed by it.

    Bounds: one frame per subscription and `_REPLIES_MAX` answers wait; a client that reads nothing is not read
    from either, and is cut off at the send deadline.
    """

    def __init__(self, websocket: WebSocket, parts: WebSocketParts) -> None:
        self._websocket = websocket
        self._parts = parts
        self._conversation: Conversation | None = None
        self._outbox: deque[tuple[bytes, _Sink | None]] = deque()
        self._replies = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ending: str | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self, ticket: Ticket, principal: Principal | None) -> None:
        """Serve an accepted connection until one side closes it."""
        conversation = self._conversation = Conversation(self._parts, self, ticket, principal)
        self._tasks = [asyncio.create_task(self._read(conversation)), asyncio.create_task(self._write())]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._tidy(conversation)

    async def turn_away(self, refusal: Problem) -> None:
        """Close an accepted connection that is not to be served, by a code that a browser can see."""
        with contextlib.suppress(TimeoutError, WebSocketDisconnect):
            if refusal.status == 401:
                await self._close(Close.UNAUTHENTICATED, "the token is not accepted")
            elif refusal.status >= 500:
                await self._say_goodbye("overloaded")
            elif refusal.status == 429:
                await self._close(Close.TOO_MANY, refusal.detail[:100])
            else:
                await self._close(Close.BAD_REQUEST, refusal.detail[:100])

    def end(self, reason: str) -> None:
        """Say goodbye and close; the first reason counts. What waits is sent before, nothing more is queued."""
        if self._ending is None:
            self._ending = reason
            self._wake.set()
            if self._conversation is not None:
                self._conversation.over()

    def queue(self, data: bytes, sink: _Sink | None) -> None:
        """Send a frame, after those that wait; its sink is told when it was sent."""
        self._outbox.append((data, sink))
        self._wake.set()

    def reply(self, data: bytes) -> None:
        """Send an answer."""
        self._replies += 1
        if self._replies >= _REPLIES_MAX:
            self._room.clear()
        self.queue(data, None)

    def sink(self, key: str, ref: Any) -> tuple[_Sink, Framing]:
        """A subscription's way out, and its words."""
        return _Sink(self, key, ref), WebSocketFraming(key)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                data, sink = self._outbox.popleft()
                await self._send(data)
                if sink is None:
                    self._replies -= 1
                    self._room.set()
                elif sink.subscriber is not None:
                    sink.subscriber.drained()
            if self._ending is not None:
                await self._say_goodbye(self._ending)
                return

    async def _send(self, data: bytes) -> None:
        """Send a frame; raises TimeoutError when the client does not read for so long that it is to be cut off."""
        async with asyncio.timeout(self._parts.terms.deadline_s):
            await self._websocket.send_text(data.decode())

    async def _say_goodbye(self, reason: str) -> None:
        await self._send(goodbye(reason, self._parts.terms.retry_ms))
        await self._close(closing(reason), reason)

    async def _read(self, conversation: Conversation) -> None:
        deadline = asyncio.get_running_loop().time() + self._parts.limits.auth_timeout_s
        while True:
            try:
                # The clock runs until it has said who it is, however much else it says.
                async with asyncio.timeout_at(deadline if conversation.principal is None else None):
                    await self._room.wait()
                    message = await self._websocket.receive()
            except TimeoutError:
                await self._close(Close.UNAUTHENTICATED, "no auth frame came in time")
                return
            if message["type"] == "websocket.disconnect":
                return
            await conversation.hear(message.get("text"))

    async def _close(self, code: Close, reason: str) -> None:
        """Close; a client that reads nothing would keep even that waiting, and raises TimeoutError."""
        async with asyncio.timeout(self._parts.terms.deadline_s):
            await self._websocket.close(code, reason)

    async def _tidy(self, conversation: Conversation) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, TimeoutError):
                cut(self._websocket.scope)
            elif isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | RuntimeError):
                _log.error("a connection failed", exc_info=outcome)
        conversation.over()


class WebSocketApi:
    """The WebSocket endpoint and the connections it has."""

    def __init__(self, parts: WebSocketParts, admission: Admission) -> None:
        self._parts = parts
        self._admission = admission
        self._connections: set[Connection] = set()
        self._wheel: Wheel[WebSocketStream] = Wheel(min(1.0, parts.limits.ping_s / 4))

    async def endpoint(self, websocket: WebSocket) -> None:
        """Serve a WebSocket. On the fast lane this ends as soon as the connection was taken over."""
        websocket.scope.setdefault("state", {})["template"] = "/v1/ws"
        principal, refusal = await self._look_at_headers(websocket)
        if refusal is None:
            try:
                ticket = self._take(websocket, principal)
            except TooManyError as error:
                refusal = _too_many(error)
        if refusal is not None:
            await websocket.accept()
            await Connection(websocket, self._parts).turn_away(refusal)
            return
        try:
            await self._serve(websocket, ticket, principal)
        except BaseException:
            ticket.release()
            raise

    async def _serve(self, websocket: WebSocket, ticket: Ticket, principal: Principal | None) -> None:
        try:
            await self._admission.enter()
        except TooManyError as error:
            ticket.release()
            await websocket.accept()
            await Connection(websocket, self._parts).turn_away(_too_many(error))
            return
        await websocket.accept()
        offer = offer_of(websocket.scope)
        if offer is not None:
            make = partial(WebSocketStream, parts=self._parts, wheel=self._wheel, ticket=ticket, principal=principal)
            stream: WebSocketStream = offer.detach(make)
            stream.start()
            return
        connection = Connection(websocket, self._parts)
        self._connections.add(connection)
        try:
            await connection.serve(ticket, principal)
        finally:
            self._connections.discard(connection)

    async def _look_at_headers(self, websocket: WebSocket) -> tuple[Principal | None, Problem | None]:
        """Whom the headers name; a problem if they cannot be, neither where they say nothing."""
        headers, authenticator = websocket.headers, self._parts.authenticator
        if "authorization" not in headers and not authenticator.open_mode:
            return None, None
        try:
            return await authenticator.of_headers(headers), None
        except Exception as error:  # noqa: BLE001  whatever it was becomes a close
            return None, problem_to_tell(error)

    def _take(self, websocket: WebSocket, principal: Principal | None) -> Ticket:
        # Who has not said its name yet counts for its address alone; a name cannot be empty.
        return self._admission.take(
            "" if principal is None else principal.sub, address_of(websocket.scope.get("client"))
        )

    async def look_after(self) -> None:
        """Ping the connections of the fast lane, and end those that are deaf or dumb; for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._wheel.resolution_s)
            for count, stream in enumerate(self._wheel.due(loop.time()), 1):
                stream.tick()
                if count % _PORTION == 0:
                    await asyncio.sleep(0)

    async def drain(self) -> None:
        """Say goodbye to everybody."""
        for connection in list(self._connections):
            connection.end("draining")
        for count, stream in enumerate(self._wheel.items(), 1):
            stream.end("draining")
            if count % _PORTION == 0:
                await asyncio.sleep(0)


def _too_many(error: TooManyError) -> Problem:
    return Problem(429, Code.TOO_MANY, f"There are as many streams as this {error.which} may have.")
