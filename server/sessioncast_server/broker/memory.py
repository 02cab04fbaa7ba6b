"""The broker of a single process, and the public double of the others."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec

from sessioncast_server.broker.base import Announcement, Listener, Whisper

P = ParamSpec("P")


class MemoryBus:
    """Joins the brokers of several nodes in one process and one event loop."""

    def __init__(self) -> None:
        self._brokers: list[MemoryBroker] = []

    def join(self, broker: "MemoryBroker") -> None:
        """Let a broker hear the others."""
        self._brokers.append(broker)

    def leave(self, broker: "MemoryBroker") -> None:
        """Let it hear them no more."""
        if broker in self._brokers:
            self._brokers.remove(broker)

    def others(self, broker: "MemoryBroker") -> "list[MemoryBroker]":
        """Every broker but this one."""
        return [other for other in self._brokers if other is not broker]


class MemoryBroker:
    """Carries announcements to the other brokers of its bus, on the next loop turn; alone, it has nobody to tell.

    The node that committed feeds its own hub, so nothing is called back for its own announcements and whispers.
    """

    def __init__(self, bus: MemoryBus | None = None) -> None:
        self._bus = MemoryBus() if bus is None else bus
        self._listener: Listener | None = None
        self._wanted: set[str] = set()

    async def start(self, listener: Listener) -> None:
        """Begin to carry."""
        self._listener = listener
        self._bus.join(self)
        for channel in self._wanted:
            self._soon(self._doubt, channel)

    def announce(self, announcement: Announcement) -> None:
        """Tell the other brokers of the bus."""
        if self._listener is None:
            return
        for other in self._bus.others(self):
            self._soon(other.deliver, announcement)

    def deliver(self, announcement: Announcement) -> None:
        """Take what another broker announced; for the bus."""
        if self._listener is not None and announcement.channel in self._wanted:
            self._listener.announced(announcement)

    def whisper(self, whisper: Whisper) -> None:
        """Say it to the other brokers of the bus."""
        if self._listener is None:
            return
        for other in self._bus.others(self):
            self._soon(other.overhear, whisper)

    def overhear(self, whisper: Whisper) -> None:
        """Take what another broker said; for the bus."""
        if self._listener is not None and whisper.channel in self._wanted:
            self._listener.whispered(whisper)

    def listen(self, channel: str) -> None:
        """Want this channel's announcements; `doubtful` is called on the next loop turn."""
        self._wanted.add(channel)
        if self._listener is not None:
            self._soon(self._doubt, channel)

    def unlisten(self, channel: str) -> None:
        """Want them no more."""
        self._wanted.discard(channel)

    def deaf_since(self) -> float | None:
        """Never deaf."""
        return None

    async def close(self) -> None:
        """Leave the bus. Nothing is called afterwards."""
        self._bus.leave(self)
        self._listener = None

    def _doubt(self, channel: str) -> None:
        if self._listener is not None and channel in self._wanted:
            self._listener.doubtful(channel)

    def _soon(self, call: Callable[P, None], *args: P.args, **_: P.kwargs) -> None:
        # Never at once: a listener must not be called from inside the call that it made.
        asyncio.get_running_loop().call_soon(call, *args)
