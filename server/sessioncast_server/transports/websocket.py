"""WebSockets by Starlette: many subscriptions on one connection."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from sessioncast_server.auth.principal import Principal, Scope
from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.hub import FullError, Hub
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import Problem, problem_of
from sessioncast_server.transports.cut import cut
from sessioncast_server.transports.sse import opening_fields
from sessioncast_server.transports.target import Targets, read_filter, read_wish
from sessioncast_server.transports.wsframes import (
    Auth,
    ClientFrame,
    Ping,
    Subscribe,
    Unsubscribe,
    WebSocketFraming,
    frame,
    read_frame,
    ref_of,
)
from sessioncast_shared.codes import Close, Code

_log = structlog.get_logger(__name__)

_REPLIES_MAX = 64  # answers that may wait for the client; then it is not read from until it reads


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """Bounds of a connection; see the settings of the same names."""

    frame_max_bytes: int = 65536
    auth_timeout_s: float = 10.0
    subscriptions_max: int = 100
    retry_ms: int = 1000


class _Sink:
    """One subscription's way out: at most one frame of it waits for the connection."""

    def __init__(self, connection: "Connection", key: str, ref: Any) -> None:
        self._connection = connection
        self._key = key
        self._ref = ref
        self.subscriber: Subscriber | None = None

    def opening(self, opening: Opening) -> bytes:
        return frame("subscribed", ref=self._ref, key=self._key, **opening_fields(opening))

    def feed(self, data: bytes) -> bool:
        self._connection.queue(data, self)
        return False

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        for part in parts[:-1]:
            self._connection.queue(part, None)
        return self.feed(parts[-1])

    def end(self, reason: str) -> None:
        self._connection.end(reason)


class Connection:
    """One WebSocket: what it may see, what it is subscribed to, and what waits to be sent.

    Bounds: one frame per subscription and `_REPLIES_MAX` answers wait; a client that reads nothing is not read
    from either, and is cut off at the send deadline.
    """

    def __init__(
        self, websocket: WebSocket, hub: Hub, targets: Targets, authenticator: Authenticator, *,
        metrics: Metrics, limits: WebSocketLimits,
    ) -> None:  # fmt: skip
        self._websocket = websocket
        self._hub = hub
        self._targets = targets
        self._authenticator = authenticator
        self._metrics = metrics
        self._limits = limits
        self._principal: Principal | None = None
        self._subscriptions: dict[str, Subscriber] = {}
        self._projects: dict[str, str] = {}
        self._outbox: deque[tuple[bytes, _Sink | None]] = deque()
        self._replies = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ending: str | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        """Serve the connection until one side closes it."""
        refusal = await self._look_at_headers()
        await self._websocket.accept()
        if refusal is not None:
            # Told in-band, as a code that a browser can see.
            with contextlib.suppress(TimeoutError, WebSocketDisconnect):
                await self._turn_away(refusal)
            return
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._tidy()

    async def _look_at_headers(self) -> Problem | None:
        """Admit whom the headers name; a problem if they cannot be, None also where they say nothing."""
        headers = self._websocket.headers
        if "authorization" not in headers and not self._authenticator.open_mode:
            return None
        try:
            self._admit(await self._authenticator.of_headers(headers))
        except Exception as error:  # noqa: BLE001  whatever it was becomes a close
            return _problem_of(error)
        return None

    async def _turn_away(self, refusal: Problem) -> None:
        if refusal.status == 401:
            await self._close(Close.UNAUTHENTICATED, "the token is not accepted")
        elif refusal.status >= 500:
            await self._say_goodbye("overloaded")
        else:
            await self._close(Close.BAD_REQUEST, refusal.detail[:100])

    def end(self, reason: str) -> None:
        """Say goodbye and close; the first reason counts. What waits is sent before, nothing more is queued."""
        if self._ending is None:
            self._ending = reason
            self._wake.set()
            self._leave_all()

    def queue(self, data: bytes, sink: _Sink | None) -> None:
        """Send a frame, after those that wait; its sink is told when it was sent."""
        self._outbox.append((data, sink))
        self._wake.set()

    def _reply(self, data: bytes) -> None:
        self._replies += 1
        if self._replies >= _REPLIES_MAX:
            self._room.clear()
        self.queue(data, None)

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
        async with asyncio.timeout(self._hub.send_deadline_s):
            await self._websocket.send_text(data.decode())

    async def _say_goodbye(self, reason: str) -> None:
        wait = self._limits.retry_ms + random.randrange(self._limits.retry_ms * 2)  # noqa: S311  spreads clients
        await self._send(frame("goodbye", retry_ms=wait, reason=reason))
        close = {"expired": Close.UNAUTHENTICATED, "too_slow": Close.TOO_SLOW, "overloaded": Close.TOO_MANY}
        await self._close(close.get(reason, Close.DRAINING), reason)

    async def _read(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.auth_timeout_s
        while True:
            try:
                # The clock runs until it has said who it is, however much else it says.
                async with asyncio.timeout_at(deadline if self._principal is None else None):
                    await self._room.wait()
                    message = await self._websocket.receive()
            except TimeoutError:
                await self._close(Close.UNAUTHENTICATED, "no auth frame came in time")
                return
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            try:
                await self._handle(read_frame(text, max_bytes=self._limits.frame_max_bytes))
            except Exception as error:  # noqa: BLE001  whatever it was becomes an error frame
                self._refuse(error, None if text is None else ref_of(text[: self._limits.frame_max_bytes]))

    def _refuse(self, error: Exception, ref: Any) -> None:
        problem = Problem(429, Code.TOO_MANY, "The server has its fill of streams.") if isinstance(
            error, FullError
        ) else _problem_of(error)  # fmt: skip
        self._reply(frame("error", code=problem.code, detail=problem.detail, ref=ref, **problem.fields))

    async def _handle(self, said: ClientFrame) -> None:
        match said:
            case Ping():
                self._reply(frame("pong", ref=said.ref))
            case Auth():
                await self._authenticate(said)
            case Subscribe():
                await self._subscribe(said)
            case Unsubscribe():
                self._unsubscribe(said)

    async def _authenticate(self, said: Auth) -> None:
        principal = await self._authenticator.of_token(said.token)
        if self._principal is not None and self._principal.sub != principal.sub:
            raise Problem(403, Code.FORBIDDEN, "The token belongs to another user than this connection.")
        self._admit(principal)
        self._reply(frame("authenticated", sub=principal.sub, ref=said.ref))
        for key, project in list(self._projects.items()):
            if not (principal.may_see(project) and principal.has(Scope.SESSIONS_READ)):
                self._subscriptions[key].leave()
                self._reply(frame("unsubscribed", key=key, reason="forbidden"))

    def _admit(self, principal: Principal) -> None:
        self._principal = principal
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if principal.expires_at is not None:
            seconds = max(0.0, principal.expires_at - time.time())
            self._expiry = asyncio.get_running_loop().call_later(seconds, self.end, "expired")

    async def _subscribe(self, said: Subscribe) -> None:
        if self._principal is None:
            raise Problem(401, Code.UNAUTHENTICATED, "Say who you are first, by an auth frame.")
        wishes = read_filter(
            tasks=said.filter.task, sessions=said.filter.session, threads=said.filter.thread, kinds=said.filter.kinds
        )
        key = f"{said.project}?{wishes.canonical()}"
        if key in self._subscriptions:
            raise Problem(400, Code.BAD_REQUEST, "This connection is subscribed to that already.", key=key)
        if len(self._subscriptions) >= self._limits.subscriptions_max:
            detail = f"A connection has at most {self._limits.subscriptions_max} subscriptions."
            raise Problem(429, Code.TOO_MANY, detail)
        wish = read_wish(said.position, said.snapshot)
        target = await self._targets.check(said.project, wishes, self._principal)
        sink = _Sink(self, key, said.ref)
        subscriber = await self._hub.join(target.channel, target.audience, WebSocketFraming(key), sink, wish)
        sink.subscriber = subscriber
        self._subscriptions[key] = subscriber
        self._projects[key] = said.project
        self._metrics.subscribers.labels("websocket").inc()
        subscriber.when_left = lambda: self._forget(key)

    def _unsubscribe(self, said: Unsubscribe) -> None:
        subscriber = self._subscriptions.get(said.key)
        if subscriber is None:
            raise Problem(404, Code.NOT_FOUND, "Not found.")
        subscriber.leave()
        self._reply(frame("unsubscribed", key=said.key, ref=said.ref))

    def _forget(self, key: str) -> None:
        self._metrics.subscribers.labels("websocket").dec()
        del self._subscriptions[key]
        del self._projects[key]

    def _leave_all(self) -> None:
        for subscriber in list(self._subscriptions.values()):
            subscriber.leave()

    async def _close(self, code: Close, reason: str) -> None:
        """Close; a client that reads nothing would keep even that waiting, and raises TimeoutError."""
        async with asyncio.timeout(self._hub.send_deadline_s):
            await self._websocket.close(code, reason)

    async def _tidy(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, TimeoutError):
                cut(self._websocket.scope)
            elif isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect | RuntimeError):
                _log.error("a connection failed", exc_info=outcome)
        self._leave_all()


def _problem_of(error: Exception) -> Problem:
    """The problem that stands for an exception; one that nobody foresaw is logged with its traceback."""
    problem = problem_of(error)
    if problem.code is Code.UNEXPECTED:
        _log.error("frame failed", code=problem.code, exc_info=error)
    elif problem.status >= 500:
        _log.warning("frame refused", code=problem.code, error=str(error))
    return problem


class WebSocketApi:
    """The WebSocket endpoint and the connections it has."""

    def __init__(self, connect: Callable[[WebSocket], Connection]) -> None:
        self._connect = connect
        self._connections: set[Connection] = set()

    async def endpoint(self, websocket: WebSocket) -> None:
        """Serve a WebSocket."""
        websocket.scope.setdefault("state", {})["template"] = "/v1/ws"
        connection = self._connect(websocket)
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def drain(self) -> None:
        """Say goodbye to everybody."""
        for connection in list(self._connections):
            connection.end("draining")
