"""What takes a subscriber from its first byte to following, and back there when it fell behind the ring.

Snapshot to live, without a hole: the subscriber is in its group, held, before anything is read, so the ring keeps what
comes. The snapshot names the offset it was read at; what follows comes from the ring after that offset, or, where the
ring has passed it, from the log, page after page, until the ring reaches. A slow first snapshot never causes a second.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessioncast_server.channels.counters import Counters
from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.log import Entry, Head, Log, Stretch, head_of
from sessioncast_server.channels.snapshot import Snapshot, Snapshots
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx
from sessioncast_shared.position import Position

if TYPE_CHECKING:
    from sessioncast_server.channels.audience import Audience
    from sessioncast_server.channels.channel import Channel


@dataclass(frozen=True, slots=True)
class Wish:
    """What a stream asks for when it opens.

    Attributes:
        position: where it was, or None.
        snapshot: `auto` (when the position is of no use), `always` or `never`.
    """

    position: Position | None = None
    snapshot: str = "auto"


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of the log, and the head it was read under. `stretch` is None where the log no longer reaches back."""

    head: Head
    stretch: Stretch | None


class Attendant:
    """Opens streams and catches them up. One for all subscribers of a node."""

    def __init__(self, database: Database, log: Log, snapshots: Snapshots, *, count: Counters) -> None:
        self._database = database
        self._log = log
        self._snapshots = snapshots
        self._count = count

    def open_at_once(self, subscriber: Subscriber, wish: Wish) -> bool:
        """Open a stream that the ring alone can serve, without waiting; whether it was one.

        Of 10,000 that come back at once this is what nearly all of them need: the same pieces, encoded once.
        """
        channel, group = subscriber.channel, subscriber.group
        if subscriber.sink.full:
            return False
        channel.deal()
        here = Position(channel.epoch, group.floor)
        if wish.position is not None and wish.snapshot != "always":
            pieces = self._pieces_after(subscriber, wish.position)
            if pieces is None:
                return False
            opening = Opening("resumed", here, wish.position, here)
            end_mark = group.framing.replayed(here)
        elif not subscriber.wants_snapshots and here == channel.head:
            pieces, opening, end_mark = [], Opening("resumed", here), b""
        else:
            return False
        subscriber.epoch, subscriber.cursor = here.epoch, here.offset
        parts = [subscriber.sink.opening(opening), *pieces]
        if end_mark:
            parts.append(end_mark)
        subscriber.move(State.FOLLOWING if subscriber.sink.feed_all(parts) else State.PARKED)
        return True

    def _pieces_after(self, subscriber: Subscriber, position: Position) -> list[bytes] | None:
        """All that is for a stream up to its group's floor; None where the ring has it not, or it is too much."""
        channel, group = subscriber.channel, subscriber.group
        floor, cursor = group.floor, position.offset
        if position.epoch != channel.epoch or cursor > floor or not channel.ring.reaches(cursor):
            return None
        pieces: list[bytes] = []
        count, size = 0, 0
        while cursor < floor:
            data, cursor, held = group.piece(cursor)
            if not data:
                break
            pieces.append(data)
            count += held
            size += len(data)
            if count > channel.limits.replay_events or size > channel.limits.replay_bytes:
                return None
        self._count.replayed(count)
        self._count.delivered(count)
        return pieces

    async def open(self, subscriber: Subscriber, wish: Wish) -> None:
        """Say the first frame, then what it announces, then catch up. Ends when the subscriber follows or is parked."""
        position = wish.position
        subscriber.channel.deal()  # so that no place told here is ahead of what followers are owed
        if position is None or wish.snapshot == "always":
            await self._open_fresh(subscriber, Opening("snapshot", subscriber.channel.head), position)
        elif reason := await self._unusable(subscriber.channel, position):
            await self._open_gap(subscriber, position, reason)
        else:
            await self._resume(subscriber, position, patient=wish.snapshot == "never")
        await self.catch_up(subscriber)

    async def catch_up(self, subscriber: Subscriber) -> None:
        """Bring an attended subscriber to where the channel is."""
        channel, group = subscriber.channel, subscriber.group
        while subscriber.state is State.ATTENDED:
            if subscriber.epoch != channel.epoch:
                await self._resync(subscriber, "epoch")
            elif subscriber.cursor > group.floor:
                # It has what the followers are still owed: among them now, it would be given that again. What is
                # pending is dealt out first: where there are no followers, nobody is owed it, and no pass would come.
                channel.deal()
                if subscriber.cursor > group.floor:
                    await group.passed()
            elif channel.ring.reaches(subscriber.cursor):
                data, subscriber.cursor, count = group.piece(subscriber.cursor)
                if data:
                    self._count.delivered(count)
                    await subscriber.feed(data)
                else:
                    subscriber.move(State.FOLLOWING)
            else:
                await self._read_on(subscriber)

    async def _read_on(self, subscriber: Subscriber) -> None:
        channel = subscriber.channel
        page = await self._page(channel, subscriber.group.audience, subscriber.cursor)
        if page.head.epoch != subscriber.epoch:
            await channel.reached(page.head.offset, page.head.epoch)
            await self._resync(subscriber, "epoch")
        elif page.stretch is None:
            await self._resync(subscriber, "expired")
        elif _too_much(page.stretch, channel) and not subscriber.patient and subscriber.wants_snapshots:
            await self._resync(subscriber, "too_far_behind")
        else:
            await self._feed_page(subscriber, page.stretch, page.head.offset)

    async def _feed_page(self, subscriber: Subscriber, stretch: Stretch, head: int) -> None:
        """Hand on a piece of the log. Contiguous: it holds all that is for this audience up to its end."""
        # The log may be ahead of what this node was told; the rest comes by the ring.
        upto = stretch.entries[-1].offset if stretch.more else head
        for block in _blocks(stretch.entries, subscriber.channel.limits.block_bytes):
            subscriber.cursor = block[-1].offset
            self._count.delivered(len(block))
            await subscriber.feed(subscriber.group.framing.events(block))
        subscriber.cursor = upto
        await subscriber.channel.reached(upto, subscriber.epoch)

    async def _resume(self, subscriber: Subscriber, position: Position, *, patient: bool) -> None:
        channel, group = subscriber.channel, subscriber.group
        stretch: Stretch | None
        channel.deal()  # so that the position is not ahead of what followers are owed
        subscriber.epoch = position.epoch  # the channel may have been in another life when the stream was opened
        if channel.epoch == position.epoch and channel.ring.reaches(position.offset):
            end = channel.dealt
            entries = [
                entry
                for entry in channel.ring.after(position.offset)
                if entry.offset <= end and group.audience.wants(entry.route)
            ]
            stretch = Stretch(entries, more=False)
        else:
            page = await self._page(channel, group.audience, position.offset)
            stretch, end = page.stretch, page.head.offset
            if page.head.epoch != position.epoch or stretch is None:
                reason = "epoch" if page.head.epoch != position.epoch else "expired"
                await self._open_gap(subscriber, position, reason)
                return
        here = Position(position.epoch, end)
        if _too_much(stretch, channel):
            if not patient:
                opening = Opening("snapshot", here, position, here, "replay_too_long")
                await self._open_fresh(subscriber, opening, position)
                return
            # Asked for events only: all of them, page after page, however many.
            subscriber.patient = True
            subscriber.cursor = position.offset
            await subscriber.feed(subscriber.sink.opening(Opening("resumed", position, position)))
            return
        self._count.replayed(len(stretch.entries))
        subscriber.cursor = position.offset
        await subscriber.feed(subscriber.sink.opening(Opening("resumed", here, position, here)))
        for block in _blocks(stretch.entries, channel.limits.block_bytes):
            subscriber.cursor = block[-1].offset
            self._count.delivered(len(block))
            await subscriber.feed(group.framing.events(block))
        subscriber.cursor = end
        if end_mark := group.framing.replayed(here):
            await subscriber.feed(end_mark)
        await channel.reached(end, position.epoch)

    async def _open_gap(self, subscriber: Subscriber, position: Position, reason: str) -> None:
        self._count.lost("gap", reason)
        subscriber.channel.deal()
        here = subscriber.channel.head
        await self._open_fresh(subscriber, Opening("gap", here, position, here, reason), None)

    async def _open_fresh(self, subscriber: Subscriber, opening: Opening, seen: Position | None) -> None:
        sink = subscriber.sink
        if subscriber.wants_snapshots:
            await subscriber.feed(sink.opening(opening))
            await self._snapshot(subscriber, seen)
            return
        # Told, then on from the head.
        subscriber.epoch, subscriber.cursor = opening.position.epoch, opening.position.offset
        told = opening if opening.state == "gap" else Opening("resumed", opening.position)
        await subscriber.feed(sink.opening(told))

    async def _resync(self, subscriber: Subscriber, reason: str) -> None:
        """Tell a stream that it lost its place, and give it a new one."""
        channel = subscriber.channel
        self._count.lost("resync", reason)
        if channel.clock() - subscriber.snapshot_at < channel.limits.snapshot_interval_s and reason != "epoch":
            subscriber.end("too_slow")
            return
        await subscriber.feed(subscriber.group.framing.resync(reason))
        if subscriber.wants_snapshots:
            await self._snapshot(subscriber, None)
        else:
            subscriber.epoch, subscriber.cursor = channel.epoch, channel.dealt

    async def _snapshot(self, subscriber: Subscriber, seen: Position | None) -> None:
        channel, group = subscriber.channel, subscriber.group

        def usable(snapshot: Snapshot) -> bool:
            fresh = seen is None or seen.epoch != snapshot.epoch or snapshot.offset >= seen.offset
            return fresh and snapshot.epoch == channel.epoch and channel.ring.reaches(snapshot.offset)

        snapshot = await group.snapshot(lambda audience: self._read_snapshot(channel.name, audience), usable)
        if group.size == 1:
            group.forget_snapshot()  # nobody is there to share it with
        subscriber.snapshot_at = channel.clock()
        subscriber.patient = True
        subscriber.epoch, subscriber.cursor = snapshot.epoch, snapshot.offset
        for number, page in enumerate(snapshot.pages, 1):
            position = snapshot.position if number == len(snapshot.pages) else None
            await subscriber.feed(group.framing.snapshot(page, position))
        await channel.reached(snapshot.offset, snapshot.epoch)

    async def _read_snapshot(self, channel: str, audience: "Audience") -> Snapshot:
        self._count.snapshot()
        return await self._database.observe(self._snapshots.read, channel, audience)

    async def _unusable(self, channel: "Channel", position: Position) -> str | None:
        """Why a stream cannot go on from a position, as far as this node's own view tells."""
        if position.epoch != channel.epoch or position.offset > channel.last:
            # It may come from a node that is ahead of this one.
            head = await self._database.observe(head_of, channel.name)
            await channel.reached(head.offset, head.epoch)
            if position.epoch != head.epoch:
                return "epoch"
            if position.offset > head.offset:
                return "future"
        return None

    async def _page(self, channel: "Channel", audience: "Audience", after: int) -> Page:
        limits = channel.limits
        return await self._database.observe(
            self._read_page, channel.name, audience, after, limits.replay_events, limits.replay_bytes
        )

    def _read_page(self, tx: ReadTx, channel: str, audience: "Audience", after: int, limit: int, size: int) -> Page:
        head = head_of(tx, channel)
        if after < head.floor:
            return Page(head, None)
        return Page(head, self._log.read(tx, channel, audience, after=after, limit=limit, size=size))


def _too_much(stretch: Stretch, channel: "Channel") -> bool:
    limits, entries = channel.limits, stretch.entries
    if stretch.more or len(entries) > limits.replay_events:
        return True
    return sum(len(entry.body) for entry in entries) > limits.replay_bytes


def _blocks(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    """The entries in runs of about so many bytes."""
    block: list[Entry] = []
    held = 0
    for entry in entries:
        block.append(entry)
        held += len(entry.body)
        if held >= size:
            yield block
            block, held = [], 0
    if block:
        yield block
