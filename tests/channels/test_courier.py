"""The courier hands a pass out in slices, and no sink keeps another from its bytes. No test waits for a clock."""

import asyncio

import pytest

from sessioncast_server.channels import courier as courier_file
from sessioncast_server.channels.channel import ChannelLimits
from sessioncast_server.channels.subscriber import State
from support.crowd import Crowd, Taker, narrow


class Watch:
    """Stands for the module `time` in the courier: each look at the clock is so much later than the one before."""

    def __init__(self) -> None:
        self.step_s = 0.0
        self.now = 0.0
        self.yields = 0

    def perf_counter(self) -> float:
        """The time."""
        self.now += self.step_s
        return self.now

    def sleep(self, seconds: float) -> None:
        """Others may have the interpreter."""
        assert seconds == 0
        self.yields += 1


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The courier's clock."""
    watch = Watch()
    monkeypatch.setattr(courier_file, "time", watch)
    return watch


def heard(takers: list[Taker]) -> int:
    """How many of them heard anything."""
    return sum(1 for each in takers if each.heard)


async def test_a_pass_to_ten_thousand_is_sliced(watch: Watch) -> None:
    """A slice ends when its time is up: callbacks of others run in between, and each sink still gets its bytes once."""
    crowd = Crowd(slice_s=1.0)
    takers = crowd.follow(10_000)
    watch.step_s = 0.25  # a slice is four looks at the clock
    crowd.happen(0)
    between: list[int] = []
    while heard(takers) < 10_000:
        await asyncio.sleep(0)
        between.append(heard(takers))
    portions = 10_000 / courier_file._PORTION
    assert len(between) >= portions / 4
    most = max(after - before for before, after in zip([0, *between], between, strict=False))
    assert most <= 4 * courier_file._PORTION
    assert all(each.heard == ["E 1"] for each in takers)
    assert len(crowd.framing.made) == 1
    await crowd.close()


async def test_a_fast_pass_is_one_slice(watch: Watch) -> None:
    """While its time is not up, a slice goes on: the loop is not gone through for every few sinks."""
    crowd = Crowd(slice_s=1.0)
    takers = crowd.follow(10_000)
    crowd.happen(0)
    await asyncio.sleep(0)
    assert heard(takers) == 10_000
    await crowd.close()


async def test_a_small_group_overtakes_a_large_one(watch: Watch) -> None:
    """An event of one subscriber does not wait for the pass to ten thousand that is under way."""
    crowd = Crowd(slice_s=0.0)
    large, small = crowd.follow(10_000, narrow(0)), crowd.follow(1, narrow(1))
    crowd.happen(0)
    await asyncio.sleep(0)
    crowd.happen(1)
    crowd.courier.run()
    crowd.courier.run()
    assert small[0].offsets == [2]
    assert heard(large) <= 3 * courier_file._PORTION
    await crowd.settle()
    assert all(each.offsets == [1] for each in large)
    await crowd.close()


async def test_what_comes_during_a_pass_comes_in_the_next_one(watch: Watch) -> None:
    """Once, in order, together: who was served and who still waited get the same."""
    crowd = Crowd(slice_s=0.0)
    takers = crowd.follow(100)
    crowd.happen(0)
    crowd.courier.run()
    for _ in range(3):
        crowd.happen(0)
        crowd.courier.run()
    await crowd.settle()
    assert {tuple(each.heard) for each in takers} == {("E 1", "E 2 3 4")}
    assert crowd.framing.made == [b"E 1", b"E 2 3 4"]
    assert crowd.tally.of["delivered"] == 400
    await crowd.close()


async def test_a_busy_store_gets_the_interpreter(watch: Watch) -> None:
    """Between portions it yields where the store has work, and only there."""
    crowd = Crowd(slice_s=60.0)
    crowd.follow(160)
    crowd.happen(0)
    crowd.courier.run()
    assert watch.yields == 0
    crowd.busy = 1
    crowd.happen(0)
    crowd.courier.run()
    assert watch.yields == 160 / courier_file._PORTION
    await crowd.close()


async def test_a_sink_that_fails_is_ended_and_the_others_get_theirs(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """It hears why, leaves its group, and the pass goes on; the next events too."""
    crowd = Crowd(slice_s=0.0)
    takers = crowd.follow(40)
    broken = takers[7]
    broken.broken = True
    crowd.happen(0)
    await crowd.settle()
    crowd.happen(0)
    await crowd.settle()
    assert broken.ended == "overloaded"
    assert broken.subscriber is not None
    assert broken.subscriber.state is State.CLOSED
    assert crowd.group().size == 39
    assert all(each.offsets == [1, 2] for each in takers if each is not broken)
    await crowd.close()


async def test_a_sink_that_cannot_even_be_ended_does_not_stop_its_group(watch: Watch) -> None:
    """Whatever one sink does, the others of its group get this event and the next one."""

    class Hopeless(Taker):
        def feed(self, data: bytes) -> bool:
            if data.startswith(b"E"):
                raise OSError("a broken sink")
            return True

        def end(self, reason: str) -> None:
            raise OSError("really broken")

    crowd = Crowd(slice_s=60.0)
    takers = crowd.follow(10)
    crowd.join(Hopeless())
    others = crowd.follow(10)
    for _ in range(2):
        crowd.happen(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [each.offsets for each in takers + others] == [[1, 2]] * 20
    assert crowd.courier.idle
    await crowd.close()


async def test_a_channel_that_fails_does_not_stop_another(watch: Watch) -> None:
    """Both have events in the same turn; the one that can be dealt out is."""
    broken, sound = Crowd(), Crowd()
    taker = sound.follow(1)[0]
    sound.channel._courier = broken.courier  # one courier serves all channels of a node

    def fail() -> None:
        raise RuntimeError("a broken channel")

    broken.channel.deal = fail  # type: ignore[method-assign]  # breaks it
    broken.happen(0)
    sound.happen(0)
    await asyncio.sleep(0)
    assert taker.offsets == [1]
    await sound.close()


async def test_who_is_owed_more_than_the_ring_holds_is_attended(watch: Watch) -> None:
    """Nothing grows without bound: followers read on from where each is, and have everything once in the end."""
    crowd = Crowd(ChannelLimits(ring_events=20), slice_s=0.0)
    takers = crowd.follow(40)
    crowd.happen(0)
    crowd.courier.run()
    served = heard(takers)
    assert 0 < served < 40
    for _ in range(30):
        crowd.happen(0)
        crowd.channel.deal()
    assert len(crowd.attended) == 40
    assert not crowd.group().owed
    await crowd.settle()
    assert all(each.offsets == list(range(1, 32)) for each in takers)
    await crowd.close()


async def test_what_is_owed_is_bounded_in_bytes_too(watch: Watch) -> None:
    """Large events are not kept for a group long after the ring has let go of them."""
    limits = ChannelLimits(ring_events=4096, ring_bytes=10_000)
    crowd = Crowd(limits, slice_s=0.0)
    takers = crowd.follow(40)
    crowd.happen(0)
    crowd.courier.run()
    most = 0
    for _ in range(400):
        crowd.happen(0, size=1000)
        crowd.channel.deal()
        most = max(most, sum(len(each.body) for each in crowd.group().owed))
    assert most <= 8 * limits.ring_bytes
    await crowd.settle()
    assert all(each.offsets == list(range(1, 402)) for each in takers)
    await crowd.close()


async def test_a_heartbeat_comes_only_after_silence(watch: Watch) -> None:
    """Whoever heard events a moment ago needs none; after so much silence one comes, once, and claims what was fed."""
    crowd = Crowd()
    taker = crowd.follow(1)[0]
    group = crowd.group()
    crowd.now = 10.0
    crowd.happen(0)
    crowd.courier.run()
    crowd.now = 24.0
    assert crowd.channel.beat(group, 15.0) == 25.0
    crowd.courier.run()
    assert taker.heard == ["E 1"]
    crowd.now = 25.0
    assert crowd.channel.beat(group, 15.0) == 40.0
    crowd.courier.run()
    crowd.courier.run()
    assert taker.heard == ["E 1", "H e:1"]
    await crowd.close()


async def test_nothing_is_scheduled_while_nothing_happens(watch: Watch) -> None:
    """An idle courier is no work for the loop: one turn per slice, none after the last."""
    crowd = Crowd(slice_s=0.0)
    crowd.follow(3)
    runs: list[int] = []
    run = crowd.courier.run

    def counted() -> None:
        runs.append(1)
        run()

    crowd.courier.run = counted  # type: ignore[method-assign]  # the loop calls this one
    crowd.happen(0)
    crowd.happen(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(runs) == 1
    assert crowd.courier.idle
    await crowd.close()
