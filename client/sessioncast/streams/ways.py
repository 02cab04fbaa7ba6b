"""How a client reaches its server's streams: which transport, and what is remembered of each."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote

from sessioncast.stats import Counters
from sessioncast.streams.frames import Frame
from sessioncast.streams.ladder import ORDER, Ladder, Why
from sessioncast.streams.pace import Pace
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.tracker import SnapshotWish
from sessioncast_shared.filters import Filter

if TYPE_CHECKING:  # they load the libraries
    from sessioncast.streams.sockets import Sockets
    from sessioncast.transport import Transport

TransportName = Literal["websocket", "sse", "poll"]
TransportWish = Literal["auto", "websocket", "sse", "poll"]

_ONE_CUT_S = 1.0
"""Streams that end within so long have ended by one and the same cut."""


class Stream(Protocol):
    """One connection, whatever its transport."""

    async def receive(self) -> list[Frame]:
        """The frames of the next read; raises ConnectionLost at the end."""

    async def aclose(self) -> None:
        """Give the connection up."""


class Ways(Protocol):
    """What a subscription needs to know of transports."""

    counters: Counters

    def order(self) -> Iterator[TransportName]:
        """What to try now, one after the other until one works."""

    def better(self, than: TransportName) -> TransportName | None:
        """What is to be tried while this one works; None: nothing yet."""

    def worked(self, transport: TransportName) -> None:
        """It has brought a frame."""

    def failed(self, transport: TransportName, why: Why) -> None:
        """It has not, while another one did; or it was cut off."""

    async def turn(self, transport: TransportName) -> None:
        """Return when it may be opened: what all subscriptions of a client share is not asked for by each."""

    async def open(self, transport: TransportName, position: str | None, wish: SnapshotWish) -> Stream:
        """A stream that resumes from a position; its first frame is not read yet."""


class Remembered:
    """What one client remembers for all its subscriptions."""

    def __init__(self, transport: "Transport") -> None:
        self.transport = transport
        self.ladder = Ladder()
        self._sockets: Sockets | None = None
        self._cut_at: dict[str, float] = {}

    @property
    def sockets(self) -> "Sockets":
        """Its WebSockets; the library is loaded with the first."""
        if self._sockets is None:
            from sessioncast.streams.sockets import Sockets  # noqa: PLC0415  only what is used is loaded

            self._sockets = Sockets(self.transport, cut=lambda: self.failed("websocket", "cut"))
        return self._sockets

    async def aclose(self) -> None:
        """Close what is open."""
        if self._sockets is not None:
            await self._sockets.aclose()

    def failed(self, transport: TransportName, why: Why, project: str = "") -> None:
        """A transport did not work; what several streams suffer at once counts once."""
        now = asyncio.get_running_loop().time()
        if why == "cut":
            if now - self._cut_at.get(transport, -_ONE_CUT_S) < _ONE_CUT_S:
                return
            self._cut_at[transport] = now
        self.ladder.failed(transport, why, now, project=project)


class ServerWays:
    """The ways of one subscription to a real server."""

    def __init__(
        self, remembered: Remembered, project: str, wanted: Filter, wish: TransportWish, statuses: Statuses
    ) -> None:
        if wish not in ("auto", *ORDER):
            raise ValueError(f"no transport: {str(wish)[:40]!r}; one of auto, {', '.join(ORDER)}")
        self.counters = remembered.transport.counters
        self._remembered = remembered
        self._project = project
        self._wanted = wanted
        self._fixed: TransportName | None = None if wish == "auto" else wish
        self._statuses = statuses
        self._pace = Pace(only_sessions=bool(wanted.sessions) and not (wanted.tasks or wanted.threads))

    @property
    def path(self) -> str:
        """Of the subscription's events."""
        return f"/v1/projects/{quote(self._project, safe='')}/events"

    def order(self) -> Iterator[TransportName]:
        """The one that was wished for, or all that are not set aside."""
        if self._fixed is not None:
            return iter((self._fixed,))
        return iter(self._remembered.ladder.order(_now(), project=self._project))

    def better(self, than: TransportName) -> TransportName | None:
        """The best, if it is above this one."""
        if self._fixed is not None:
            return None
        best = self._remembered.ladder.best(_now(), project=self._project)
        return best if ORDER.index(best) < ORDER.index(than) else None

    def worked(self, transport: TransportName) -> None:
        """See `Ways`."""
        self._remembered.ladder.worked(transport, _now())

    def failed(self, transport: TransportName, why: Why) -> None:
        """See `Ways`. Cuts of the shared WebSocket are seen where it is."""
        if not (transport == "websocket" and why == "cut"):
            self._remembered.failed(transport, why, self._project)

    async def turn(self, transport: TransportName) -> None:
        """See `Ways`."""
        if transport == "websocket":
            await self._remembered.sockets.turn()

    async def open(self, transport: TransportName, position: str | None, wish: SnapshotWish) -> Stream:
        """See `Ways`."""
        if transport == "websocket":
            return await self._remembered.sockets.open(self._project, self._wanted, position=position, snapshot=wish)
        if transport == "sse":
            from sessioncast.streams.eventstream import open_sse  # noqa: PLC0415  only what is used is loaded

            return await open_sse(self._remembered.transport, self.path, self._wanted, position=position, snapshot=wish)
        from sessioncast.streams.pollstream import PollStream  # noqa: PLC0415  the same

        return PollStream(
            self._remembered.transport,
            self.path,
            self._wanted,
            position=position,
            snapshot=wish,
            pace=self._pace,
            statuses=self._statuses,
            push=self._push,
            look_again_s=self._look_again_s,
        )

    def _push(self, on: bool) -> None:
        self._remembered.ladder.push(on, _now(), project=self._project)

    def _look_again_s(self) -> float | None:
        """Until something better than polling is to be tried; None: not by itself."""
        if self._fixed is not None:
            return None
        if self.better("poll") is not None:
            return 0.0
        at = self._remembered.ladder.climb_at(_now(), project=self._project)
        return None if at is None else max(0.0, at - _now())


def _now() -> float:
    return asyncio.get_running_loop().time()
