"""A channel with its courier and attendant on an event loop, without a database; a plain list is the log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from sessioncast_server.broker.base import Announcement, Route, Whisper
from sessioncast_server.channels.attendant import Attendant, Page, Wish
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.channel import Channel, ChannelLimits
from sessioncast_server.channels.courier import Courier
from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.group import Group
from sessioncast_server.channels.log import Entry, Head, Stretch
from sessioncast_server.channels.ring import Budget
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_shared.filters import Filter
from sessioncast_shared.position import Position
from support.hubs import Tally

TASKS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(3)]
WIDE = Audience(Filter())


def narrow(task: int) -> Audience:
    """Who follows one task."""
    return Audience(Filter.of(tasks=[TASKS[task]]))


class Plain:
    """Words that a test can read at a glance: `E 4 ~w 5` with a whisper in the middle, `H e:5`, `R expired`."""

    key = "plain"

    def __init__(self) -> None:
        self.made: list[bytes] = []

    def events(self, entries: Sequence[Entry]) -> bytes:
        """`E` and the offsets, and the bodies of whispers."""
        data = b"E " + b" ".join(b"%d" % each.offset if each.offset else each.body for each in entries)
        self.made.append(data)
        return data

    def replayed(self, position: Position) -> bytes:
        """`P` and the position."""
        return f"P {position}".encode()

    def snapshot(self, page: bytes, position: Position | None) -> bytes:
        """`S` and the position."""
        return f"S {position}".encode()

    def heartbeat(self, position: Position, head: Position) -> bytes:
        """`H` and the position."""
        return f"H {position}".encode()

    def resync(self, reason: str) -> bytes:
        """`R` and the reason."""
        return f"R {reason}".encode()


class Taker:
    """A sink that takes `room` pieces, then is full until it is read; what it heard stays in `heard`."""

    def __init__(self, name: str = "", *, room: int = 1 << 30, watch: Callable[["Taker", bytes], None] | None = None):
        self.name = name
        self.room = room
        self.heard: list[str] = []
        self.ended: str | None = None
        self.broken = False
        self.subscriber: Subscriber | None = None
        self._watch = watch

    def opening(self, opening: Opening) -> bytes:
        """`O` and the position."""
        return f"O {opening.position}".encode()

    def feed(self, data: bytes) -> bool:
        """Take it; to feed a full or an ended sink is a mistake."""
        assert self.room > 0, f"{self.name} is full"
        assert self.ended is None
        if self.broken:
            raise OSError("a broken sink")
        if self._watch is not None:
            self._watch(self, data)
        self.heard.append(data.decode())
        self.room -= 1
        return self.room > 0

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        """Take them all at once."""
        room, self.room = self.room, 1 << 30
        for part in parts:
            self.feed(part)
        self.room = room - 1
        return self.room > 0

    @property
    def full(self) -> bool:
        """Nobody else fills it."""
        return False

    def stalled_since(self) -> float:
        """Not known."""
        return 0.0

    def read(self, room: int) -> None:
        """The client took what there was; so many pieces more can be taken."""
        was_full = self.room <= 0
        self.room = room
        if was_full and self.subscriber is not None:
            self.subscriber.drained()

    def end(self, reason: str) -> None:
        """Keep the reason."""
        assert self.ended is None
        self.ended = reason

    @property
    def offsets(self) -> list[int]:
        """Offsets of all events."""
        return [int(each) for each in self.said if not each.startswith("~")]

    @property
    def said(self) -> list[str]:
        """Offsets and whispers, in order."""
        return [each for line in self.heard if line.startswith("E ") for each in line.split()[1:]]


class Guide(Attendant):
    """An attendant whose log is a list; it notes where a stream begins anew."""

    def __init__(self, crowd: "Crowd") -> None:
        nothing: Any = None
        super().__init__(nothing, nothing, nothing, count=crowd.tally)
        self._crowd = crowd

    async def _page(self, channel: Channel, audience: Audience, after: int) -> Page:
        await asyncio.sleep(0)
        crowd = self._crowd
        head = Head(crowd.epoch, len(crowd.log), crowd.floor)
        if after < head.floor:
            return Page(head, None)
        wanted = [each for each in crowd.log[after:] if audience.wants(each.route)]
        return Page(head, Stretch(wanted[:5], more=len(wanted) > 5))

    async def _unusable(self, channel: Channel, position: Position) -> str | None:
        crowd = self._crowd
        if position.epoch == channel.epoch and position.offset <= channel.last:
            return None
        await asyncio.sleep(0)
        epoch, head = crowd.epoch, len(crowd.log)
        await channel.reached(head, epoch)
        if position.epoch != epoch:
            return "epoch"
        return "future" if position.offset > head else None

    async def _open_fresh(self, subscriber: Subscriber, opening: Opening, seen: Position | None) -> None:
        here = opening.position
        self._crowd.begun[subscriber] = (here.epoch, here.offset, len(self._crowd.taker(subscriber).heard))
        await super()._open_fresh(subscriber, opening, seen)

    async def _resync(self, subscriber: Subscriber, reason: str) -> None:
        await super()._resync(subscriber, reason)
        self._crowd.begun[subscriber] = (subscriber.epoch, subscriber.cursor, len(self._crowd.taker(subscriber).heard))


class Crowd:
    """Everybody on one channel.

    Attributes:
        log: all events of the epoch; an event's offset is its place, from 1.
        floor: up to where the log was deleted.
        begun: for each subscriber the epoch and offset that it began after, and how much it had heard then.
    """

    def __init__(self, limits: ChannelLimits | None = None, *, slice_s: float = 60.0, budget: int = 1 << 30) -> None:
        self.epoch = "e"
        self.log: list[Entry] = []
        self.floor = 0
        self.now = 0.0
        self.busy = 0
        self.tally = Tally()
        self.framing = Plain()
        self.begun: dict[Subscriber, tuple[str, int, int]] = {}
        self.attended: list[Subscriber] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.failed: list[BaseException] = []
        self.courier = Courier(slice_s=slice_s, busy=lambda: self.busy)
        self.channel = Channel(
            "p", limits or ChannelLimits(), Budget(budget), clock=lambda: self.now, courier=self.courier,
            attend=self.attend, left=self._left, read_log=self._read_log, count=self.tally,
        )  # fmt: skip
        self._guide = Guide(self)
        self.channel.begin(Head("e", 0, 0))

    def group(self, audience: Audience = WIDE) -> Group:
        """The group of an audience."""
        return self.channel.group(audience, self.framing)

    def taker(self, subscriber: Subscriber) -> Taker:
        """A subscriber's sink."""
        sink = subscriber.sink
        assert isinstance(sink, Taker)
        return sink

    def happen(self, *tasks: int, size: int = 0) -> None:
        """Events of these tasks are committed and announced together."""
        first = len(self.log) + 1
        self.log += [
            Entry(first + number, Route("task", TASKS[task]), b"x" * size) for number, task in enumerate(tasks)
        ]
        new = self.log[first - 1 :]
        routes, bodies = tuple(each.route for each in new), tuple(each.body for each in new)
        self.channel.offer(Announcement("p", self.epoch, first, routes, bodies))

    def whisper(self, text: str, task: int = 0) -> None:
        """One is heard, about a task; its text begins with `~`."""
        self.channel.overhear(Whisper("p", Route("task", TASKS[task]), text.encode()))

    def join(self, taker: Taker, audience: Audience = WIDE, *, back: int = 0) -> Subscriber:
        """A subscriber that was so many events behind the head when it left, whether the log has them or not."""
        group = self.group(audience)
        subscriber = taker.subscriber = Subscriber(self.channel, group, taker, wants_snapshots=False)
        group.size += 1
        self.channel.subscribers.add(subscriber)
        self.channel.deal()
        position = Position(self.epoch, max(0, self.channel.last - back))
        wish = Wish(position, "never")
        self.begun[subscriber] = (position.epoch, position.offset, 0)
        if not self._guide.open_at_once(subscriber, wish):
            self._spawn(subscriber, partial(self._guide.open, subscriber, wish))
        return subscriber

    def follow(self, count: int = 1, audience: Audience = WIDE, *, room: int = 1 << 30) -> list[Taker]:
        """So many followers."""
        takers = [Taker(f"{audience.key}#{number}") for number in range(count)]
        for taker in takers:
            self.join(taker, audience)
            taker.heard.clear()
            taker.room = room
        return takers

    def attend(self, subscriber: Subscriber) -> None:
        """The ring cannot help this one."""
        if subscriber.state is not State.ATTENDED:
            subscriber.move(State.ATTENDED)
        self.attended.append(subscriber)
        self._spawn(subscriber, partial(self._guide.catch_up, subscriber))

    def begin_anew(self, epoch: str) -> None:
        """The log is another one, and empty; as the tail does it."""
        self.epoch, self.log, self.floor = epoch, [], 0
        followers = self.channel.detach()
        self.channel.restart(Head(epoch, 0, 0))
        for subscriber in followers:
            self.attend(subscriber)

    async def settle(self) -> None:
        """Let everything be handed on, and everybody read."""
        for _ in range(3_000):
            for subscriber in list(self.channel.subscribers):
                self.taker(subscriber).read(1 << 30)
            self.courier.run()
            await asyncio.sleep(0)
            at_rest = all(each.state is State.FOLLOWING for each in self.channel.subscribers)
            if self.failed:
                raise self.failed[0]
            if at_rest and self.courier.idle and not self.tasks:
                return
        states = [(self.taker(each).name, each.state, each.position) for each in self.channel.subscribers]
        raise TimeoutError(f"it never comes to rest: {states}")

    async def close(self) -> None:
        """End what still runs."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.channel.close()

    def _left(self, subscriber: Subscriber) -> None:
        if not subscriber.group.size:
            self.channel.groups.discard(subscriber.group)

    def _read_log(self, channel: Channel) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(asyncio.sleep(0))

    def _spawn(self, subscriber: Subscriber, work: Callable[[], Awaitable[None]]) -> None:
        async def attendance() -> None:
            try:
                await work()
            finally:
                subscriber.attendant = None

        task = asyncio.get_running_loop().create_task(attendance())
        subscriber.attendant = task
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed.append(error)
