"""Subscribers of a channel with the same audience and framing: what is encoded for one is encoded for all.

A group hands its events on in passes: the bytes are made once, then follower after follower is given the same object,
a few at a time, so that nobody else on the loop waits for a large group. What comes meanwhile is owed for the next
pass, which is the larger for it: a busy loop makes bigger batches by itself.

A whisper comes in the pass after the events that were heard before it. Only followers get it, and it leaves no trace:
it is in no ring and moves no offset.

Every follower has all that is for it up to `floor`, but for those who still wait for the pass that is under way: they
have it up to `before`. So no follower keeps a position of its own, and each has one whenever it is asked for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.framing import Framing
from sessioncast_server.channels.log import Entry
from sessioncast_server.channels.snapshot import Snapshot
from sessioncast_server.channels.subscriber import State
from sessioncast_server.channels.whispers import Aside, Asides
from sessioncast_shared.position import Position

if TYPE_CHECKING:
    from sessioncast_server.channels.channel import Channel
    from sessioncast_server.channels.subscriber import Subscriber

_log = structlog.get_logger(__name__)

_PASS_BLOCKS = 4  # of events in a pass: all followers share the bytes, and larger passes are cheaper by the event
_PIECES_MAX = 8  # pieces of the ring that are kept encoded for those who catch up
_PORTION = 32  # groups smaller than this keep nothing between two passes
_STRIDE = 128  # pieces end at multiples of so many offsets, where those who catch up from different places meet


class Piece(NamedTuple):
    """Framed events of the ring.

    Attributes:
        data: empty when none of them is for the group.
        end: offset that they bring a reader to.
        events: how many they are.
    """

    data: bytes
    end: int
    events: int


class Group:
    """Subscribers that are owed the same bytes.

    Attributes:
        size: how many they are.
        followers: those that can take more; see above for what they have. One alone is held by a tuple: a set would
            be the largest part of its group.
        waiting: followers whom the pass under way has not reached.
        before: offset up to which the waiting have everything.
        owed: events for the next pass.
        asides: whispers for it.
        queued: the courier knows that there is work.
        due: the bucket of the wheel that the group stands in.
    """

    __slots__ = (
        "_beat_due", "_count", "_data", "_flight", "_flown_at", "_passed", "_pieces", "_spoken_at", "asides",
        "audience", "before", "channel", "due", "followers", "framing", "owed", "queued", "size", "waiting",
    )  # fmt: skip

    def __init__(self, channel: "Channel", audience: Audience, framing: Framing) -> None:
        self.channel = channel
        self.audience = audience
        self.framing = framing
        self.size = 0
        self.followers: set[Subscriber] | tuple[Subscriber, ...] = ()
        self.waiting: set[Subscriber] | None = None
        self.owed: list[Entry] | tuple[()] = ()
        self.asides: Asides | None = None
        self.queued = False
        self.before = 0
        self.due = 0
        self._data = b""
        self._count = 0
        self._beat_due = False
        self._spoken_at = channel.clock()
        self._passed: asyncio.Future[None] | None = None
        self._pieces: dict[int, Piece] | None = None
        self._flight: asyncio.Future[Snapshot] | None = None
        self._flown_at = self._spoken_at

    @property
    def floor(self) -> int:
        """Offset up to which every follower that does not wait has everything."""
        return self.owed[0].offset - 1 if self.owed else self.channel.dealt

    @property
    def owed_bytes(self) -> int:
        """Bytes of the events that are owed."""
        return sum(len(entry.body) for entry in self.owed)

    @property
    def has_work(self) -> bool:
        """Whether a pass is under way or due."""
        return bool(self.waiting or self.owed or self.asides or self._beat_due)

    def cursor_of(self, follower: "Subscriber") -> int:
        """Offset up to which a follower has everything."""
        return self.before if self.waiting and follower in self.waiting else self.floor

    def owe(self, entries: list[Entry]) -> bool:
        """Take events for the followers, and the list for their own; whether there are any followers."""
        if not self.followers and not self.waiting:
            return False
        if isinstance(self.owed, list):
            self.owed += entries
        else:
            self.owed = entries
        return True

    def overhear(self, aside: Aside) -> bool:
        """Take a whisper for the followers; whether any are to get it. Who does not follow at this time never will."""
        limits = self.channel.limits
        if not self.followers and not self.waiting:
            return False
        if len(self.owed) > limits.ring_events // 2:
            self.channel.count.hushed("held", 1)  # half of what makes the group give up: whispers are dropped first
            return False
        if self.asides is None:
            self.asides = Asides(most=limits.whispers, size=limits.whisper_bytes)
        if dropped := self.asides.add(aside):
            self.channel.count.hushed("held", dropped)
        return True

    def follow(self, follower: "Subscriber") -> None:
        """Take in a follower that has everything up to the floor."""
        if isinstance(self.followers, set):
            self.followers.add(follower)
        else:
            self.followers = {*self.followers, follower} if self.followers else (follower,)

    def unfollow(self, follower: "Subscriber") -> None:
        """Take a follower out; without any, nothing is owed any more."""
        if isinstance(self.followers, set):
            self.followers.discard(follower)
        elif follower in self.followers:
            self.followers = ()
        if self.waiting:
            self.waiting.discard(follower)
        if not self.followers and not self.waiting:
            self.owed = ()
            self.asides = None
            self._beat_due = False
            self._wake()

    def serve(self, most: int) -> int:
        """Hand the bytes of the pass to at most so many followers; how many there were."""
        if not self.waiting and not self._begin():
            return 0
        waiting, data = self.waiting, self._data
        if waiting is None:
            return 0
        served = 0
        while waiting and served < most:
            subscriber = waiting.pop()
            self.follow(subscriber)
            served += 1
            try:
                more = subscriber.sink.feed(data)
            except Exception:  # noqa: BLE001  one sink's fault must not keep the others from their bytes
                _log.exception("a sink failed")
                _end(subscriber)
                continue
            if not more and subscriber.state is State.FOLLOWING:
                subscriber.move(State.PARKED)
        if self._count:
            self.channel.count.delivered(self._count * served)
        if not waiting:
            self._data = b""
            if len(self.followers) < _PORTION:
                self.waiting = None  # the next pass makes another; kept, it would be a large part of a small group
        return served

    def _begin(self) -> bool:
        """Make the bytes of the next pass; whether there is one."""
        channel = self.channel
        if self.owed:
            entries = self._take()
            self.before, self._count = entries[0].offset - 1, len(entries)
            self._data = self.framing.events(entries if self.asides is None else self._joined(self.asides, entries))
        elif self.asides is not None:
            self.before, self._count = channel.dealt, 0
            self._data = self.framing.events(self._joined(self.asides, ()))
        elif self._beat_due:
            self.before, self._count = channel.dealt, 0
            self._data = self.framing.heartbeat(Position(channel.epoch, channel.dealt), channel.head)
        else:
            return False
        self._beat_due = False
        self._spoken_at = channel.clock()
        # The set that the last pass emptied is the one that this pass fills.
        emptied = self.waiting
        self.waiting = self.followers if isinstance(self.followers, set) else set(self.followers)
        self.followers = () if emptied is None else emptied
        self._wake()
        return True

    def _take(self) -> Sequence[Entry]:
        """Owed events, at most about a few blocks of them."""
        owed, room = self.owed, _PASS_BLOCKS * self.channel.limits.block_bytes
        for index, entry in enumerate(owed):
            room -= len(entry.body)
            if room <= 0 and index + 1 < len(owed):
                self.owed = list(owed[index + 1 :])
                return owed[: index + 1]
        self.owed = ()
        return owed

    def _joined(self, asides: Asides, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The events that were taken for a pass and the whispers among them, up to where the next pass begins."""
        joined = asides.among(entries, self.floor)
        if not asides:
            self.asides = None
        return joined

    async def passed(self) -> None:
        """Wait until the next pass begins, or none is due: the floor is higher then."""
        if self._passed is None:
            self._passed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._passed)

    def _wake(self) -> None:
        passed, self._passed = self._passed, None
        if passed is not None and not passed.done():
            passed.set_result(None)

    def piece(self, after: int) -> Piece:
        """What the ring has for this group after an offset that it reaches, about a block at a time up to the floor."""
        pieces = self._pieces
        if pieces is not None and (known := pieces.get(after)) is not None:
            return known
        piece = self._cut(after)
        # Whoever catches up does so from the same places as the others: once for all of them. A piece stays true
        # for ever, though it may end before the floor by now; the next one goes on from there.
        if piece.data and self.size > 1:
            if pieces is None:
                pieces = self._pieces = {}
            elif len(pieces) >= _PIECES_MAX:
                del pieces[next(iter(pieces))]
            pieces[after] = piece
        return piece

    def _cut(self, after: int) -> Piece:
        floor, size = self.floor, 0
        entries: list[Entry] = []
        end = after
        for entry in self.channel.ring.after(after):
            if entry.offset > floor:
                break
            if entries and (size >= self.channel.limits.block_bytes or end % _STRIDE == 0):
                return Piece(self.framing.events(entries), end, len(entries))
            end = entry.offset
            if self.audience.wants(entry.route):
                entries.append(entry)
                size += len(entry.body)
        return Piece(self.framing.events(entries) if entries else b"", end, len(entries))

    async def snapshot(
        self, read: Callable[[Audience], Awaitable[Snapshot]], usable: Callable[[Snapshot], bool]
    ) -> Snapshot:
        """A snapshot for a member: the one under way or the last one where it is usable, else a new one.

        Args:
            usable: whether the log after it is at hand, and it is not older than what the member has seen.
        """
        while self._flight is not None:
            flight = self._flight
            snapshot = flight.result() if flight.done() else await asyncio.shield(flight)
            if usable(snapshot):
                return snapshot
            if self._flight is flight:
                break
        flight = self._flight = asyncio.ensure_future(read(self.audience))
        self._flown_at = self.channel.clock()
        flight.add_done_callback(self._landed)
        return await asyncio.shield(flight)

    def _landed(self, flight: "asyncio.Future[Snapshot]") -> None:
        if self._flight is flight and (flight.cancelled() or flight.exception() is not None):
            self._flight = None

    def forget(self) -> None:
        """The channel begins anew: nothing that was made of its events is of use, and nothing is owed."""
        self.owed = ()
        self.asides = None
        self._pieces = None
        self.forget_snapshot()
        self._wake()

    def forget_snapshot(self) -> None:
        """Let go of the last snapshot; one under way is still shared."""
        if self._flight is not None and self._flight.done():
            self._flight = None

    def tick(self, now: float, silence_s: float) -> tuple[bool, float]:
        """Whether a heartbeat is due now, and when to ask again. What nobody used for so long is let go of."""
        if self._flown_at <= now - silence_s:
            self.forget_snapshot()
        self._pieces = None
        if not self.followers:
            return False, now + silence_s / 3  # who is attended or parked has bytes on their way
        if now - self._spoken_at < silence_s:
            return False, self._spoken_at + silence_s
        self._beat_due = True
        return True, now + silence_s


def _end(subscriber: "Subscriber") -> None:
    try:
        subscriber.end("overloaded")
    except Exception:  # noqa: BLE001  it has left; raised here, this would end the pass, and the group's next ones
        _log.exception("a sink could not be ended")
