"""Sends announcements and whispers to Redis without ever holding up who makes them."""

import asyncio
from collections import deque
from typing import NoReturn

import structlog

from sessioncast_server.broker.base import Announcement, Whisper
from sessioncast_server.broker.codec import encode, encode_whisper
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.wire import Command, Wire, WireError, Wires

_log = structlog.get_logger(__name__)


def redis_channel(project: str) -> str:
    """Name of a project's Pub/Sub channel; the hash tag keeps it in one slot of a cluster."""
    return f"sessioncast:{{{project}}}"


class Publisher:
    """A bounded queue, one task that empties it in pipelines, and a breaker.

    Nothing is published twice. After a failure all that waited is dropped, and so is what comes until Redis answers
    again: by then the other nodes have read the log, and a late announcement would only be thrown away by them.

    Whispers stand in the same queue, so that they arrive after what was announced before them. They may have half of
    it, and give it up when an announcement finds no room: none is lost for a whisper.
    """

    def __init__(self, wires: Wires, limits: RedisLimits, hooks: RedisHooks, node: str) -> None:
        self._wires = wires
        self._limits = limits
        self._hooks = hooks
        self._node = node
        self._queue: deque[Announcement | Whisper] = deque()
        self._whispers = 0
        self._queued_bytes = 0
        self._in_flight = 0
        self._whispers_in_flight = 0
        self._canary: Command | None = None
        self._waiting = asyncio.Event()
        self._broken = False
        self.online = asyncio.Event()

    def offer(self, announcement: Announcement) -> None:
        """Queue an announcement, or drop and count it."""
        if self._broken:
            self._hooks.dropped("breaker", 1)
            return
        size = _size(announcement)
        if self._whispers and not self._has_room(size):
            self._hush()
        if not self._has_room(size):
            self._hooks.dropped("full", 1)
            return
        self._queue.append(announcement)
        self._queued_bytes += size
        self._waiting.set()

    def whisper(self, whisper: Whisper) -> None:
        """Queue a whisper, or drop and count it."""
        size = len(whisper.body)
        if self._broken:
            self._hooks.hushed("breaker", 1)
        elif size > self._limits.announce_max_bytes:
            self._hooks.hushed("large", 1)
        elif not self._has_room(size, share=2):
            self._hooks.hushed("full", 1)
        else:
            self._queue.append(whisper)
            self._whispers += 1
            self._queued_bytes += size
            self._waiting.set()

    def _has_room(self, size: int, *, share: int = 1) -> bool:
        """Whether one more fits into the queue, or into such a part of it."""
        limits = self._limits
        return (
            len(self._queue) < limits.queue_announcements // share
            and self._queued_bytes + size <= limits.queue_bytes // share
        )

    def _hush(self) -> None:
        """Drop all whispers that wait."""
        self._hooks.hushed("full", self._whispers)
        self._queue = deque(each for each in self._queue if isinstance(each, Announcement))
        self._queued_bytes = sum(map(_size, self._queue))
        self._whispers = 0

    def send_canary(self, channel: str, payload: bytes) -> None:
        """Send this with the next pipeline, before all that waits; only while online."""
        self._canary = ("PUBLISH", channel, payload)
        self._waiting.set()

    async def run(self) -> NoReturn:
        """Publish until cancelled, whatever happens."""
        while True:
            try:
                async with self._wires.open(f"sessioncast-publisher-{self._node}") as wire:
                    # A greeted connection is the probe that closes the breaker.
                    self._mend()
                    while True:
                        await self._publish(wire, await self._next())
            except Exception as error:  # noqa: BLE001  this task must outlive any fault: without it the node is mute
                self._break(error)
            await asyncio.sleep(self._limits.breaker_s)

    async def _next(self) -> list[Command]:
        try:
            async with asyncio.timeout(self._limits.ping_s):
                await self._waiting.wait()
        except TimeoutError:
            # Nobody reads while there is nothing to publish, so without this a connection that died in the meantime
            # would be found out by the first announcement, and would cost it.
            return [("PING",)]
        return self._take()

    async def _publish(self, wire: Wire, commands: list[Command]) -> None:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await wire.send(commands)
                replies = 0
                while replies < len(commands):
                    replies += len(await wire.receive())
        except TimeoutError as error:
            raise WireError("late") from error
        if replies > len(commands):
            raise WireError("receive", "more replies than commands")
        if self._in_flight:
            self._hooks.published(self._in_flight)
        self._in_flight = self._whispers_in_flight = 0

    def _take(self) -> list[Command]:
        commands: list[Command] = []
        if self._canary is not None:
            commands.append(self._canary)
            self._canary = None
        size = 0
        while self._queue and size < self._limits.batch_bytes:
            each = self._queue.popleft()
            self._queued_bytes -= _size(each)
            if isinstance(each, Announcement):
                self._in_flight += 1
                payload = encode(each, max_bytes=self._limits.announce_max_bytes)
            else:
                self._whispers -= 1
                self._whispers_in_flight += 1
                payload = encode_whisper(each, node=self._node)
            commands.append(("PUBLISH", redis_channel(each.channel), payload))
            size += len(payload)
        if not self._queue:
            self._waiting.clear()
        return commands

    def _break(self, error: Exception) -> None:
        dropped = self._in_flight + len(self._queue) - self._whispers
        hushed = self._whispers_in_flight + self._whispers
        self._in_flight = self._whispers_in_flight = self._whispers = 0
        self._queue.clear()
        self._queued_bytes = 0
        self._canary = None
        self._waiting.clear()
        if dropped:
            self._hooks.dropped("failed", dropped)
        if hushed:
            self._hooks.hushed("failed", hushed)
        if isinstance(error, WireError):
            self._hooks.lost("publisher", error.reason)
        else:
            self._hooks.lost("publisher", "bug")
            _log.error("the publisher failed", exc_info=error)
        if not self._broken:
            _log.warning("redis does not take announcements; they are dropped", error=str(error))
        self._broken = True
        self.online.clear()

    def _mend(self) -> None:
        if self._broken:
            _log.info("redis takes announcements again")
        self._broken = False
        self.online.set()


def _size(each: Announcement | Whisper) -> int:
    return sum(map(len, each.bodies)) if isinstance(each, Announcement) else len(each.body)
