"""A subscriber: a position in a channel, and nothing else. It has no queue of its own."""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from sessioncast_shared.position import Position

if TYPE_CHECKING:
    from sessioncast_server.channels.channel import Channel
    from sessioncast_server.channels.framing import Sink
    from sessioncast_server.channels.group import Group


class State(Enum):
    """Where a subscriber stands; see `_MOVES` for the legal moves."""

    ATTENDED = "attended"  # a task opens the stream, or reads on from the log, for it
    FOLLOWING = "following"  # can take more; its position is its group's
    PARKED = "parked"  # its sink is full; it keeps a position of its own until it drains
    CLOSED = "closed"


_MOVES = {
    State.ATTENDED: {State.FOLLOWING, State.PARKED, State.CLOSED},
    State.FOLLOWING: {State.PARKED, State.ATTENDED, State.CLOSED},
    State.PARKED: {State.FOLLOWING, State.ATTENDED, State.CLOSED},
    State.CLOSED: set(),
}


class Subscriber:
    """One stream's place in a channel. It does not know what kind of transport it feeds.

    Attributes:
        cursor: offset of the last event it was given, or that was not for it; kept while not following.
        epoch: life of the log that `cursor` belongs to.
        wants_snapshots: False for a stream that is only told that it lost its place.
        patient: it was given a snapshot and has not caught up since: the log is read on for it, however far.
        parked_at: loop time since when its sink is full.
        snapshot_at: loop time of its last snapshot.
        when_left: called once when it left.
    """

    __slots__ = (
        "_drained", "attendant", "channel", "cursor", "epoch", "group", "parked_at", "patient", "sink",
        "snapshot_at", "state", "wants_snapshots", "when_left",
    )  # fmt: skip

    def __init__(self, channel: "Channel", group: "Group", sink: "Sink", *, wants_snapshots: bool) -> None:
        self.channel = channel
        self.group = group
        self.sink = sink
        self.wants_snapshots = wants_snapshots
        self.state = State.ATTENDED
        self.cursor = 0
        self.epoch = channel.epoch
        self.patient = False
        self.parked_at = 0.0
        self.snapshot_at = float("-inf")
        self.attendant: asyncio.Task[None] | None = None
        self.when_left: Callable[[], None] | None = None
        self._drained: asyncio.Event | None = None

    @property
    def position(self) -> Position:
        """Where the stream safely is: everything for it up to here was handed to its sink."""
        cursor = self.group.cursor_of(self) if self.state is State.FOLLOWING else self.cursor
        return Position(self.epoch, cursor)

    def move(self, state: State) -> None:
        """Change the state; raises RuntimeError for a move that is not legal."""
        if state not in _MOVES[self.state]:
            raise RuntimeError(f"a subscriber cannot go from {self.state.value} to {state.value}")
        if self.state is State.FOLLOWING:
            self.cursor = self.group.cursor_of(self)
            self.group.unfollow(self)
        elif self.state is State.PARKED:
            self.channel.parked.discard(self)
        self.state = state
        if state is State.FOLLOWING:
            self.group.follow(self)
            self.patient = False
        elif state is State.PARKED:
            self.channel.parked.add(self)
            self.parked_at = self.channel.clock()

    def drained(self) -> None:
        """The sink can take more: block by block from the ring, then back among the followers."""
        if self._drained is not None:
            self._drained.set()
        while self.state is State.PARKED:
            if self.epoch != self.channel.epoch or not self.channel.ring.reaches(self.cursor):
                self.channel.attend(self)
                return
            data, self.cursor, count = self.group.piece(self.cursor)
            if not data:
                if self.cursor != self.group.floor:
                    self.channel.attend(self)
                    return
                self.move(State.FOLLOWING)
                continue
            self.channel.count.delivered(count)
            if not self.sink.feed(data):
                self.parked_at = self.channel.clock()
                return

    async def feed(self, data: bytes) -> None:
        """Hand bytes to the sink on behalf of an attendant, and wait until it can take more.

        Raises:
            TimeoutError: it took nothing for the send deadline.
        """
        while self.sink.full:  # by another subscription of the connection
            await self._room()
        if not self.sink.feed(data):
            await self._room()

    async def _room(self) -> None:
        drained = self._drained = asyncio.Event()
        self.parked_at = self.channel.clock()
        try:
            while not drained.is_set():
                until = self._stalled_since() + self.channel.limits.send_deadline_s
                try:
                    async with asyncio.timeout(max(0.0, until - self.channel.clock())):
                        await drained.wait()
                except TimeoutError:
                    if self._stalled_since() + self.channel.limits.send_deadline_s <= until:
                        raise
        finally:
            self._drained = None

    def stuck(self, now: float) -> bool:
        """Whether its client has taken nothing for the send deadline; to be asked every second or so."""
        deadline_s = self.channel.limits.send_deadline_s
        # The first moments need not be looked at; after them the sink is, so that it knows when it last got rid of
        # something, and not only that it did.
        return now - self.parked_at > deadline_s / 4 and now - self._stalled_since() > deadline_s

    def _stalled_since(self) -> float:
        return max(self.parked_at, self.sink.stalled_since())

    def leave(self) -> None:
        """The client is gone, or is to go: forget it. Harmless when repeated."""
        if self.state is State.CLOSED:
            return
        self.move(State.CLOSED)
        self.group.size -= 1
        self.channel.subscribers.discard(self)
        if self.attendant is not None and self.attendant is not asyncio.current_task():
            self.attendant.cancel()
        self.channel.left(self)
        if self.when_left is not None:
            self.when_left()

    def end(self, reason: str) -> None:
        """Say goodbye and close."""
        if self.state is not State.CLOSED:
            self.leave()
            self.sink.end(reason)
