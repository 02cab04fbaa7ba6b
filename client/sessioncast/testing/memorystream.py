"""Streams of a double: frames from a project in memory."""

import asyncio
from collections.abc import Callable, Iterator

from sessioncast.errors import ConnectionLost
from sessioncast.limits import Limits
from sessioncast.lost import Silent
from sessioncast.stats import Counters
from sessioncast.streams.frames import Events, Frame, Moved, Ready, ResyncNotice, SnapshotPage
from sessioncast.streams.ladder import Why
from sessioncast.streams.tracker import SnapshotWish
from sessioncast.streams.ways import TransportName
from sessioncast.testing.channel import Channel
from sessioncast_shared.filters import Filter

_URL = "memory://sessioncast"


class MemoryStream:
    """One connection: what it was opened with first, then what happens, as it happens.

    Attributes:
        silent: nothing comes any more.
        closed: its reader has left.
    """

    def __init__(self, channel: Channel, wanted: Filter, limits: Limits, *, position: str | None, wish: str) -> None:
        self.channel = channel
        self.silent = False
        self.closed = False
        self._wanted = wanted
        self._limits = limits
        self._wish = wish
        self._frames = self._first(position)
        self._told = channel.position
        self._lost = False
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something has happened; from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def cut(self) -> None:
        """It breaks."""
        self._lost = True
        self.wake()

    def resync(self, reason: str) -> None:
        """It goes on from a snapshot."""
        self._frames += [ResyncNotice(reason), *self._snapshot()]
        self._told = self.channel.position
        self.wake()

    async def receive(self) -> list[Frame]:
        """What came since the last call; waits for it.

        Raises:
            ConnectionLost: it was cut.
            Silent: nothing came for `Limits.idle_s`.
        """
        while True:
            self._news.clear()
            frames = [] if self.silent else self._next()
            if frames:
                return frames
            if self._lost:
                raise ConnectionLost(_URL, "it was cut")
            try:
                async with asyncio.timeout(self._limits.idle_s * (1 if self.silent else 0.5)):
                    await self._news.wait()
            except TimeoutError:
                if self.silent:
                    raise Silent(_URL, "nothing was heard") from None
                return [Moved(self._told)]  # a heartbeat

    async def aclose(self) -> None:
        """Its reader leaves."""
        self.closed = True

    def _next(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        if not self._lost and self._told != self.channel.position:
            events = self.channel.since(self._told, self._wanted)
            self._told = self.channel.position
            frames += [Events(events)] if events else [Moved(self._told)]
        return frames

    def _first(self, position: str | None) -> list[Frame]:
        here = self.channel.position
        if position is None or self._wish == "always":
            return [Ready("snapshot", None, None, None, here), *self._snapshot()]
        reason = self.channel.gap(position)
        if reason is not None:
            return [Ready("gap", reason, position, here, here), *self._snapshot()]
        events = self.channel.since(position, self._wanted)
        replay: list[Frame] = [Events(events)] if events else []
        return [Ready("resumed", None, position, here, position), *replay, Moved(here)]

    def _snapshot(self) -> list[Frame]:
        if self._wish == "never":
            return []
        return [SnapshotPage(self.channel.resources(self._wanted), self.channel.position, more=False)]


class MemoryWays:
    """One way, which always works."""

    def __init__(
        self, counters: Counters, transport: TransportName, opened: Callable[[str | None, str], MemoryStream]
    ) -> None:
        self.counters = counters
        self._transport: TransportName = transport
        self._opened = opened

    def order(self) -> Iterator[TransportName]:
        """See `Ways`."""
        return iter((self._transport,))

    def better(self, than: TransportName) -> TransportName | None:  # noqa: ARG002  there is but one
        """See `Ways`."""
        return None

    def worked(self, transport: TransportName) -> None:
        """See `Ways`."""

    def failed(self, transport: TransportName, why: Why) -> None:
        """See `Ways`."""

    async def turn(self, transport: TransportName) -> None:
        """See `Ways`: nobody has to wait."""

    async def open(self, transport: TransportName, position: str | None, wish: SnapshotWish) -> MemoryStream:  # noqa: ARG002  the same
        """See `Ways`."""
        return self._opened(position, wish)
