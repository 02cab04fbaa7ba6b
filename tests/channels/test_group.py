"""Groups against a plain model: whatever happens, each follower sees what is for it once and in order.

Whispers are among what happens: none may disturb that, and each is where it was said.
"""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessioncast_server.channels import courier as courier_file
from sessioncast_server.channels import group as group_file
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.channel import ChannelLimits
from sessioncast_server.channels.subscriber import State, Subscriber
from support.crowd import TASKS, WIDE, Crowd, Taker, narrow

AUDIENCES = [WIDE, narrow(0), narrow(1)]
SMALL = ChannelLimits(ring_events=12, block_bytes=30, whispers=3, replay_events=8, snapshot_interval_s=0.0)


@pytest.fixture(autouse=True, scope="module")
def _small_portions() -> Iterator[None]:
    """Two sinks at a time, and short pieces: every state in between is one that the steps below can meet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courier_file, "_PORTION", 2)
        patch.setattr(group_file, "_STRIDE", 4)
        patch.setattr(group_file, "_PIECES_MAX", 3)
        yield


class World:
    """A crowd, and after each step the question whether everybody has exactly what it should have."""

    def __init__(self) -> None:
        self.crowd = Crowd(SMALL, slice_s=0.0)
        self.lives: dict[str, list[int]] = {"e": []}
        """By epoch, the task of each event."""
        self.takers: list[Taker] = []
        self.whispers = 0

    def wanted(self, epoch: str, audience: Audience, after: int, upto: int) -> list[int]:
        """Offsets of the events that an audience is to see."""
        tasks = audience.filter.tasks
        life = self.lives[epoch][after:upto]
        return [offset for offset, task in enumerate(life, after + 1) if not tasks or TASKS[task] in tasks]

    def check(self) -> None:
        """What was fed is what is wanted up to the position, no more and no less; what is claimed was fed."""
        for taker in self.takers:
            subscriber = taker.subscriber
            assert subscriber is not None
            epoch, base, since = self.crowd.begun[subscriber]
            seen: list[int] = []
            said: list[int] = []
            for line in taker.heard[since:]:
                word, _, rest = line.partition(" ")
                if word == "E":
                    for each in rest.split():
                        if not each.startswith("~"):
                            seen.append(int(each))
                            continue
                        # A whisper: all that was heard of before it and nothing of what came later, once and in order.
                        life, after, number = each[1:].split(":")
                        assert life == epoch, taker.heard
                        assert seen == self.wanted(epoch, subscriber.group.audience, base, int(after)), taker.heard
                        said.append(int(number))
                        assert said == sorted(set(said)), taker.heard
                elif word in "HP" and rest.startswith(f"{epoch}:"):
                    claimed = int(rest.partition(":")[2])
                    assert seen == self.wanted(epoch, subscriber.group.audience, base, claimed), taker.heard
            position = subscriber.position
            if subscriber.state is State.CLOSED or position.epoch != epoch:
                upto = max(seen, default=base)
            else:
                upto = position.offset
                assert upto <= len(self.lives[epoch])
            assert seen == self.wanted(epoch, subscriber.group.audience, base, upto), (taker.heard, subscriber.state)

    def pick(self, number: int) -> Subscriber | None:
        """One of those that are still there."""
        there = [each.subscriber for each in self.takers if each.subscriber and each.ended is None]
        there = [each for each in there if each.state is not State.CLOSED]
        return there[number % len(there)] if there else None

    async def step(self, what: str, number: int) -> None:
        """One thing that can happen."""
        crowd = self.crowd
        subscriber = self.pick(number)
        match what:
            case "join":
                taker = Taker(f"{len(self.takers)}", room=1 + number % 4)
                self.takers.append(taker)
                crowd.join(taker, AUDIENCES[number % 3], back=number)
            case "happen":
                tasks = [(number + each) % 3 for each in range(1 + number % 4)]
                self.lives[crowd.epoch] += tasks
                crowd.happen(*tasks, size=number % 20)
            case "whisper":
                self.whispers += 1
                crowd.whisper(f"~{crowd.epoch}:{len(crowd.log)}:{self.whispers}", number % 3)
            case "deal":
                crowd.channel.deal()
            case "slice":
                crowd.courier.run()
            case "turn":
                await asyncio.sleep(0)
            case "beat":
                crowd.now += 100.0
                for group in crowd.channel.groups:
                    crowd.channel.beat(group, 15.0)
            case "trim":
                crowd.floor = max(crowd.floor, len(crowd.log) - 15)
            case "restart":
                epoch = f"e{len(self.lives)}"
                self.lives[epoch] = []
                crowd.begin_anew(epoch)
            case "leave" if subscriber:
                subscriber.leave()
            case "end" if subscriber:
                subscriber.end("draining")
            case "read" if subscriber:
                crowd.taker(subscriber).read(1 + number % 3)
            case "fail" if subscriber:
                crowd.taker(subscriber).broken = subscriber.state is State.FOLLOWING


OFTEN = ["happen", "slice", "turn", "join", "read", "happen", "slice", "read", "whisper"]
SELDOM = ["deal", "beat", "leave", "end", "restart", "trim"]
step = st.tuples(st.sampled_from(OFTEN * 2 + SELDOM), st.integers(0, 23))
# Short lists hardly ever come to the middle of a pass: what hypothesis makes is about as long as the mean of both.
steps = st.lists(step, min_size=30, max_size=120)


async def play(script: list[tuple[str, int]]) -> None:
    """Let it happen, then let it come to rest: everybody who is still there has everything."""
    world = World()
    crowd = world.crowd
    for number in range(6):
        await world.step("join", number * 12)
    for what, number in script:
        await world.step(what, number)
        world.check()
    await crowd.settle()
    world.check()
    for subscriber in crowd.channel.subscribers:
        assert subscriber.position == crowd.channel.head
    assert not crowd.channel.parked
    for group in crowd.channel.groups:
        assert group.size == len(group.followers)
        assert not group.has_work
        assert group.asides is None
    await crowd.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_every_follower_sees_each_event_once_and_in_order(script: list[tuple[str, int]]) -> None:
    """Events, slices, arrivals, departures, full sinks, restarts in any order: nothing lost, doubled, claimed early."""
    asyncio.run(play(script))


async def test_who_joins_in_the_middle_of_a_pass_gets_it_once() -> None:
    """With a position before it, at it, and after what was dealt out: each hears the rest, and nothing twice."""
    crowd = Crowd(slice_s=0.0)
    crowd.follow(6)
    crowd.happen(0)
    crowd.happen(0)
    crowd.courier.run()
    crowd.happen(0)
    late = [Taker(f"{back}") for back in range(4)]
    for back, taker in enumerate(late):
        crowd.join(taker, back=back)
    await crowd.settle()
    assert [each.offsets for each in late] == [[], [3], [2, 3], [1, 2, 3]]
    crowd.happen(0)
    await crowd.settle()
    assert [each.offsets[-1] for each in late] == [4] * 4
    assert [len(each.offsets) for each in late] == [1, 2, 3, 4]
    await crowd.close()


async def test_who_is_ahead_of_the_followers_waits_for_their_pass() -> None:
    """Among them now it would be given again what it has: it follows once the pass has begun that has that."""
    crowd = Crowd(slice_s=0.0)
    crowd.follow(30)
    crowd.happen(0)
    crowd.courier.run()
    crowd.happen(0)
    ahead = Taker()
    subscriber = crowd.join(ahead)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert subscriber.state is State.ATTENDED
    await crowd.settle()
    crowd.happen(0)
    await crowd.settle()
    assert ahead.offsets == [3]
    await crowd.close()


async def test_who_is_alone_and_lost_its_place_hears_what_comes() -> None:
    """Told of a gap in the very turn that an event arrives: nobody is owed that event, so no pass would ever come."""
    crowd = Crowd(SMALL, slice_s=0.0)
    crowd.happen(*[0] * 30)
    crowd.floor = 20
    lost = Taker()
    crowd.join(lost, back=25)
    await asyncio.sleep(0)  # it reads its page of the log
    crowd.happen(0)
    await asyncio.sleep(0)  # and has it, before the event is dealt out
    await crowd.settle()
    crowd.happen(0)
    await crowd.settle()
    assert lost.heard[0].startswith("O e:3")
    assert lost.offsets in ([31, 32], [32])
    await crowd.close()


async def test_who_leaves_or_parks_in_the_middle_of_a_pass_keeps_its_true_place() -> None:
    """One who was served is behind the pass, one who waits is before it; parked, both get the rest once they read."""
    crowd = Crowd(slice_s=0.0)
    takers = crowd.follow(6, room=1)
    crowd.happen(0)
    crowd.courier.run()
    served = [each for each in takers if each.heard]
    waiting = [each for each in takers if not each.heard]
    assert (len(served), len(waiting)) == (2, 4)
    crowd.happen(0)
    crowd.channel.deal()
    places = {each.name: each.subscriber.position.offset for each in takers if each.subscriber}
    assert {places[each.name] for each in served} == {1}
    assert {places[each.name] for each in waiting} == {0}
    first = waiting[0].subscriber
    assert first is not None
    first.leave()
    assert first.cursor == 0
    await crowd.settle()
    assert all(each.offsets == [1, 2] for each in takers if each is not waiting[0])
    assert waiting[0].heard == []
    await crowd.close()


async def test_a_full_sink_is_given_no_more_until_it_is_read() -> None:
    """It is parked at once; then block by block from the ring, in order, while the others went on."""
    crowd = Crowd(ChannelLimits(block_bytes=10), slice_s=0.0)
    slow, fast = crowd.follow(1, room=1)[0], crowd.follow(1)[0]
    for _ in range(10):
        crowd.happen(0, size=6)
        crowd.courier.run()
        crowd.courier.run()
    assert fast.offsets == list(range(1, 11))
    assert slow.offsets == [1]
    assert slow.subscriber in crowd.channel.parked
    slow.read(1)
    assert len(slow.heard) == 2
    assert slow.offsets in ([1, 2], [1, 2, 3])
    await crowd.settle()
    assert slow.offsets == list(range(1, 11))
    await crowd.close()


async def test_pieces_for_those_who_catch_up_are_made_once() -> None:
    """A hundred that come back from the same place share the bytes."""
    crowd = Crowd()
    crowd.follow(2)
    for _ in range(10):
        crowd.happen(0)
    crowd.courier.run()
    made = len(crowd.framing.made)
    back = [Taker(f"{number}") for number in range(100)]
    for taker in back:
        crowd.join(taker, back=8)
    assert {tuple(each.offsets) for each in back} == {tuple(range(3, 11))}
    assert len(crowd.framing.made) - made <= 3
    await crowd.close()


async def test_a_group_whose_members_left_is_owed_nothing() -> None:
    """In the middle of a pass as well: the courier comes to rest and nothing of it is kept."""
    crowd = Crowd(slice_s=0.0)
    takers = crowd.follow(6)
    group = crowd.group()
    crowd.happen(0)
    crowd.courier.run()
    crowd.happen(0)
    crowd.channel.deal()
    for taker in takers:
        assert taker.subscriber is not None
        taker.subscriber.leave()
    assert not group.has_work
    assert len(crowd.channel.groups) == 0
    for _ in range(3):
        crowd.courier.run()
    assert crowd.courier.idle
    await crowd.close()
