"""One channel as one node sees it: its ring, its groups, and how far it has come.

Ordering: `take` accepts an event only at `last + 1` of the present epoch. Whatever else arrives is older (dropped) or
early (kept for a moment, then the log is read). So the ring is a prefix-closed copy of the log, whoever told us.

A whisper comes after every event that was heard of before it, so also after those that wait for the one before them: a
node hears of its own commits before it says anything of them.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sessioncast_server.broker.base import Announcement, Whisper
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.counters import Counters
from sessioncast_server.channels.courier import Courier
from sessioncast_server.channels.framing import Framing
from sessioncast_server.channels.group import Group
from sessioncast_server.channels.groups import Groups
from sessioncast_server.channels.log import Entry, Head
from sessioncast_server.channels.ring import Budget, Ring
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_server.channels.watermarks import Watermarks
from sessioncast_server.channels.whispers import Aside, Asides
from sessioncast_shared.position import Position

_ENDLESS = 2**62
_OWED_RINGS = 8
"""What followers may be owed, in bytes of a whole ring; then each reads on from where it is, or is told."""


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """Bounds of a channel on one node.

    Attributes:
        ring_events, ring_bytes: what its ring holds.
        block_bytes: about how much one that catches up is given at a time; a group is given four times that in a pass.
        early: announcements that may wait for the one before them.
        early_wait_s: how long they wait before the log is read.
        whispers, whisper_bytes: what a group may be owed of them, and what may wait for early events; the newest stay.
        replay_events, replay_bytes: a replay over either becomes a snapshot.
        snapshot_interval_s: a stream is given no two snapshots closer together: it is closed as too slow.
        send_deadline_s: how long a sink may stay full.
        log_page, log_bytes: what is read from the log at a time.
    """

    ring_events: int = 4096
    ring_bytes: int = 1 << 20
    block_bytes: int = 1 << 16
    early: int = 1000
    early_wait_s: float = 0.02
    whispers: int = 256
    whisper_bytes: int = 1 << 16
    replay_events: int = 300
    replay_bytes: int = 1 << 20
    snapshot_interval_s: float = 5.0
    send_deadline_s: float = 30.0
    log_page: int = 500
    log_bytes: int = 1 << 20


class Channel:
    """A channel with subscribers on this node.

    Attributes:
        dealt: offset up to which every group has, or is owed, everything that is for it.
        subscribers: all of this channel, in whatever group.
        holders: subscribers, watches, and who is about to be one; with none it is let go of after a while.
        parked: subscribers of the node whose sinks are full.
        attend: starts an attendant for a subscriber that the ring alone cannot help.
        read_log: reads the log from `last` on; the task is done when all that was committed before is here.
        unsure: something was heard that only the log can explain; until it is read nothing is vouched for.
    """

    def __init__(
        self,
        name: str,
        limits: ChannelLimits,
        budget: Budget,
        *,
        clock: Callable[[], float],
        courier: Courier,
        attend: Callable[[Subscriber], None],
        left: Callable[[Subscriber], None],
        read_log: Callable[["Channel"], "asyncio.Task[None]"],
        count: Counters,
    ) -> None:
        self.name = name
        self.limits = limits
        self.clock = clock
        self.attend = attend
        self.left = left
        self.groups = Groups()
        self.ring = Ring(events=limits.ring_events, size=limits.ring_bytes, budget=budget)
        self.parked = courier.parked
        self.count = count
        self.subscribers: set[Subscriber] = set()
        self.holders = 0
        self.epoch = ""
        self.dealt = 0
        self.opened = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None
        self.read_again = False
        self.lingering: asyncio.TimerHandle | None = None
        self.unsure = False
        self._marks: Watermarks | None = None
        self._read_log = read_log
        self._courier = courier
        self._pending: list[Entry] = []
        self._early: dict[int, Announcement] = {}
        self._ahead = 0  # the newest event heard of that could not be taken
        self._held: Asides | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def last(self) -> int:
        """Offset of the newest event known."""
        return self._pending[-1].offset if self._pending else self.dealt

    @property
    def head(self) -> Position:
        """Position of the newest event known."""
        return Position(self.epoch, self.last)

    def begin(self, head: Head) -> None:
        """The log's head is known: from here on announcements are taken."""
        self.restart(head)
        self.opened.set()
        self.take_early()

    def restart(self, head: Head) -> None:
        """Go on from a head that what is held here does not lead to. Who follows has to be told."""
        self.epoch = head.epoch
        self.dealt = head.offset
        self._pending = []
        self._ahead, self._held = 0, None
        self.ring.restart(head.offset)
        if self._marks is not None:
            self._mark_anew()
        for group in self.groups:
            group.forget()

    def settle(self) -> None:
        """The log was read after all that was heard before: what is known is known again."""
        self.unsure = False
        # What the log does not have by now was never committed.
        self._ahead = max((each.last for each in self._early.values() if each.epoch == self.epoch), default=0)
        self._say_held()

    def mark(self) -> None:
        """From here on remember the newest event of each task, for `vouch`. The channel is open."""
        if self._marks is None:
            self._mark_anew()

    def vouch(self, task_id: str, at: Position) -> Position | None:
        """Up to where what was read of a task at a position is still true; None when that is not known.

        What is ahead of this channel is not vouched for: it may belong to a future that the log went back from.
        """
        known = self._marks is not None and not self.unsure and self._marks.holds(task_id, at.offset)
        return self.head if known and at.epoch == self.epoch and at.offset <= self.last else None

    def offer(self, announcement: Announcement) -> None:
        """Hear of events. Late, doubled, reordered and foreign ones do no harm."""
        if self.opened.is_set():
            if announcement.epoch != self.epoch:
                self.unsure = True
                self._read_log(self)
                return
            if announcement.last <= self.last:
                return
            if announcement.first <= self.last + 1:
                self.take(_entries(announcement, self.last))
                self.take_early()
                return
        # It cannot be taken yet, but whoever committed it may have been told so: it counts from now on.
        self._mark(announcement)
        if announcement.epoch == self.epoch:
            self._ahead = max(self._ahead, announcement.last)
        if len(self._early) >= self.limits.early:
            self.unsure = True
            self._early.clear()
            self._read_log(self)
            return
        self._early[announcement.first] = announcement
        if self._timer is None and self.opened.is_set():
            self._timer = asyncio.get_running_loop().call_later(self.limits.early_wait_s, self._early_waited)

    def take(self, entries: Iterable[Entry]) -> None:
        """Accept the events that follow `last`; those of one turn of the loop are dealt out together."""
        entries = list(entries)
        if not entries:
            return
        self.ring.extend(entries)
        if self._marks is not None:
            for entry in entries:
                self._marks.hear(entry.route.task_id, entry.offset)
        self._pending += entries
        self._courier.stir(self)
        if self._held is not None:
            self._say_held()

    def overhear(self, whisper: Whisper) -> None:
        """Hear a whisper: it is for who follows now."""
        if not self.opened.is_set():
            return
        entry = Entry(0, whisper.route, whisper.body)
        if self._ahead <= self.last:
            self._say(Aside(self.last, entry))
            return
        if self._held is None:
            self._held = Asides(most=self.limits.whispers, size=self.limits.whisper_bytes)
        if dropped := self._held.add(Aside(self._ahead, entry)):
            self.count.hushed("held", dropped)

    def _say_held(self) -> None:
        """Say the whispers that nothing is missing before any more."""
        if (held := self._held) is None:
            return
        last = self.last
        for after, entry in held.upto(last if self._ahead > last else _ENDLESS):
            self._say(Aside(min(after, last), entry))
        if not held:
            self._held = None

    def _say(self, aside: Aside) -> None:
        wanted = self.groups.sort((aside.entry,))
        if wanted:
            self.deal()  # the groups are owed what comes before it
        for group in wanted:
            if group.overhear(aside):
                self._courier.enqueue(group)

    async def reached(self, offset: int, epoch: str) -> None:
        """Wait until everything up to an offset that was seen in the log was dealt out here too.

        Else a subscriber that has it already would be given it again as a follower.
        """
        if self.epoch != epoch or self.last < offset:
            await asyncio.shield(self._read_log(self))
        self.deal()

    def deal(self) -> None:
        """Sort what is pending into the groups that it is for; the courier takes it to their followers."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        for group, entries in self.groups.sort(pending).items():
            # The position below is of all groups: one that is owed nothing has everything up to it.
            if group.owe(entries):
                if self._too_much_owed(group, len(entries)):
                    self._give_up(group)
                else:
                    self._courier.enqueue(group)
        self.dealt = pending[-1].offset

    def _too_much_owed(self, group: Group, new: int) -> bool:
        """Bytes are counted only where something was owed before: what one commit brings is handed on as it is."""
        limits, owed = self.limits, len(group.owed)
        return owed > limits.ring_events or (owed > new and group.owed_bytes > _OWED_RINGS * limits.ring_bytes)

    def _give_up(self, group: Group) -> None:
        """Its followers cannot be served as fast as events come: each reads on from where it is, or is told."""
        for follower in (*group.followers, *(group.waiting or ())):
            self.attend(follower)

    def beat(self, group: Group, silence_s: float) -> float:
        """Give a group that has heard nothing for so long a sign of life; when to ask again."""
        due, again = group.tick(self.clock(), silence_s)
        if due:
            self._courier.enqueue(group)
        return again

    def group(self, audience: Audience, framing: Framing) -> Group:
        """The group of these."""
        return self.groups.get(audience, framing, lambda *names: Group(self, *names))

    def detach(self) -> list[Subscriber]:
        """Take all followers out of their groups; each keeps the channel's position as its own."""
        self.deal()
        followers = [follower for group in self.groups for follower in (*group.followers, *(group.waiting or ()))]
        for subscriber in followers:
            subscriber.move(State.ATTENDED)
        return followers

    def close(self) -> None:
        """Stop timers and readers."""
        for handle in (self._timer, self.lingering):
            if handle is not None:
                handle.cancel()
        if self.reader is not None:
            self.reader.cancel()
        self.ring.restart(0)
        self._marks = None

    def _mark_anew(self) -> None:
        self._marks = Watermarks(self.limits.ring_events, since=self.last)
        for early in self._early.values():
            self._mark(early)

    def _mark(self, announcement: Announcement) -> None:
        if self._marks is not None and announcement.epoch == self.epoch:
            for offset, route in enumerate(announcement.routes, announcement.first):
                self._marks.hear(route.task_id, offset)

    def _early_waited(self) -> None:
        self._timer = None
        if self._early:
            self.count.hole(max(0, min(self._early) - 1 - self.last), healed=False)
            # What is announced is committed: the log has it. What the log has not would be waited for without end.
            self._early.clear()
            self._read_log(self)

    def take_early(self) -> None:
        """Accept what waited for the events before it."""
        self._early = {first: early for first, early in self._early.items() if early.epoch == self.epoch}
        while self._early:
            ready = [first for first in self._early if first <= self.last + 1]
            if not ready:
                break
            for first in sorted(ready):
                self.take(_entries(self._early.pop(first), self.last))
        if self._early:
            self._ahead = max(self._ahead, *(early.last for early in self._early.values()))
        if self._early and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limits.early_wait_s, self._early_waited)


def _entries(announcement: Announcement, last: int) -> list[Entry]:
    return [
        Entry(offset, route, body)
        for offset, (route, body) in enumerate(
            zip(announcement.routes, announcement.bodies, strict=True), announcement.first
        )
        if offset > last
    ]
