"""Keeps the channels of a node up with their logs, whatever they were told and not told.

The log is the truth and announcements are hints: heads of open channels are read about once a second, and the log of
those that are behind.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping

import structlog

from sessioncast_server.channels import life
from sessioncast_server.channels.audience import EVERYBODY
from sessioncast_server.channels.channel import Channel, ChannelLimits
from sessioncast_server.channels.counters import Counters
from sessioncast_server.channels.log import Head, Log, Stretch, head_of, heads_of
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx

_log = structlog.get_logger(__name__)

Spawn = Callable[[Coroutine[None, None, None]], "asyncio.Task[None]"]


class Tail:
    """Reads heads and logs for channels.

    Args:
        channels: those of the node, by name; the hub adds and removes them.
        head_slice: heads in one query.
        spawn: runs a coroutine as a task of the hub.
        catch_up: starts an attendant for a subscriber that lost its place.
    """

    def __init__(
        self,
        database: Database,
        log: Log,
        channels: Mapping[str, Channel],
        *,
        limits: ChannelLimits,
        head_slice: int,
        count: Counters,
        spawn: Spawn,
        catch_up: Callable[[Subscriber], None],
    ) -> None:
        self._database = database
        self._log_table = log
        self._channels = channels
        self._limits = limits
        self._head_slice = head_slice
        self._count = count
        self._spawn = spawn
        self._catch_up = catch_up
        self._doubted: set[str] = set()

    def doubt(self, name: str | None) -> None:
        """Announcements of one channel, or of all, may have been missed: look at their heads.

        After a reconnect every channel is doubted by itself and all of them together: they are looked at once.
        """
        if not self._doubted:
            asyncio.get_running_loop().call_soon(self._look_at_doubted)
        self._doubted.update(self._channels if name is None else [name])

    def _look_at_doubted(self) -> None:
        names, self._doubted = self._doubted, set()
        opened: list[str] = []
        for name in names:
            channel = self._channels.get(name)
            if channel is not None and channel.opened.is_set():
                opened.append(name)
            elif channel is not None:
                # Its head is being read, perhaps from before announcements flowed: read on once that is done.
                channel.read_again = True
        if opened:
            self._spawn(self._check(opened, patient=False))

    async def check_heads(self) -> None:
        """Read the heads of open channels, in slices, and the log of those that are behind."""
        await self._check([name for name, channel in self._channels.items() if channel.opened.is_set()], patient=True)

    async def _check(self, names: list[str], *, patient: bool) -> None:
        furthest = 0
        for start in range(0, len(names), self._head_slice):
            part = names[start : start + self._head_slice]
            # What was known before the question: a head below it can only mean that the log went back.
            known = {name: self._channels[name].head for name in part if name in self._channels}
            heads = await self._database.observe(heads_of, list(known))
            for name in known.keys() - heads.keys():
                self._vanished(name)
            for name, (epoch, offset) in heads.items():
                channel = self._channels.get(name)
                if channel is None:
                    continue
                if epoch == known[name].epoch and offset < known[name].offset:
                    await self._rotate(channel, epoch)
                    self.read(channel)
                elif epoch != channel.epoch or channel.unsure:
                    self.read(channel)
                elif offset > channel.last:
                    furthest = max(furthest, offset - channel.last)
                    if patient:
                        self._later(channel, offset)
                    else:
                        self._count.hole(offset - channel.last, healed=False)
                        self.read(channel)
        self._count.lag(furthest)

    def _vanished(self, name: str) -> None:
        """The log went back to before the channel was made: who comes back is told that there is none."""
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.unsure = True
        for subscriber in list(channel.subscribers):
            subscriber.end("overloaded")

    def read(self, channel: Channel) -> "asyncio.Task[None]":
        """Read on from what a channel has. A call while a read is under way gets one that starts after it."""
        if channel.reader is None or channel.reader.done():
            channel.reader = self._spawn(self._read_guarded(channel))
        else:
            channel.read_again = True
        return channel.reader

    async def _read_guarded(self, channel: Channel) -> None:
        again = True
        while again:
            channel.read_again = False
            await self._read_on(channel)
            again = channel.read_again
        channel.settle()

    async def _read_on(self, channel: Channel) -> None:
        while True:
            known = channel.head if channel.opened.is_set() else None
            head, stretch = await self._database.observe(
                self._read_page, channel.name, None if known is None else known.offset
            )
            if known is None:
                channel.begin(head)
                return
            if head.epoch == known.epoch and head.offset < known.offset:
                await self._rotate(channel, head.epoch)
                continue
            if head.epoch != known.epoch or head.floor > known.offset:
                # Followers keep the place they had: what they missed decides what each is told.
                followers = channel.detach()
                channel.restart(head)
                for subscriber in followers:
                    self._catch_up(subscriber)
                channel.take_early()
                return
            fresh = [entry for entry in stretch.entries if entry.offset > channel.last]
            if fresh:
                self._count.hole(len(fresh), healed=True)
                channel.take(fresh)
            channel.take_early()
            if not stretch.more:
                return
            channel.deal()

    def _read_page(self, tx: ReadTx, name: str, after: int | None) -> tuple[Head, Stretch]:
        head = head_of(tx, name)
        if after is None or after >= head.offset or after < head.floor:
            return head, Stretch([], more=False)
        limits = self._limits
        return head, self._log_table.read(
            tx, name, EVERYBODY, after=after, limit=limits.log_page, size=limits.log_bytes
        )

    async def _rotate(self, channel: Channel, epoch: str) -> None:
        _log.error("the log went back in time: new epoch", channel=channel.name, epoch=epoch)
        channel.unsure = True
        if (await self._database.write(life.rotate, channel.name, epoch)).value:
            self._count.rotated()

    def _later(self, channel: Channel, offset: int) -> None:
        """An announcement may be on its way: look again before reading the log for it."""

        def look() -> None:
            if channel.last < offset and self._channels.get(channel.name) is channel:
                self._count.hole(offset - channel.last, healed=False)
                self.read(channel)

        asyncio.get_running_loop().call_later(self._limits.early_wait_s, look)
