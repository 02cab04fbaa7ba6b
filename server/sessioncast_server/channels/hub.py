"""All channels of a node: from announcements to groups and their subscribers."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from sessioncast_server.broker.base import Announcement, Broker, Listener, Whisper
from sessioncast_server.channels import life
from sessioncast_server.channels.attendant import Attendant, Wish
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.channel import Channel, ChannelLimits
from sessioncast_server.channels.counters import Counters
from sessioncast_server.channels.courier import Courier
from sessioncast_server.channels.framing import Framing, Sink
from sessioncast_server.channels.group import Group
from sessioncast_server.channels.log import Log
from sessioncast_server.channels.ring import Budget
from sessioncast_server.channels.snapshot import Snapshots
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_server.channels.tail import Tail
from sessioncast_server.channels.watch import Watch
from sessioncast_server.channels.wheel import Wheel
from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds of a node.

    Attributes:
        channel: bounds of each channel.
        total_bytes: what all rings hold together.
        head_check_s, head_slice: how often heads are read, and how many in one query.
        heartbeat_s: silence after which a stream gets a heartbeat.
        slice_s: how long the loop hands out bytes before it lets others work.
        linger_s: how long a channel without subscribers is kept.
        subscribers: streams on this node; one more is refused.
    """

    channel: ChannelLimits = field(default_factory=ChannelLimits)
    total_bytes: int = 256 << 20
    head_check_s: float = 1.0
    head_slice: int = 500
    heartbeat_s: float = 15.0
    slice_s: float = 0.001
    linger_s: float = 30.0
    subscribers: int = 50_000


_LAST_WORDS_S = 0.5
"""How long a drain waits for what was committed to be handed on."""

_PORTION = 128
"""Streams and groups that are looked after in one turn of the loop."""


class FullError(Exception):
    """The node has as many streams as it may have."""


class Hub:
    """The channels that have subscribers on this node."""

    def __init__(
        self,
        database: Database,
        log: Log,
        snapshots: Snapshots,
        broker: Broker,
        limits: HubLimits,
        count: Counters,
        *,
        checks_identity: bool = False,
    ) -> None:
        self._database = database
        self._broker = broker
        self._limits = limits
        self._count = count
        self._checks_identity = checks_identity
        self._budget = Budget(limits.total_bytes)
        self._courier = Courier(slice_s=limits.slice_s, busy=database.busy)
        self._wheel: Wheel[Group] = Wheel(min(1.0, limits.heartbeat_s / 3))
        self._attendant = Attendant(database, log, snapshots, count=count)
        self._channels: dict[str, Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribers = 0
        self._tail = Tail(
            database,
            log,
            self._channels,
            limits=limits.channel,
            head_slice=limits.head_slice,
            count=count,
            spawn=self._spawn,
            catch_up=self._catch_up,
        )
        self.draining = False

    @property
    def subscribers(self) -> int:
        """Streams on this node."""
        return self._subscribers

    @property
    def send_deadline_s(self) -> float:
        """How long a sink may stay full."""
        return self._limits.channel.send_deadline_s

    @property
    def open_channels(self) -> int:
        """Channels with subscribers, now or a moment ago."""
        return len(self._channels)

    @property
    def ring_bytes(self) -> int:
        """Bytes of recent events in memory."""
        return self._budget.used

    async def start(self) -> None:
        """Begin to listen and to check."""
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        await self._broker.start(Listener(self.offer, self.doubt, self.overhear))
        self._spawn(self._check_for_ever())
        self._spawn(self._beat_for_ever())

    async def join(self, name: str, audience: Audience, framing: Framing, sink: Sink, wish: Wish) -> Subscriber:
        """A new subscriber; from now on its sink is fed.

        Raises:
            FullError: the node is draining or has its fill of streams.
            DatabaseError: the channel's head could not be read.
            KeyError: there is no such channel.
        """
        if self.draining or self._subscribers >= self._limits.subscribers:
            raise FullError
        channel = self._channels.get(name) or self._add(name)
        channel.holders += 1
        self._subscribers += 1
        try:
            await self._open(channel)
        except BaseException:
            self._leave(channel)
            raise
        if self.draining:
            # It said goodbye to everybody while the head was being read; nobody would say it to this one.
            self._leave(channel)
            raise FullError
        group = channel.group(audience, framing)
        if not group.size:
            self._wheel.add(group, self._clock() + self._limits.heartbeat_s)
        subscriber = Subscriber(channel, group, sink, wants_snapshots=wish.snapshot != "never")
        group.size += 1
        channel.subscribers.add(subscriber)
        try:
            if not self._attendant.open_at_once(subscriber, wish):
                self._attend(subscriber, partial(self._attendant.open, subscriber, wish))
        except BaseException:
            subscriber.leave()  # nobody else knows of it yet
            raise
        return subscriber

    async def watch(self, name: str) -> Watch:
        """Follow a channel without a stream, until the watch is closed.

        Raises:
            DatabaseError: the channel's head could not be read.
            KeyError: there is no such channel.
        """
        channel = self._channels.get(name) or self._add(name)
        channel.holders += 1
        try:
            if channel.opened.is_set():
                # It may have dropped what came early, to read it from the log: after this all of that is here.
                await asyncio.shield(self._tail.read(channel))
            await self._open(channel)
        except BaseException:
            self._release(channel)
            raise
        channel.mark()
        return Watch(channel, self._release)

    def offer(self, announcement: Announcement) -> None:
        """Hear of events, from this node's store or from another node."""
        channel = self._channels.get(announcement.channel)
        if channel is not None:
            channel.offer(announcement)

    def committed(self, announcements: list[Announcement]) -> None:
        """This node's store committed these: feed the own streams, tell the other nodes."""
        for announcement in announcements:
            self.offer(announcement)
            self._broker.announce(announcement)

    def whisper(self, whisper: Whisper) -> None:
        """Say an ephemeral event: to the own streams that it is for, and to the other nodes. Never waits."""
        self.overhear(whisper)
        self._broker.whisper(whisper)

    def overhear(self, whisper: Whisper) -> None:
        """Hear a whisper, of this node or of another."""
        channel = self._channels.get(whisper.channel)
        if channel is not None:
            channel.overhear(whisper)

    def doubt(self, name: str | None) -> None:
        """Announcements of one channel, or of all, may have been missed."""
        self._tail.doubt(name)

    async def check_heads(self) -> None:
        """Read the heads of open channels, and the log of those that are behind."""
        await self._tail.check_heads()

    async def drain(self) -> None:
        """Say goodbye to every stream and take no more."""
        self.draining = True
        # What was committed is handed on before; who commits without end is not waited for.
        deadline = self._clock() + _LAST_WORDS_S
        while not self._courier.idle and self._clock() < deadline:  # noqa: ASYNC110  its slices are the event
            await asyncio.sleep(0)
        for channel in list(self._channels.values()):
            await self._end(channel.subscribers, "draining")

    async def _end(self, subscribers: Iterable[Subscriber], reason: str) -> None:
        for count, subscriber in enumerate(tuple(subscribers), 1):
            subscriber.end(reason)
            if count % _PORTION == 0:
                await asyncio.sleep(0)

    async def end_streams(self, of: Callable[[str], bool], reason: str) -> int:
        """Say goodbye to the streams of the channels that `of` names; how many there were.

        `of` is asked for each stream when it is its turn: who changes its mind meanwhile ends no more. It ends the
        streams that are there when it is called; who joins later must be looked at by who lets it join.
        """
        asked = ended = 0
        for channel in list(self._channels.values()):
            for subscriber in tuple(channel.subscribers):
                asked += 1
                if asked % _PORTION == 0:
                    await asyncio.sleep(0)
                if not of(channel.name):
                    break
                subscriber.end(reason)
                ended += 1
        return ended

    async def close(self) -> None:
        """Stop. Streams were drained before."""
        for task in list(self._tasks):
            task.cancel()
        for channel in list(self._channels.values()):
            channel.close()
        self._channels.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._broker.close()

    def _add(self, name: str) -> Channel:
        channel = self._channels[name] = Channel(
            name,
            self._limits.channel,
            self._budget,
            clock=self._clock,
            courier=self._courier,
            attend=self._catch_up,
            left=self._left,
            read_log=self._tail.read,
            count=self._count,
        )
        # Listen first, then read the head: what is committed in between is heard, and waits for the head.
        self._broker.listen(name)
        return channel

    async def _open(self, channel: Channel) -> None:
        if channel.lingering is not None:
            channel.lingering.cancel()
            channel.lingering = None
        if not channel.opened.is_set():
            await asyncio.shield(self._tail.read(channel))

    def _catch_up(self, subscriber: Subscriber) -> None:
        self._attend(subscriber, partial(self._attendant.catch_up, subscriber))

    def _attend(self, subscriber: Subscriber, attendance: Callable[[], Coroutine[None, None, None]]) -> None:
        if subscriber.state is not State.ATTENDED:
            subscriber.move(State.ATTENDED)
        subscriber.attendant = self._spawn(self._guard(subscriber, attendance))

    async def _guard(self, subscriber: Subscriber, attendance: Callable[[], Coroutine[None, None, None]]) -> None:
        """Whatever befalls an attendant, its stream ends with a word and a time to come back."""
        try:
            await attendance()
        except TimeoutError:
            subscriber.end("too_slow")
        except DatabaseError as error:
            _log.warning("stream ended: the log could not be read", error=str(error))
            subscriber.end("overloaded")
        except Exception:  # noqa: BLE001  whatever it was, the stream must not stay silent
            _log.exception("stream ended: its attendant failed")
            subscriber.end("overloaded")
        finally:
            subscriber.attendant = None

    def _left(self, subscriber: Subscriber) -> None:
        channel = subscriber.channel
        if not subscriber.group.size:
            self._wheel.discard(subscriber.group)
            channel.groups.discard(subscriber.group)
        self._leave(channel)

    def _leave(self, channel: Channel) -> None:
        self._subscribers -= 1
        self._release(channel)

    def _release(self, channel: Channel) -> None:
        channel.holders -= 1
        if channel.holders == 0 and self._channels.get(channel.name) is channel:
            loop = asyncio.get_running_loop()
            channel.lingering = loop.call_later(self._limits.linger_s, self._remove, channel)

    def _remove(self, channel: Channel) -> None:
        if channel.holders == 0 and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._broker.unlisten(channel.name)
            channel.close()

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._limits.head_check_s)
            try:
                if self._checks_identity and await self._database.observe(life.went_elsewhere):
                    rotated = await self._database.write(life.settle_identity)
                    _log.error("another database than before: new epochs", rotated=rotated.value)
                await self.check_heads()
            except DatabaseError as error:
                _log.warning("heads could not be read", error=str(error))
            except Exception:  # noqa: BLE001  a database that is being restored lacks tables for a while; checks go on
                _log.exception("heads could not be read")

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._wheel.resolution_s)
            try:
                await self._beat()
            except Exception:  # noqa: BLE001  one group's trouble must not end all deadlines
                _log.exception("a heartbeat failed")

    async def _beat(self) -> None:
        now = self._clock()
        for count, group in enumerate(self._wheel.due(now), 1):
            self._wheel.add(group, group.channel.beat(group, self._limits.heartbeat_s))
            if count % _PORTION == 0:
                await asyncio.sleep(0)
        await self._end([each for each in self._courier.parked if each.stuck(now)], "too_slow")

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, DatabaseError):
            _log.error("a task of the hub failed", exc_info=error)
