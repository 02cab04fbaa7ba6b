"""Where a stream begins, and what it is told when that cannot be."""

import asyncio
import contextlib
import random
import sqlite3

import pytest

from sessioncast_server.channels import life
from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.channel import ChannelLimits
from sessioncast_server.channels.hub import FullError, HubLimits
from sessioncast_server.channels.janitor import trim
from sessioncast_server.channels.subscriber import State
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.jobs.rotation import rotate_now
from sessioncast_shared.position import Position
from support.hubs import Rig, subscriber_of
from support.sink import RecordingSink
from support.waiting import until


async def told(sink: RecordingSink) -> tuple[str, str | None]:
    """State and reason of the first frame."""
    await sink.said("subscribed")
    return sink.frames[0]["state"], sink.frames[0].get("reason")


@pytest.mark.parametrize("listening", [True, False], ids=["from the ring", "from the log"])
async def test_a_position_resumes_after_it(rig: Rig, listening: bool) -> None:
    """Everything after the position comes, and nothing up to it; `from` and `to` span it."""
    hub = await rig.node()
    if listening:
        await rig.follower(hub)
    for _ in range(5):
        await rig.task()
    start, head = Position((await rig.head()).epoch, 2), await rig.head()

    sink = await rig.follower(hub, "turns", wish=Wish(start))

    assert await told(sink) == ("resumed", None)
    assert (sink.frames[0]["from"], sink.frames[0]["to"], sink.frames[0]["position"]) == (
        str(start),
        str(head),
        str(head),
    )
    assert sink.offsets == [3, 4, 5]
    await rig.task()
    await sink.has(6)


async def test_unusable_positions_are_gaps_with_a_reason(rig: Rig) -> None:
    """Another log's, an old life's, a future one: told why, given the state, counted; later events follow."""
    await rig.project("q")
    hub = await rig.node()
    await rig.task()
    head = await rig.head()
    cases = {
        "epoch": [await rig.head("q"), Position("oldlife", 1)],
        "future": [Position(head.epoch, 2), Position(head.epoch, 10**18 - 1)],
    }
    for reason, positions in cases.items():
        for position in positions:
            sink = await rig.follower(hub, wish=Wish(position))
            assert await told(sink) == ("gap", reason)
            assert sink.ops == ["subscribed", "snapshot"]
            assert sink.frames[1]["position"] == str(head)
        assert rig.tallies[0].of[f"gap {reason}"] == 2


async def test_never_is_told_and_goes_on_from_the_head(rig: Rig) -> None:
    """Without snapshots an unusable position is a gap, and what comes after the head follows."""
    hub = await rig.node()
    await rig.task()
    sink = await rig.follower(hub, wish=Wish(Position("oldlife", 1), "never"))
    assert await told(sink) == ("gap", "epoch")
    fresh = await rig.follower(hub, wish=Wish(None, "never"))
    assert await told(fresh) == ("resumed", None)
    await rig.task()
    for each in (sink, fresh):
        await each.has(2)
        assert each.offsets == [2]
        assert "snapshot" not in each.ops


async def test_a_long_replay_becomes_a_snapshot(rig: Rig) -> None:
    """Over the bound of a replay: a snapshot with the reason; with `never` all of the events."""
    hub = await rig.node(HubLimits(channel=ChannelLimits(replay_events=10, ring_events=5)))
    for _ in range(40):
        await rig.task()
    start = Position((await rig.head()).epoch, 3)
    sink = await rig.follower(hub, "turns", wish=Wish(start))
    assert await told(sink) == ("snapshot", "replay_too_long")
    assert sink.events == []
    never = await rig.follower(hub, "turns", wish=Wish(start, "never"))
    assert await told(never) == ("resumed", None)
    assert never.offsets == list(range(4, 41))


async def test_trimmed_events_are_a_gap(rig: Rig) -> None:
    """After retention a position below the floor is expired; the floor itself still resumes."""
    for _ in range(10):
        await rig.task()
    epoch = (await rig.head()).epoch
    gone = (await rig.database.write(trim, "p", keep_s=-1, keep_events=4, batch=500)).value
    assert gone == 6
    hub = await rig.node()

    below = await rig.follower(hub, wish=Wish(Position(epoch, 5)))
    at = await rig.follower(hub, wish=Wish(Position(epoch, 6)))

    assert await told(below) == ("gap", "expired")
    assert await told(at) == ("resumed", None)
    assert at.offsets == [7, 8, 9, 10]


@pytest.mark.parametrize("how", ["one", "all", "by hand"])
async def test_a_rotation_under_live_followers(rig: Rig, how: str) -> None:
    """Everybody is told once, given the state under the new epoch, and misses nothing after it."""
    hub = await rig.node()
    sinks = [await rig.follower(hub, "fast"), await rig.follower(hub, "turns")]
    held = await rig.join(hub, "held")
    held.read()
    never = await rig.follower(hub, wish=Wish(None, "never"))
    await rig.task("before")
    old = await rig.head()
    match how:
        case "one":
            await rig.database.write(life.rotate, "p", old.epoch)
        case "all":
            await rig.database.write(life.rotate_all)
        case _:
            await asyncio.to_thread(rotate_now, f"sqlite:///{rig.path}")
    await rig.task("after")
    new, truth = await rig.head(), await rig.truth()
    assert new.epoch != old.epoch

    for _ in range(20):
        held.read()
        await asyncio.sleep(0.02)
    for sink in [*sinks, held]:
        await until(lambda each=sink: len(each.state()) == 2, f"the state; {sink.frames}")  # type: ignore[misc]  # bound
        assert sink.ops.count("resync") <= 1
        assert {id_: each["title"] for id_, each in sink.state().items()} == truth
    for sink in sinks:
        assert [each["reason"] for each in sink.frames if each["op"] == "resync"] == ["epoch"]
    await never.said("resync")
    await rig.task("last")
    for sink in [*sinks, never]:
        await until(lambda each=sink: each.events[-1]["position"] == str(Position(new.epoch, 3)), "the last")  # type: ignore[misc]  # bound


async def test_a_log_that_went_back_gets_a_new_epoch(rig: Rig) -> None:
    """A head below what was seen, in one epoch, proves it: rotated, counted, and everybody is told."""
    hub = await rig.node(HubLimits(head_check_s=3600))
    sink = await rig.follower(hub)
    for _ in range(5):
        await rig.task()
    await sink.has(5)
    old = await rig.head()
    with sqlite3.connect(rig.path) as back:
        back.execute("DELETE FROM event WHERE offset > 2")
        back.execute("UPDATE channel SET head = 2")
    back.close()

    await hub.check_heads()

    await sink.said("snapshot", 2)
    assert [each["reason"] for each in sink.frames if each["op"] == "resync"] == ["epoch"]
    assert (await rig.head()).epoch != old.epoch
    assert rig.tallies[0].of["rotated"] == 1
    await rig.task()
    await until(lambda: sink.offsets[-1] == 3, "an event of the new life")


async def test_a_channel_that_is_gone_ends_its_streams(rig: Rig) -> None:
    """A log restored to before the channel was made: its streams end, for there is nothing to show."""
    hub = await rig.node(HubLimits(head_check_s=3600))
    sink = await rig.follower(hub)
    with sqlite3.connect(rig.path) as back:
        back.execute("DELETE FROM channel")
    back.close()
    await hub.check_heads()
    assert sink.ended == "overloaded"


async def test_a_position_from_a_node_that_is_ahead(rig: Rig) -> None:
    """A node that was told nothing yet reads on until it has reached the position, and resumes without repeating."""
    await rig.node()
    other = await rig.node(HubLimits(head_check_s=3600))
    await rig.follower(other)
    rig.brokers[1].fault = lambda _: []
    await rig.task()
    await rig.task()
    sink = await rig.follower(other, wish=Wish(Position((await rig.head()).epoch, 1)))
    assert await told(sink) == ("resumed", None)
    assert sink.offsets == [2]


async def test_a_position_of_a_new_epoch_on_a_node_in_the_old_one(rig: Rig) -> None:
    """A node that has not noticed a rotation resumes a position of the new epoch, and does not take it back."""
    hub = await rig.node(HubLimits(head_check_s=3600))
    await rig.follower(hub)
    await rig.task()
    await rig.database.write(life.rotate_all)
    sink = await rig.follower(hub, "turns", wish=Wish(await rig.head()))
    assert await told(sink) == ("resumed", None)
    await rig.task()
    await sink.has(2)
    assert "resync" not in sink.ops


async def test_a_slow_reader_is_passed_and_catches_up(rig: Rig) -> None:
    """Parked with its place; the ring passes it; it reads on from the log, whole; others were not kept waiting."""
    limits = HubLimits(channel=ChannelLimits(ring_events=8, block_bytes=500))
    hub = await rig.node(limits)
    slow = await rig.join(hub, "held")
    for _ in range(3):
        await until(lambda: slow.full or subscriber_of(slow).state is State.FOLLOWING, "a frame")
        slow.read()
        await asyncio.sleep(0)
    quick = await rig.follower(hub)
    await rig.task()
    await until(lambda: subscriber_of(slow).state is State.PARKED, "parked")
    for _ in range(40):
        await rig.task()
    await quick.has(41)
    assert slow.offsets == [1]

    slow.pace = "turns"
    slow.read()

    await slow.has(41)
    assert slow.offsets == list(range(1, 42))
    assert "resync" not in slow.ops


async def test_a_reader_too_far_behind_is_told_once_and_then_closed(rig: Rig) -> None:
    """Too far behind the ring and the log: resync and snapshot; again within the interval: ended as too slow."""
    limits = HubLimits(channel=ChannelLimits(ring_events=4, replay_events=5, snapshot_interval_s=3600))
    hub = await rig.node(limits)
    sink = await rig.follower(hub, "turns", wish=Wish(await rig.head()))
    for expected in ("told", "closed"):
        sink.pace = "held"
        for _ in range(20):
            await rig.task()
        await until(lambda: subscriber_of(sink).state is State.PARKED, "parked")
        sink.pace = "turns"
        sink.read()
        if expected == "told":
            await sink.said("snapshot")
            await until(lambda: subscriber_of(sink).state is State.FOLLOWING, "following")
            assert [each["reason"] for each in sink.frames if each["op"] == "resync"] == ["too_far_behind"]
            assert {id_: each["title"] for id_, each in sink.state().items()} == await rig.truth()
    await sink.over()
    assert sink.ended == "too_slow"


async def test_a_full_sink_is_ended_at_the_deadline(rig: Rig) -> None:
    """Whether an attendant waits for it or it is parked: after the deadline a sink that takes nothing is ended."""
    hub = await rig.node(HubLimits(channel=ChannelLimits(send_deadline_s=0.05), heartbeat_s=0.06))
    opening = await rig.join(hub, "held")
    parked = await rig.follower(hub, "turns")
    parked.pace = "held"
    await rig.task()
    await opening.over()
    await parked.over()
    assert opening.ended == parked.ended == "too_slow"
    assert hub.subscribers == 0


async def test_a_database_that_is_away_ends_streams_for_now(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the snapshot cannot be read streams end as overloaded; the group is not spoiled for who comes later."""
    hub = await rig.node(HubLimits(head_check_s=3600))
    keeper = await rig.follower(hub, wish=Wish(None, "never"))
    observe = rig.database.observe

    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("io")

    monkeypatch.setattr(rig.database, "observe", away)
    sinks = [await rig.join(hub) for _ in range(3)]
    for sink in sinks:
        await sink.over()
        assert sink.ended == "overloaded"
    monkeypatch.setattr(rig.database, "observe", observe)
    later = await rig.follower(hub)
    assert later.ops == ["subscribed", "snapshot"]
    assert keeper.ended is None


async def test_a_channel_whose_head_cannot_be_read_is_no_channel_yet(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The join fails with the database's error, nothing is counted as open, and the next one is fine."""
    hub = await rig.node(HubLimits(head_check_s=3600))
    observe = rig.database.observe

    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("io")

    monkeypatch.setattr(rig.database, "observe", away)
    with pytest.raises(UnavailableError):
        await rig.join(hub)
    assert hub.subscribers == 0
    monkeypatch.setattr(rig.database, "observe", observe)
    assert (await rig.follower(hub)).ops == ["subscribed", "snapshot"]


async def test_a_channel_lingers_and_is_let_go(rig: Rig) -> None:
    """Without subscribers a channel stays for a moment, then its ring is given back and the broker told."""
    hub = await rig.node(HubLimits(linger_s=0.05))
    sink = await rig.follower(hub)
    await rig.task()
    assert hub.ring_bytes > 0
    subscriber_of(sink).leave()
    assert hub.open_channels == 1
    again = await rig.follower(hub)
    subscriber_of(again).leave()
    await until(lambda: hub.open_channels == 0, "the channel to go")
    assert hub.ring_bytes == 0
    await rig.task()
    assert (await rig.follower(hub)).frames[1]["position"] == str(await rig.head())


async def test_drain_says_goodbye_to_everybody(rig: Rig) -> None:
    """Following, parked and opening alike; a stream that was being opened meanwhile is refused, not forgotten."""
    hub = await rig.node()
    sinks = [await rig.follower(hub), await rig.join(hub, "held")]
    late = asyncio.create_task(rig.join(hub, project="p"))
    await rig.project("q")
    opening = asyncio.create_task(rig.join(hub, project="q"))
    await asyncio.sleep(0)
    await hub.drain()
    for sink in sinks:
        assert sink.ended == "draining"
    for task in (late, opening):
        with contextlib.suppress(FullError):
            assert (await task).ended == "draining"
    assert hub.subscribers == 0


@pytest.mark.parametrize("seed", range(2))
async def test_churn_leaves_nothing_behind(rig: Rig, seed: int) -> None:
    """500 joins, leaves, reads and writes at random: at the end no subscriber, group, parked one or task is left."""
    dice = random.Random(seed)
    hub = await rig.node(HubLimits(channel=ChannelLimits(ring_events=8, replay_events=4), head_check_s=0.01))
    tasks = [await rig.task() for _ in range(3)]
    idle = len(hub._tasks)
    live: list[RecordingSink] = []
    for _ in range(500):
        match dice.randrange(8):
            case 0 | 1 | 2:
                head = await rig.head()
                wish = Wish(Position(head.epoch, dice.randrange(head.offset + 2)) if dice.random() < 0.6 else None)
                live.append(await rig.join(hub, dice.choice(("fast", "turns", "held")), wish=wish))
            case 3 | 4 if live:
                subscriber_of(live.pop(dice.randrange(len(live)))).leave()
            case 5 if live:
                sink = dice.choice(live)
                if sink.full and sink.pace == "held":
                    sink.read()
            case 6 if dice.random() < 0.05:
                await rig.database.write(life.rotate_all)
            case _:
                await rig.patch(dice.choice(tasks).id, f"{dice.random()}")
    head = await rig.head()
    channel = hub._channels["p"]
    for sink in live:
        if sink.pace == "held":
            sink.pace = "turns"
            if sink.full:
                sink.read()
    await rig.patch(tasks[0].id, "last")
    for sink in live:
        await until(
            lambda each=sink: each.ended is not None or (each.state().get(tasks[0].id) or {}).get("title") == "last",  # type: ignore[misc]  # bound
            f"the last change; {sink.frames[-3:]} {subscriber_of(sink).state}",
        )
        epochs = {event["position"].split(":")[0] for event in sink.events}
        for epoch in epochs:
            offsets = [int(e["position"].split(":")[1]) for e in sink.events if e["position"].startswith(epoch)]
            assert offsets == sorted(set(offsets))
        subscriber_of(sink).leave()
    assert head.offset > 0
    assert hub.subscribers == channel.holders == len(channel.groups) == len(channel.parked) == 0
    await until(lambda: len(hub._tasks) <= idle, f"tasks to end: {hub._tasks}")
