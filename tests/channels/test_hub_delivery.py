"""Two nodes on one database: whatever befalls announcements, each event comes once and in order."""

import asyncio
import random
from dataclasses import replace

import pytest

from sessioncast_server.broker.base import Announcement
from sessioncast_server.channels.channel import ChannelLimits
from sessioncast_server.channels.hub import HubLimits
from support.hubs import Rig
from support.sink import Pace, RecordingSink

NEVER_CHECKED = HubLimits(head_check_s=3600)


def lossy(seed: int) -> "Mangler":
    """Drops, doubles, delays and reorders."""
    return Mangler(random.Random(seed))


class Mangler:
    """What a bad network does to announcements."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.held: list[Announcement] = []

    def __call__(self, announcement: Announcement) -> list[Announcement]:
        self.held.append(announcement)
        if self.dice.random() < 0.5:
            return []
        out, self.held = self.held, []
        self.dice.shuffle(out)
        return [each for each in out for _ in range(self.dice.choice((0, 1, 1, 2)))]


@pytest.mark.parametrize("pace", ["fast", "turns"])
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_doubled_by_a_bad_broker(rig: Rig, seed: int, pace: Pace) -> None:
    """Announcements dropped, doubled, delayed and reordered: every event once, in order, on the other node."""
    await rig.node()
    other = await rig.node()
    sink = await rig.follower(other, pace)
    rig.brokers[1].fault = lossy(seed)

    for number in range(60):
        await asyncio.gather(*(rig.task(f"{number}") for _ in range(1 + number % 3)))
    head = (await rig.head()).offset

    await sink.has(head)
    assert sink.offsets == list(range(1, head + 1))


async def test_the_head_check_heals_what_was_never_announced(rig: Rig) -> None:
    """Nothing announced at all: one head check is enough, and found and healed events are counted."""
    await rig.node()
    other = await rig.node(NEVER_CHECKED)
    sink = await rig.follower(other)
    rig.brokers[1].fault = lambda _: []
    for number in range(5):
        await rig.task(f"{number}")
    assert sink.events == []

    await other.check_heads()

    await sink.has(5)
    assert sink.offsets == [1, 2, 3, 4, 5]
    assert (rig.tallies[1].of["found"], rig.tallies[1].of["healed"]) == (5, 5)


async def test_a_hole_is_filled_without_a_head_check(rig: Rig) -> None:
    """An announcement whose predecessor is missing has the log read after a moment, and counts as found and healed."""
    await rig.node()
    other = await rig.node(NEVER_CHECKED)
    sink = await rig.follower(other)
    rig.brokers[1].fault = lambda each: [] if each.first == 1 else [each]

    await rig.task()
    await rig.task()

    await sink.has(2)
    assert sink.offsets == [1, 2]
    assert rig.tallies[1].of["found"] == 1


async def test_an_announcement_of_nothing_committed_does_not_keep_the_log_busy(rig: Rig) -> None:
    """An early announcement that the log does not confirm is dropped after one look, not looked for for ever."""
    hub = await rig.node(HubLimits(channel=ChannelLimits(early_wait_s=0.001), head_check_s=3600))
    sink = await rig.follower(hub)
    channel = hub._channels["p"]
    reads = 0
    read_log = channel._read_log

    def counting(each: object) -> "asyncio.Task[None]":
        nonlocal reads
        reads += 1
        return read_log(channel)

    channel._read_log = counting
    await rig.task()
    await sink.has(1)
    real = Announcement("p", channel.epoch, 1, (channel.ring._entries[0].route,), (channel.ring._entries[0].body,))
    for offset in (40, 41, 60):
        hub.offer(replace(real, first=offset))
    hub.offer(replace(real, first=50, epoch="another"))

    for _ in range(20):
        await asyncio.sleep(0.002)
    assert reads <= 3
    assert sink.offsets == [1]


async def test_eight_writers_and_joiners_in_between(rig: Rig) -> None:
    """Snapshot to live while eight write: snapshot and events make the state the database has, without a hole."""
    hub, other = await rig.node(), await rig.node()
    tasks = [await rig.task(f"{number}") for number in range(20)]
    dice = random.Random(5)
    done = False

    async def write() -> None:
        for number in range(60):
            if number % 10 == 0:
                await rig.task(f"new {number}")
            await rig.patch(dice.choice(tasks).id, f"title {dice.random()}")

    async def join() -> list[RecordingSink]:
        sinks: list[RecordingSink] = []
        while not done:
            pace: Pace = "turns" if len(sinks) % 2 else "fast"
            sinks.append(await rig.join(dice.choice((hub, other)), pace))
            await asyncio.sleep(0.002)
        return sinks

    joining = asyncio.create_task(join())
    await asyncio.gather(*(write() for _ in range(8)))
    done = True
    sinks = await joining
    head, truth = await rig.head(), await rig.truth()

    assert len(sinks) > 5
    for sink in sinks:
        stamp = await _caught_up(sink, head.offset)
        assert sink.offsets == list(range(stamp + 1, head.offset + 1))
        assert {id_: each["title"] for id_, each in sink.state().items()} == truth


async def _caught_up(sink: RecordingSink, head: int) -> int:
    await sink.said("snapshot")
    stamp = int(
        next(each["position"] for each in sink.frames if "position" in each and each["op"] == "snapshot").split(":")[1]
    )
    if stamp < head:
        await sink.has(head)
    return stamp


async def test_two_hundred_joiners_of_a_group_ask_once(rig: Rig) -> None:
    """A crowd that comes at once costs one snapshot query."""
    hub = await rig.node()
    await rig.task()

    sinks = await asyncio.gather(*(rig.join(hub, "turns") for _ in range(200)))

    for sink in sinks:
        await sink.said("snapshot")
    assert rig.tallies[0].of["snapshot"] == 1


@pytest.mark.parametrize(
    "limits", [ChannelLimits(ring_events=2), ChannelLimits(ring_bytes=10), ChannelLimits(block_bytes=1)]
)
@pytest.mark.parametrize("pace", ["fast", "turns"])
async def test_bounds_smaller_than_one_commit(rig: Rig, limits: ChannelLimits, pace: Pace) -> None:
    """A ring or block that holds less than one announcement changes nothing of what is delivered."""
    hub = await rig.node(HubLimits(channel=limits, head_check_s=0.1))
    sink = await rig.follower(hub, pace)

    for _ in range(10):
        await asyncio.gather(*(rig.task("x" * 200) for _ in range(20)))

    await sink.has(200)
    assert sink.offsets == list(range(1, 201))
    assert "resync" not in sink.ops
