"""All subscribers of a channel with the same audience and framing: what is encoded for one is encoded for all."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.framing import Framing
from sessioncast_server.channels.log import Entry
from sessioncast_server.channels.snapshot import Snapshot

if TYPE_CHECKING:
    from sessioncast_server.channels.subscriber import Subscriber


class Group:
    """Subscribers that are owed the same bytes.

    Attributes:
        members: all of them.
        followers: those that have everything up to what the channel flushed last, and can take more.
            They need no position of their own: the channel's is theirs.
        spoken_at: loop time of the last bytes to all followers.
    """

    __slots__ = ("_flight", "_flown_at", "audience", "followers", "framing", "members", "spoken_at")

    def __init__(self, audience: Audience, framing: Framing, now: float) -> None:
        self.audience = audience
        self.framing = framing
        self.members: set[Subscriber] = set()
        self.followers: set[Subscriber] = set()
        self.spoken_at = now
        self._flight: asyncio.Future[Snapshot] | None = None
        self._flown_at = now

    async def snapshot(
        self, read: Callable[[Audience], Awaitable[Snapshot]], usable: Callable[[Snapshot], bool]
    ) -> Snapshot:
        """A snapshot for a member: the one under way or the last one where it is usable, else a new one.

        Args:
            usable: whether the log after it is at hand, and it is not older than what the member has seen.
        """
        while self._flight is not None:
            flight = self._flight
            snapshot = await asyncio.shield(flight)
            if usable(snapshot):
                return snapshot
            if self._flight is flight:
                break
        flight = self._flight = asyncio.ensure_future(read(self.audience))
        self._flown_at = asyncio.get_running_loop().time()
        flight.add_done_callback(self._landed)
        return await asyncio.shield(flight)

    def _landed(self, flight: "asyncio.Future[Snapshot]") -> None:
        if self._flight is flight and (flight.cancelled() or flight.exception() is not None):
            self._flight = None

    def forget_snapshot(self) -> None:
        """Let go of the last snapshot; one under way is still shared."""
        if self._flight is not None and self._flight.done():
            self._flight = None

    def forget_unused_snapshot(self, before: float) -> None:
        """Let go of a snapshot read before this time: a quiet group must not hold its state in memory for ever."""
        if self._flown_at <= before:
            self.forget_snapshot()

    def push(self, data: bytes, upto: int, now: float) -> None:
        """Give bytes to all followers, who then have everything up to an offset."""
        self.spoken_at = now
        for subscriber in tuple(self.followers):
            subscriber.push(data, upto)


class Groups:
    """The groups of a channel, found by what an event is about: never by walking over all of them."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self._wide: set[Group] = set()
        self._by_id: dict[str, set[Group]] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def __len__(self) -> int:
        return len(self._groups)

    def get(self, audience: Audience, framing: Framing, now: float) -> Group:
        """The group of these, made when there is none."""
        key = (audience.key, framing.key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(audience, framing, now)
            for place in self._places(group):
                place.add(group)
        return group

    def discard(self, group: Group) -> None:
        """Forget a group without members."""
        del self._groups[group.audience.key, group.framing.key]
        self._wide.discard(group)
        for id_ in _ids(group):
            place = self._by_id[id_]
            place.discard(group)
            if not place:
                del self._by_id[id_]

    def sort(self, entries: Iterable[Entry]) -> dict[Group, list[Entry]]:
        """Which groups are to get which of these events."""
        owed: dict[Group, list[Entry]] = {}
        for entry in entries:
            route = entry.route
            for id_ in (None, route.task_id, route.session_id, route.thread_id):
                groups = self._wide if id_ is None else self._by_id.get(id_, ())
                for group in groups:
                    if group.audience.wants(route):
                        events = owed.setdefault(group, [])
                        # A group may be found by the task and by the session.
                        if not events or events[-1] is not entry:
                            events.append(entry)
        return owed

    def _places(self, group: Group) -> list[set[Group]]:
        ids = _ids(group)
        return [self._by_id.setdefault(id_, set()) for id_ in ids] if ids else [self._wide]


def _ids(group: Group) -> set[str]:
    # A set: clients choose ids of threads, so a thread may have the id of a session.
    wishes = group.audience.filter
    return {*wishes.tasks, *wishes.sessions, *wishes.threads}
