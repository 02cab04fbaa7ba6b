"""What is said on one WebSocket, whatever carries it: who it is, what it may see, what it is subscribed to."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from sessioncast_server.auth.principal import Principal, Scope
from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.channels.framing import Framing, Sink
from sessioncast_server.channels.hub import FullError, Hub
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import Problem, problem_of
from sessioncast_server.transports.admission import Ticket, TooManyError
from sessioncast_server.transports.outlet import OutletTerms
from sessioncast_server.transports.push import PUSH_DISABLED, Push, push_disabled
from sessioncast_server.transports.target import Targets, read_filter, read_wish
from sessioncast_server.transports.wsframes import (
    Auth,
    ClientFrame,
    Ping,
    Subscribe,
    Unsubscribe,
    frame,
    read_frame,
    ref_of,
    refusal,
)
from sessioncast_shared.codes import Code

_log = structlog.get_logger(__name__)

_FULL = Problem(429, Code.TOO_MANY, "The server has its fill of streams.")


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """Bounds of a connection; see the settings of the same names."""

    frame_max_bytes: int = 65536
    auth_timeout_s: float = 10.0
    subscriptions_max: int = 100
    ping_s: float = 20.0


@dataclass(frozen=True, slots=True)
class WebSocketParts:
    """What all conversations of a node work with."""

    hub: Hub
    targets: Targets
    authenticator: Authenticator
    metrics: Metrics
    limits: WebSocketLimits
    terms: OutletTerms
    push: Push


class SubscriptionSink(Sink, Protocol):
    """One subscription's way out of a connection.

    Attributes:
        subscriber: who is fed by it.
    """

    subscriber: Subscriber | None


class Line(Protocol):
    """The connection that a conversation is held over."""

    def reply(self, data: bytes) -> None:
        """Send an answer, after what was sent before."""

    def sink(self, key: str, ref: Any) -> tuple[SubscriptionSink, Framing]:
        """A way out for a subscription, and the words for it."""

    def end(self, reason: str) -> None:
        """Say goodbye, then close."""


class Conversation:
    """One client's.

    Attributes:
        principal: who it is, None before it has said so.
    """

    __slots__ = ("_expiry", "_is_over", "_line", "_parts", "_subscriptions", "_ticket", "principal")

    def __init__(self, parts: WebSocketParts, line: Line, ticket: Ticket, principal: Principal | None) -> None:
        self._parts = parts
        self._line = line
        self._ticket = ticket
        self._subscriptions: dict[str, Subscriber] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._is_over = False
        self.principal: Principal | None = None
        if principal is not None:
            self._admit(principal)

    @property
    def subscribers(self) -> list[Subscriber]:
        """Its subscriptions."""
        return list(self._subscriptions.values())

    async def hear(self, text: str | None) -> None:
        """Take a frame, None for a binary one; whatever is wrong with it becomes an error frame."""
        most = self._parts.limits.frame_max_bytes
        try:
            await self._handle(read_frame(text, max_bytes=most))
        except Exception as error:  # noqa: BLE001  whatever it was becomes an error frame
            self._refuse(error, None if text is None else ref_of(text[:most]))

    def over(self) -> None:
        """The connection is gone, or is to go. Harmless when repeated."""
        self._is_over = True
        self._ticket.release()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for subscriber in self.subscribers:
            subscriber.leave()

    def _refuse(self, error: Exception, ref: Any) -> None:
        problem = problem_to_tell(_FULL if isinstance(error, FullError | TooManyError) else error)
        self._line.reply(refusal(problem, ref))

    async def _handle(self, said: ClientFrame) -> None:
        match said:
            case Ping():
                self._line.reply(frame("pong", ref=said.ref))
            case Auth():
                await self._authenticate(said)
            case Subscribe():
                await self._subscribe(said)
            case Unsubscribe():
                self._unsubscribe(said)

    async def _authenticate(self, said: Auth) -> None:
        principal = await self._parts.authenticator.of_token(said.token)
        if self.principal is not None and self.principal.sub != principal.sub:
            raise Problem(403, Code.FORBIDDEN, "The token belongs to another user than this connection.")
        try:
            self._ticket.claim(principal.sub)
        except TooManyError:
            self._line.end("overloaded")
            return
        self._admit(principal)
        self._line.reply(frame("authenticated", sub=principal.sub, ref=said.ref))
        for key, subscriber in list(self._subscriptions.items()):
            covered = principal.may_see(subscriber.channel.name) and principal.has(Scope.SESSIONS_READ)
            if not covered or (subscriber.group.audience.reads_all and not principal.has(Scope.THREADS_READ_ALL)):
                subscriber.leave()
                self._line.reply(frame("unsubscribed", key=key, reason="forbidden"))

    def _admit(self, principal: Principal) -> None:
        self.principal = principal
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if principal.expires_at is not None:
            seconds = max(0.0, principal.expires_at - time.time())
            self._expiry = asyncio.get_running_loop().call_later(seconds, self._line.end, "expired")

    async def _subscribe(self, said: Subscribe) -> None:
        if self.principal is None:
            raise Problem(401, Code.UNAUTHENTICATED, "Say who you are first, by an auth frame.")
        wishes = read_filter(
            tasks=said.filter.task, sessions=said.filter.session, threads=said.filter.thread, kinds=said.filter.kinds
        )
        key = f"{said.project}?{wishes.canonical()}"
        if key in self._subscriptions:
            raise Problem(400, Code.BAD_REQUEST, "This connection is subscribed to that already.", key=key)
        most = self._parts.limits.subscriptions_max
        if len(self._subscriptions) >= most:
            raise Problem(429, Code.TOO_MANY, f"A connection has at most {most} subscriptions.")
        wish = read_wish(said.position, said.snapshot)
        # The first subscription is what the connection's own place is for; each more is a stream more.
        ticket = self._ticket.another() if self._subscriptions else None
        try:
            target = await self._parts.targets.check(said.project, wishes, self.principal)
            self._parts.push.require(target.channel)
            sink, framing = self._line.sink(key, said.ref)
            subscriber = await self._parts.hub.join(target.channel, target.audience, framing, sink, wish)
        except BaseException:
            if ticket is not None:
                ticket.release()
            raise
        if not self._is_over:
            sink.subscriber = subscriber
            self._subscriptions[key] = subscriber
            self._parts.metrics.subscribers.labels("websocket").inc()
            subscriber.when_left = _Leaving(self, key, ticket)
            if not self._parts.push.on(target.channel):
                subscriber.end(PUSH_DISABLED)  # switched off while this one was opened: nobody else would end it
            return
        # Nobody would let go of it: the others were let go of while this one was opened.
        subscriber.leave()
        if ticket is not None:
            ticket.release()

    def forget(self, key: str) -> None:
        """A subscription is over."""
        self._parts.metrics.subscribers.labels("websocket").dec()
        del self._subscriptions[key]

    def _unsubscribe(self, said: Unsubscribe) -> None:
        subscriber = self._subscriptions.get(said.key)
        if subscriber is None:
            raise Problem(404, Code.NOT_FOUND, "Not found.")
        subscriber.leave()
        self._line.reply(frame("unsubscribed", key=said.key, ref=said.ref))


class _Leaving:
    """Called when a subscription is over. There is one of each, so it is a small object."""

    __slots__ = ("_conversation", "_key", "_ticket")

    def __init__(self, conversation: Conversation, key: str, ticket: Ticket | None) -> None:
        self._conversation = conversation
        self._key = key
        self._ticket = ticket

    def __call__(self) -> None:
        self._conversation.forget(self._key)
        if self._ticket is not None:
            self._ticket.release()


def farewell(key: str, ref: Any, *, opened: bool) -> bytes:
    """The frame for a subscription that is ended because push was switched off; the connection goes on.

    Who was not answered yet is refused: it may not know the key.
    """
    if opened:
        return frame("unsubscribed", key=key, reason=PUSH_DISABLED)
    return refusal(push_disabled(), ref)


def problem_to_tell(error: Exception) -> Problem:
    """The problem that stands for an exception; one that nobody foresaw is logged with its traceback."""
    problem = problem_of(error)
    if problem.code is Code.UNEXPECTED:
        _log.error("frame failed", code=problem.code, exc_info=error)
    elif problem.status >= 500:
        _log.warning("frame refused", code=problem.code, error=str(error))
    return problem
