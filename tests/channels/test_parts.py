"""The parts of a channel by plain calls: ring, groups, subscriber, and what a channel takes of announcements."""

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.broker.base import Announcement, Route
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.channel import Channel, ChannelLimits
from sessioncast_server.channels.courier import Courier
from sessioncast_server.channels.framing import Framing
from sessioncast_server.channels.group import Group
from sessioncast_server.channels.groups import Groups
from sessioncast_server.channels.log import Entry, Head
from sessioncast_server.channels.ring import Budget, Ring
from sessioncast_server.channels.snapshot import Snapshot
from sessioncast_server.channels.subscriber import State, Subscriber
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.transports.wsframes import WebSocketFraming
from sessioncast_shared.filters import Filter
from support.hubs import Tally
from support.sink import FRAMING, RecordingSink

IDS = [f"0000000{n}-0000-4000-8000-000000000000" for n in range(6)]


def entry(offset: int, size: int = 10, route: Route | None = None) -> Entry:
    """An event."""
    return Entry(offset, route or Route("task", IDS[0]), b'{"position":"e:%d","data":{}}' % offset + b" " * size)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 20_000))
def test_a_ring_is_a_bounded_run_without_a_hole(batches: list[int], events: int, size: int) -> None:
    """Whatever is appended: bounds hold (one event always fits), `reaches` tells the truth, and the budget adds up."""
    budget = Budget(size)
    ring = Ring(events=events, size=size, budget=budget)
    last = 0
    for batch in batches:
        ring.extend([entry(offset) for offset in range(last + 1, last + batch + 1)])
        last += batch
        held = [each.offset for each in ring.after(ring.first - 1)]
        assert held == list(range(ring.first, last + 1))
        assert 1 <= len(ring) <= events
        assert budget.used <= size or len(ring) == 1
        assert ring.reaches(ring.first - 1)
        assert not ring.reaches(ring.first - 2)
        assert [each.offset for each in ring.after(last - 1)] == [last]
    ring.restart(last + 5)
    assert (budget.used, len(ring), ring.last) == (0, 0, last + 5)


def test_a_ring_refuses_a_hole() -> None:
    """What does not follow the last event is an error, not a silent hole."""
    ring = Ring(events=5, size=5000, budget=Budget(5000))
    ring.extend([entry(1)])
    for offset in (1, 3):
        with pytest.raises(ValueError, match="a hole in the ring"):
            ring.extend([entry(offset)])


routes = st.builds(
    Route,
    st.sampled_from(["task", "session", "output", "thread"]),
    *(st.none() | st.sampled_from(IDS) for _ in range(3)),
    st.none(),
)
ids = st.lists(st.sampled_from(IDS), max_size=3)
filters = st.builds(
    lambda tasks, sessions, threads, kinds: Filter.of(tasks=tasks, sessions=sessions, threads=threads, kinds=kinds),
    ids, ids, ids, st.none() | st.lists(st.sampled_from(["task", "session", "output"]), min_size=1),
)  # fmt: skip


def alone(audience: Audience, framing: Framing) -> Group:
    """A group that nobody feeds."""
    channel = Channel(
        "p", ChannelLimits(), Budget(1), clock=lambda: 0.0, courier=Courier(slice_s=1, busy=lambda: 0),
        attend=lambda _: None, left=lambda _: None, read_log=lambda _: NotImplemented, count=Tally(),
    )  # fmt: skip
    return Group(channel, audience, framing)


@given(st.lists(st.tuples(filters, st.booleans()), max_size=8), st.lists(routes, max_size=20))
def test_the_index_finds_exactly_the_groups_that_want_an_event(
    wishes: list[tuple[Filter, bool]], events: list[Route]
) -> None:
    """By id and by none, each group gets each event it wants once, in order; an empty index is left at the end."""
    groups = Groups()
    made = {groups.get(Audience(wanted, threads=threads), FRAMING, alone) for wanted, threads in wishes}
    entries = [entry(offset, route=route) for offset, route in enumerate(events, 1)]
    owed = groups.sort(entries)
    for group in made:
        assert owed.get(group, []) == [each for each in entries if group.audience.wants(each.route)]
    for group in made:
        groups.discard(group)
    assert (len(groups), groups._wide, groups._by_id) == (0, set(), {})


def test_groups_are_one_per_audience_and_framing() -> None:
    """Equal wishes, rights and words share a group; any difference parts them."""
    groups = Groups()
    one = groups.get(Audience(Filter.of(tasks=IDS[:2])), FRAMING, alone)
    assert groups.get(Audience(Filter.of(tasks=[IDS[1], IDS[0], IDS[0]])), FRAMING, alone) is one
    assert groups.get(Audience(Filter.of(tasks=IDS[:2])), WebSocketFraming("other"), alone) is not one
    wide = groups.get(Audience(Filter()), FRAMING, alone)
    assert groups.get(Audience(Filter(), threads=True), FRAMING, alone) is not wide


class Shelf:
    """Counts snapshots and hands them out when told."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Snapshot]] = []

    async def read(self, _: Audience) -> Snapshot:
        """One more."""
        future: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self.asked.append(future)
        return await future


def always(_: Snapshot) -> bool:
    """Any will do."""
    return True


async def test_one_flight_serves_all_and_a_failed_one_is_forgotten() -> None:
    """Who comes during a flight shares it, also its failure and a sharer's cancellation; the next one flies anew."""
    bench, shelf = Bench(), Shelf()
    group = bench.channel.group(Audience(Filter()), FRAMING)

    def ask(usable: Callable[[Snapshot], bool] = always) -> "asyncio.Task[Snapshot]":
        return asyncio.create_task(group.snapshot(shelf.read, usable))

    asking = [ask() for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking[0].cancel()
    shelf.asked[0].set_exception(UnavailableError("io"))
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert all(isinstance(each, UnavailableError) for each in outcomes[1:])

    first = ask()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    shelf.asked[1].set_result(Snapshot((), "e", 1))
    assert (await first).offset == 1
    assert (await ask()).offset == 1
    late = [ask(lambda snapshot: snapshot.offset > 1) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(shelf.asked) == 3
    shelf.asked[2].set_result(Snapshot((), "e", 2))
    assert {(await each).offset for each in late} == {2}
    group.forget()
    again = ask()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(shelf.asked) == 4
    again.cancel()
    shelf.asked[3].cancel()


class Bench:
    """A channel alone, whose readings of the log are counted."""

    def __init__(self, limits: ChannelLimits | None = None) -> None:
        self.reads = 0
        self.attended: list[Subscriber] = []
        self.tally = Tally()
        self.courier = Courier(slice_s=60, busy=lambda: 0)
        self.channel = Channel(
            "p", limits or ChannelLimits(early_wait_s=0.001), Budget(1 << 30),
            clock=asyncio.get_running_loop().time, courier=self.courier, attend=self.attend, left=lambda _: None,
            read_log=self.read, count=self.tally,
        )  # fmt: skip

    def attend(self, subscriber: Subscriber) -> None:
        """The ring cannot help this one."""
        subscriber.move(State.ATTENDED)
        self.attended.append(subscriber)

    def flush(self) -> None:
        """All that is known goes to the followers."""
        while not self.courier.idle:
            self.courier.run()

    def read(self, _: Channel) -> "asyncio.Task[None]":
        """Count."""
        self.reads += 1
        return asyncio.create_task(asyncio.sleep(0))

    def join(self, sink: RecordingSink) -> Subscriber:
        """An attended subscriber at the channel's place."""
        group = self.channel.group(Audience(Filter()), FRAMING)
        subscriber = sink.subscriber = Subscriber(self.channel, group, sink, wants_snapshots=True)
        group.size += 1
        self.channel.subscribers.add(subscriber)
        subscriber.cursor = self.channel.dealt
        return subscriber


def announced(first: int, count: int = 1, epoch: str = "e") -> Announcement:
    """A commit."""
    entries = [entry(offset) for offset in range(first, first + count)]
    return Announcement("p", epoch, first, tuple(each.route for each in entries), tuple(each.body for each in entries))


@pytest.mark.parametrize("seed", range(20))
async def test_a_channel_takes_each_event_once_and_in_order(seed: int) -> None:
    """Overlapping, doubled, shuffled announcements, some before the head is known: one run without a repeat."""
    dice = random.Random(seed)
    bench = Bench()
    channel = bench.channel
    offered = [announced(first, dice.randint(1, 4)) for first in range(1, 40) for _ in range(dice.randint(1, 2))]
    dice.shuffle(offered)
    cut = dice.randrange(len(offered))
    for each in offered[:cut]:
        channel.offer(each)
    channel.begin(Head("e", 5, 0))
    sink = RecordingSink()
    bench.join(sink).move(State.FOLLOWING)
    for each in [*offered[cut:], *offered]:
        channel.offer(each)
        if dice.random() < 0.3:
            bench.flush()
    bench.flush()
    assert sink.offsets == list(range(6, channel.last + 1))
    assert all(after == before + 1 for before, after in pairwise(sink.offsets))
    assert channel.last >= 39
    channel.close()


async def test_a_channel_asks_the_log_about_what_it_cannot_place() -> None:
    """Another epoch at once, a hole after a moment, too many early ones at once; what is older is ignored."""
    bench = Bench(ChannelLimits(early=3, early_wait_s=60))
    channel = bench.channel
    channel.begin(Head("e", 5, 0))
    channel.offer(announced(3, 2))
    channel.offer(announced(5))
    assert (channel.last, bench.reads) == (5, 0)
    channel.offer(announced(6, epoch="f"))
    assert (channel.last, bench.reads) == (5, 1)
    for first in (8, 10, 12):
        channel.offer(announced(first))
    assert bench.reads == 1
    channel.offer(announced(14))
    assert bench.reads == 2
    assert channel._early == {}
    channel.close()


async def test_bytes_are_made_once_for_a_group() -> None:
    """Every follower is handed the same object, and the count is events times followers."""
    bench = Bench()
    bench.channel.begin(Head("e", 0, 0))
    fed: list[bytes] = []

    class Sink(RecordingSink):
        def feed(self, data: bytes) -> bool:
            fed.append(data)
            return True

    for _ in range(3):
        bench.join(Sink()).move(State.FOLLOWING)
    bench.channel.offer(announced(1, 2))
    bench.flush()
    assert len(fed) == 3
    assert len({id(each) for each in fed}) == 1
    assert bench.tally.of["delivered"] == 6
    bench.channel.close()


async def test_legal_and_illegal_moves_of_a_subscriber() -> None:
    """The sets of followers and parked ones follow the state; every other move raises and names both."""
    legal = {
        (State.ATTENDED, State.FOLLOWING), (State.ATTENDED, State.PARKED), (State.ATTENDED, State.CLOSED),
        (State.FOLLOWING, State.PARKED), (State.FOLLOWING, State.ATTENDED), (State.FOLLOWING, State.CLOSED),
        (State.PARKED, State.FOLLOWING), (State.PARKED, State.ATTENDED), (State.PARKED, State.CLOSED),
    }  # fmt: skip
    bench = Bench()
    bench.channel.begin(Head("e", 0, 0))
    for before in State:
        for after in State:
            subscriber = bench.join(RecordingSink())
            if before is not State.ATTENDED:
                subscriber.move(before)
            if (before, after) in legal:
                subscriber.move(after)
                assert (subscriber in subscriber.group.followers) is (after is State.FOLLOWING)
                assert (subscriber in bench.channel.parked) is (after is State.PARKED)
            else:
                with pytest.raises(RuntimeError, match=f"from {before.value} to {after.value}"):
                    subscriber.move(after)
            if subscriber.state is not State.CLOSED:
                subscriber.leave()
            subscriber.leave()
            subscriber.drained()
    bench.channel.close()


async def test_a_heartbeat_claims_nothing_too_early() -> None:
    """Where events are pending they go instead of it; its position is what followers have; the parked hear none."""
    bench = Bench()
    channel = bench.channel
    channel.begin(Head("e", 3, 0))
    sink, full = RecordingSink(), RecordingSink("held")
    follower = bench.join(sink)
    group = follower.group
    follower.move(State.FOLLOWING)
    bench.join(full).move(State.FOLLOWING)
    channel.offer(announced(4))
    bench.flush()
    channel.offer(announced(5))
    channel.beat(group, 0.0)
    bench.flush()
    assert sink.ops == ["events", "events"]
    channel.beat(group, 0.0)
    bench.flush()
    assert (sink.frames[-1]["position"], sink.frames[-1]["head"]) == ("e:5", "e:5")
    assert full.ops == ["events"]
    full.read()
    assert full.offsets == [4, 5]
    channel.close()
