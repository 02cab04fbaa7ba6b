"""Following channels without a stream: what is vouched for is true as far as the node can know."""

import asyncio
import random
import sqlite3
from typing import Any

import pytest

from sessioncast_server.broker.base import Announcement, Route
from sessioncast_server.channels import life
from sessioncast_server.channels.channel import Channel, ChannelLimits
from sessioncast_server.channels.courier import Courier
from sessioncast_server.channels.hub import Hub, HubLimits
from sessioncast_server.channels.log import Entry, Head
from sessioncast_server.channels.ring import Budget
from sessioncast_server.channels.watch import Watches
from sessioncast_server.db.errors import UnavailableError
from sessioncast_shared.position import Position
from support.gate import Gate
from support.hubs import Rig, Tally
from support.waiting import until

QUIET = HubLimits(head_check_s=3600)


def courier() -> Courier:
    """One with nobody to serve."""
    return Courier(slice_s=1, busy=lambda: 0)


def after(position: Position, events: int = 1) -> Position:
    """A position so many events later."""
    return Position(position.epoch, position.offset + events)


def announced(first: int, *tasks: str, epoch: str = "e") -> Announcement:
    """A commit about these tasks."""
    routes = tuple(Route("session", task_id=task) for task in tasks)
    return Announcement("p", epoch, first, routes, tuple(b"{}" for _ in tasks))


async def test_an_own_change_counts_before_it_is_answered(rig: Rig) -> None:
    """As soon as a write returns, what was read of its task before is not vouched for; of other tasks it still is."""
    hub = await rig.node(QUIET)
    one, other = [(await rig.task(title)).id for title in ("one", "other")]
    watch = await hub.watch("p")
    here = await rig.head()
    for number in range(50):
        assert watch.vouch(other, here) == after(here, number)
        await rig.patch(one, f"T{number}")
        assert watch.vouch(one, after(here, number)) is None
        assert watch.vouch(one, after(here, number + 1)) == after(here, number + 1)
    watch.close()


async def test_what_is_older_or_newer_than_what_is_known_is_not_vouched_for(rig: Rig) -> None:
    """From before the watch, from ahead of the channel, from another epoch: nobody knows."""
    hub = await rig.node(QUIET)
    task = (await rig.task()).id
    before = await rig.head()
    await rig.task()
    watch = await hub.watch("p")
    here = await rig.head()
    assert watch.vouch(task, here) == here
    assert watch.vouch(task, before) is None
    assert watch.vouch(task, after(here)) is None
    assert watch.vouch(task, Position("other", here.offset)) is None
    watch.close()


async def test_what_came_early_counts_at_once(rig: Rig) -> None:
    """An announcement whose predecessor is missing overtakes its own task, before the log is read for the hole."""
    hub = await rig.node(HubLimits(head_check_s=3600, channel=ChannelLimits(early_wait_s=3600)))
    watch = await hub.watch("p")
    here = await rig.head()
    hub.offer(announced(here.offset + 2, "a", epoch=here.epoch))
    assert watch.vouch("a", here) is None
    assert watch.vouch("b", here) == here
    watch.close()


async def test_what_came_early_counts_for_a_watch_that_comes_later(rig: Rig) -> None:
    """An announcement that waits for its predecessor is known to a watch that is opened meanwhile."""
    hub = await rig.node(HubLimits(head_check_s=3600, channel=ChannelLimits(early_wait_s=3600)))
    await rig.follower(hub)
    here = await rig.head()
    hub.offer(announced(here.offset + 2, "a", epoch=here.epoch))
    watch = await hub.watch("p")
    assert watch.vouch("a", here) is None
    assert watch.vouch("b", here) == here
    watch.close()


async def test_a_watch_knows_what_came_early_and_is_being_read(rig: Rig) -> None:
    """What waited in vain for its predecessor is read from the log: a watch that comes meanwhile opens after that."""
    await rig.node(QUIET)
    hub = await rig.node(HubLimits(head_check_s=3600, channel=ChannelLimits(early_wait_s=0.001)))
    await rig.follower(hub)
    rig.brokers[1].fault = lambda _: []
    before = await rig.head()
    await rig.task()
    task = (await rig.task()).id
    gate = Gate()
    observing = asyncio.create_task(rig.database.observe(gate))
    await until(gate.entered.is_set, "the hub's reads to be held")
    hub.offer(announced(before.offset + 2, task, epoch=before.epoch))
    channel = hub._channels["p"]
    await until(lambda: channel._early == {}, "the early one to be given up")
    opening = asyncio.create_task(hub.watch("p"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not opening.done()
    gate.open()
    await observing
    watch = await opening
    assert watch.vouch(task, before) is None
    assert watch.vouch(task, await rig.head()) == await rig.head()
    watch.close()


async def test_too_much_that_came_early_silences_until_the_log_was_read() -> None:
    """What is given up because too much came early may be of any task."""
    channel = Channel(
        "p", ChannelLimits(early=1, early_wait_s=3600), Budget(1 << 30), clock=asyncio.get_running_loop().time,
        courier=courier(), attend=lambda _: None, left=lambda _: None, count=Tally(),
        read_log=lambda _: asyncio.create_task(asyncio.sleep(0)),
    )  # fmt: skip
    channel.begin(Head("e", 5, 0))
    channel.offer(announced(7, "a"))
    channel.offer(announced(9, "b"))
    channel.mark()
    assert channel.vouch("a", Position("e", 5)) is None
    channel.settle()
    assert channel.vouch("a", Position("e", 5)) == Position("e", 5)
    channel.close()


async def test_a_foreign_epoch_silences_until_the_log_was_read(rig: Rig) -> None:
    """An announcement of another epoch puts everything in doubt at once; the log says whether it was an old one."""
    hub = await rig.node(QUIET)
    watch = await hub.watch("p")
    here = await rig.head()
    hub.offer(announced(here.offset + 1, "a", epoch="foreign"))
    assert watch.vouch("b", here) is None
    await until(lambda: watch.vouch("b", here) == here, "the log to be read")
    watch.close()


async def test_doubt_that_the_log_did_not_end_is_ended_by_the_head_check(rig: Rig, monkeypatch: Any) -> None:
    """When the log cannot be read the doubt stays, and the next head check reads again."""
    hub = await rig.node(QUIET)
    watch = await hub.watch("p")
    here = await rig.head()
    observe = rig.database.observe

    async def away(*_: Any) -> None:
        raise UnavailableError("io")

    monkeypatch.setattr(rig.database, "observe", away)
    hub.offer(announced(here.offset + 1, "a", epoch="foreign"))
    reader = hub._channels["p"].reader
    assert reader is not None
    with pytest.raises(UnavailableError):
        await reader
    monkeypatch.setattr(rig.database, "observe", observe)
    assert watch.vouch("b", here) is None
    await hub.check_heads()
    await until(lambda: watch.vouch("b", here) == here, "the log to be read")
    watch.close()


async def test_a_new_epoch_ends_what_was_vouched_for(rig: Rig) -> None:
    """After a rotation nothing of the epoch before is vouched for; what is read anew is."""
    hub = await rig.node(HubLimits(head_check_s=0.02))
    task = (await rig.task()).id
    watch = await hub.watch("p")
    old = await rig.head()
    await rig.database.write(life.rotate, "p", old.epoch)
    await until(lambda: watch.vouch(task, old) is None, "the rotation to be seen")
    new = await rig.head()
    await until(lambda: watch.vouch(task, new) == new, "the new epoch to be followed")
    watch.close()


async def test_a_log_that_went_back_ends_what_was_vouched_for(rig: Rig) -> None:
    """Found out by a head check, it gets a new epoch; of what was read in the old one nothing is true for sure."""
    hub = await rig.node(QUIET)
    task = (await rig.task()).id
    await rig.task()
    watch = await hub.watch("p")
    old = await rig.head()
    _sql(rig, "DELETE FROM event WHERE offset > 1", "UPDATE channel SET head = 1")
    gate = Gate()
    writing = asyncio.create_task(rig.database.write(gate))
    await until(gate.entered.is_set, "the writer to be held")
    checking = asyncio.create_task(hub.check_heads())
    await until(lambda: watch.vouch(task, old) is None, "the doubt, before the new epoch is there")
    gate.open()
    await asyncio.gather(writing, checking)
    new = await rig.head()
    assert new.epoch != old.epoch
    await until(lambda: watch.vouch(task, new) == new, "the new epoch to be followed")
    watch.close()


async def test_a_channel_that_is_gone_vouches_for_nothing(rig: Rig) -> None:
    """A log restored to before its channel was made is in doubt until the channel is there again."""
    hub = await rig.node(QUIET)
    watch = await hub.watch("p")
    here = await rig.head()
    _sql(rig, "CREATE TABLE aside AS SELECT * FROM channel", "DELETE FROM channel")
    await hub.check_heads()
    assert watch.vouch("a", here) is None
    _sql(rig, "INSERT INTO channel SELECT * FROM aside", "DROP TABLE aside")
    await hub.check_heads()
    await until(lambda: watch.vouch("a", here) == here, "the log to be read")
    watch.close()


def _sql(rig: Rig, *statements: str) -> None:
    """Done to the file behind the node's back."""
    with sqlite3.connect(rig.path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


async def test_a_closed_watch_leaves_nothing(rig: Rig) -> None:
    """It vouches for nothing, may be closed again, and its channel goes with the last who was there."""
    hub = await rig.node(HubLimits(linger_s=0.01))
    first, second = await hub.watch("p"), await hub.watch("p")
    here = await rig.head()
    first.close()
    first.close()
    assert first.vouch("a", here) is None
    assert second.vouch("a", here) == here
    assert hub.open_channels == 1
    second.close()
    await until(lambda: hub.open_channels == 0, "the channel to go")


async def test_a_channel_that_is_not_there_is_not_left_open(rig: Rig) -> None:
    """To watch what is not there fails, and leaves no channel."""
    hub = await rig.node(HubLimits(linger_s=0.01))
    with pytest.raises(KeyError):
        await hub.watch("nothing")
    await until(lambda: hub.open_channels == 0, "the channel to go")


class Ticks:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


async def followed(watches: Watches, hub: Hub, rig: Rig, project: str) -> None:
    """Return once a project is followed."""
    here = await rig.head(project)
    watches.follow(project)
    await until(lambda: watches.vouch(project, "a", here) is not None, f"{project} to be followed")


async def test_no_more_projects_are_followed_than_may_be(rig: Rig) -> None:
    """A project without room is not followed until another one was not asked for long enough."""
    hub = await rig.node(HubLimits(linger_s=0.01, head_check_s=3600))
    clock = Ticks()
    watches = Watches(hub.watch, limit=2, idle_s=10, clock=clock)
    for name in ("p1", "p2", "p3"):
        await rig.project(name)
    await followed(watches, hub, rig, "p1")
    await followed(watches, hub, rig, "p2")
    watches.follow("p3")
    assert (len(watches), watches._opening) == (2, {})

    clock.now = 9
    here = await rig.head("p1")
    assert watches.vouch("p1", "a", here) == here
    clock.now = 11
    await followed(watches, hub, rig, "p3")
    assert set(watches._watches) == {"p1", "p3"}
    await until(lambda: hub.open_channels == 2, "the channel of p2 to go")

    clock.now = 100
    watches.sweep()
    assert len(watches) == 0
    await until(lambda: hub.open_channels == 0, "all channels to go")
    await watches.close()
    watches.follow("p1")
    assert watches._opening == {}


async def test_what_cannot_be_followed_is_tried_again(rig: Rig) -> None:
    """A failure leaves nothing behind, and the next wish opens the watch."""
    hub = await rig.node(QUIET)
    failures: list[Exception] = [UnavailableError("io"), KeyError("p")]

    async def open_watch(name: str) -> Any:
        if failures:
            raise failures.pop()
        return await hub.watch(name)

    watches = Watches(open_watch, limit=2, idle_s=10, clock=Ticks())
    for _ in range(2):
        watches.follow("p")
        await until(lambda: not watches._opening, "the attempt to end")
        assert len(watches) == 0
    await followed(watches, hub, rig, "p")
    await watches.close()


async def test_closing_gives_up_what_is_being_opened(rig: Rig) -> None:
    """A watch that is not open yet when all is closed is never open."""
    hub = await rig.node(HubLimits(linger_s=0.01))
    watches = Watches(hub.watch, limit=2, idle_s=10, clock=Ticks())
    watches.follow("p")
    await asyncio.sleep(0)
    await watches.close()
    assert (len(watches), watches._opening) == (0, {})
    await until(lambda: hub.open_channels == 0, "the channel to go")


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_is_lost_or_late_nothing_overtaken_is_vouched_for(seed: int) -> None:
    """Commits offered in any order, doubled, some never; readings of the log now and then: what is vouched for was
    not overtaken by anything that was offered or read, and after a reading everything that is true is vouched for."""
    dice = random.Random(seed)
    tasks = [f"t{number}" for number in range(dice.randint(1, 8))]
    log = [dice.choice(tasks) for _ in range(60)]
    commits = []
    first = 1
    while first <= len(log):
        size = dice.randint(1, 3)
        commits.append(announced(first, *log[first - 1 : first - 1 + size]))
        first += size
    opened_at = dice.randint(0, 10)
    offers = [commit for commit in commits if dice.random() < 0.8 for _ in range(dice.randint(1, 2))]
    dice.shuffle(offers)
    channel = Channel(
        "p", ChannelLimits(early=dice.randint(1, 20), early_wait_s=3600, ring_events=dice.randint(3, 80)),
        Budget(1 << 30), clock=asyncio.get_running_loop().time,
        courier=courier(), attend=lambda _: None, left=lambda _: None,
        read_log=lambda _: asyncio.create_task(asyncio.sleep(0)), count=Tally(),
    )  # fmt: skip
    channel.begin(Head("e", opened_at, 0))
    channel.mark()
    known: dict[str, int] = {}

    def read(upto: int) -> None:
        fresh = [
            Entry(offset, Route("session", task_id=log[offset - 1]), b"{}")
            for offset in range(channel.last + 1, upto + 1)
        ]
        channel.take(fresh)
        channel.take_early()
        channel.settle()
        for offset in range(1, upto + 1):
            known[log[offset - 1]] = max(offset, known.get(log[offset - 1], 0))

    def check() -> None:
        for task in tasks:
            for offset in range(len(log) + 1):
                upto = channel.vouch(task, Position("e", offset))
                if upto is not None:
                    assert max(opened_at, known.get(task, 0)) <= offset <= upto.offset == channel.last

    for commit in offers:
        channel.offer(commit)
        for offset, route in enumerate(commit.routes, commit.first):
            if offset > opened_at and route.task_id is not None:
                known[route.task_id] = max(offset, known.get(route.task_id, 0))
        check()
        if dice.random() < 0.1:
            read(dice.randint(channel.last, len(log)))
            check()
    read(len(log))
    check()
    for task in tasks:
        assert channel.vouch(task, Position("e", len(log))) == Position("e", len(log))
    channel.close()
    assert channel.vouch(tasks[0], Position("e", len(log))) is None
