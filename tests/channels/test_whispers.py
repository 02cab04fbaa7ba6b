"""Whispers in a channel: in the order of the events, to who follows, and without a trace. No test waits for a clock."""

import asyncio
from dataclasses import replace

import pytest

from sessioncast_server.broker.base import Announcement, Route, Whisper
from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.channel import ChannelLimits
from sessioncast_server.channels.hub import HubLimits
from sessioncast_server.channels.log import Head
from sessioncast_server.channels.subscriber import State
from sessioncast_shared.filters import Filter
from sessioncast_shared.position import Position
from support.crowd import TASKS, Crowd, Taker, narrow
from support.hubs import Rig
from support.sink import RecordingSink
from support.waiting import until


async def test_a_whisper_is_shown_where_it_was_said() -> None:
    """After the events before it, in the same bytes as these, before the later ones; only to those who want it."""
    crowd = Crowd()
    wide, narrow_one, other = (crowd.follow(3, *audience)[0] for audience in ((), (narrow(0),), (narrow(1),)))
    crowd.whisper("~first")
    crowd.happen(0, 1)
    crowd.whisper("~second")
    crowd.happen(0)
    await crowd.settle()
    assert wide.heard == ["E ~first 1 2 ~second 3"]
    assert narrow_one.heard == ["E ~first 1 ~second 3"]
    assert other.heard == ["E 2"]
    crowd.whisper("~alone", 1)
    await crowd.settle()
    assert (wide.heard[1:], other.heard[1:], narrow_one.heard[1:]) == (["E ~alone"], ["E ~alone"], [])
    assert crowd.tally.of["delivered"] == 3 * (3 + 2 + 1)
    await crowd.close()


async def test_a_whisper_during_a_pass_comes_in_the_next_one() -> None:
    """Who was served and who still waits: the event of the pass first, then the whisper, then what came after it."""
    crowd = Crowd(slice_s=0.0)
    takers = crowd.follow(100)
    crowd.happen(0)
    crowd.courier.run()
    assert 0 < sum(bool(each.heard) for each in takers) < 100
    crowd.whisper("~w")
    crowd.happen(0)
    await crowd.settle()
    assert {tuple(each.heard) for each in takers} == {("E 1", "E ~w 2")}
    crowd.happen(0)
    crowd.courier.run()
    crowd.whisper("~alone")
    await crowd.settle()
    assert {tuple(each.heard[2:]) for each in takers} == {("E 3", "E ~alone")}
    await crowd.close()


async def test_it_waits_in_line_where_a_pass_takes_only_a_part() -> None:
    """More is owed than fits into a pass: the whisper is behind the last of it, not at the end of the first pass."""
    crowd = Crowd(ChannelLimits(block_bytes=10))
    (taker,) = crowd.follow()
    crowd.whisper("~first")
    for _ in range(3):
        crowd.happen(0, 0, size=30)
    crowd.whisper("~last")
    await crowd.settle()
    assert taker.said == ["~first", "1", "2", "3", "4", "5", "6", "~last"]
    assert len(taker.heard) == 3
    await crowd.close()


async def test_it_moves_no_position_and_is_never_replayed() -> None:
    """Places stay those of the events; who comes back, parks or joins gets the events alone."""
    crowd = Crowd()
    (taker,) = crowd.follow()
    (slow,) = crowd.follow(room=1)
    crowd.happen(0)
    await asyncio.sleep(0)
    crowd.whisper("~w")
    await asyncio.sleep(0)
    assert taker.said == ["1", "~w"]
    for each in (taker, slow):
        assert each.subscriber is not None
        assert each.subscriber.position == Position("e", 1)
    assert crowd.channel.head == Position("e", 1)
    assert slow.subscriber is not None
    assert slow.subscriber.state is State.PARKED
    crowd.happen(0)
    back = Taker()
    crowd.join(back, back=2)
    await crowd.settle()
    assert slow.said == ["1", "2"]
    assert back.said == ["1", "2"]
    await crowd.close()


async def test_who_is_attended_misses_it() -> None:
    """Opening from the log, or given up to it because too much was owed: events come, whispers of that time do not."""
    crowd = Crowd(ChannelLimits(ring_events=10))
    crowd.happen(*[0] * 30)
    opening = Taker()
    subscriber = crowd.join(opening, back=25)
    assert subscriber.state is State.ATTENDED
    crowd.whisper("~missed")
    await crowd.settle()
    assert opening.said == [f"{offset}" for offset in range(6, 31)]
    crowd.happen(0)
    crowd.whisper("~dropped with what was owed")
    for _ in range(11):
        crowd.happen(0)
        crowd.channel.deal()
    assert subscriber.state is State.ATTENDED
    crowd.whisper("~missed too")
    await crowd.settle()
    assert opening.said == [f"{offset}" for offset in range(6, 43)]
    crowd.whisper("~heard")
    await crowd.settle()
    assert opening.said[-1] == "~heard"
    await crowd.close()


async def test_whispers_are_dropped_before_events_are() -> None:
    """Over the bound the oldest go, and none is taken once half of what makes a group give up is owed; both counted."""
    crowd = Crowd(ChannelLimits(whispers=2, ring_events=10))
    (taker,) = crowd.follow()
    for number in range(5):
        crowd.whisper(f"~{number}")
    assert crowd.tally.of["hushed held"] == 3
    crowd.happen(0, 0, 0, 0, 0, 0)
    crowd.whisper("~too much is owed")
    assert crowd.tally.of["hushed held"] == 4
    await crowd.settle()
    assert taker.said == ["~3", "~4", "1", "2", "3", "4", "5", "6"]
    crowd = Crowd(ChannelLimits(whisper_bytes=10))
    (taker,) = crowd.follow()
    for text in ("~234", "~234567", "~23", "~larger than the bound"):
        crowd.whisper(text)
    assert crowd.tally.of["hushed held"] == 3
    await crowd.settle()
    assert "".join(taker.heard) == "E ~larger than the bound"
    await crowd.close()


async def test_in_another_life_of_the_log_nothing_of_before_is_said() -> None:
    """The log begins anew with a whisper on its way: its place is gone, and so is it."""
    crowd = Crowd()
    (taker,) = crowd.follow()
    crowd.happen(0)
    crowd.whisper("~w")
    _announced(crowd, 7)
    crowd.whisper("~waits")
    crowd.begin_anew("f")
    await crowd.settle()
    assert taker.said == []
    crowd.whisper("~new")
    await crowd.settle()
    assert taker.said == ["~new"]
    crowd.whisper("~on its way")
    crowd.channel.restart(Head("g", 0, 0))
    assert not crowd.group().has_work
    await crowd.close()


async def test_who_stops_following_before_the_pass_misses_it() -> None:
    """A sink that is full by then: with nobody left to hear it, nothing is kept for who follows next."""
    crowd = Crowd()
    (taker,) = crowd.follow()
    crowd.whisper("~w")
    assert crowd.group().has_work
    assert taker.subscriber is not None
    taker.subscriber.move(State.PARKED)
    assert not crowd.group().has_work
    taker.subscriber.drained()
    await crowd.settle()
    assert taker.said == []
    await crowd.close()


def _announced(crowd: Crowd, *offsets: int) -> None:
    for offset in offsets:
        crowd.channel.offer(Announcement("p", "e", offset, (Route("task", TASKS[0]),), (b"",)))


async def test_it_waits_for_an_event_that_came_too_early() -> None:
    """Heard of but not shown yet, for the one before it is missing: what is said of it must not come first."""
    crowd = Crowd()
    (taker,) = crowd.follow()
    _announced(crowd, 2)
    crowd.whisper("~of-2")
    await asyncio.sleep(0)
    assert taker.heard == []
    _announced(crowd, 4)
    crowd.whisper("~of-4")
    _announced(crowd, 1)
    await asyncio.sleep(0)
    assert taker.said == ["1", "2", "~of-2"]
    _announced(crowd, 3, 5)
    crowd.whisper("~of-5")
    await asyncio.sleep(0)
    assert taker.said == ["1", "2", "~of-2", "3", "4", "~of-4", "5", "~of-5"]
    await crowd.close()


async def test_what_it_waits_for_in_vain_does_not_keep_it() -> None:
    """Once the log was read, an event that it has not was never committed; until then no more is held than may be."""
    crowd = Crowd(ChannelLimits(whispers=2))
    (taker,) = crowd.follow()
    _announced(crowd, 1, 7)
    for number in range(4):
        crowd.whisper(f"~{number}")
    assert crowd.tally.of["hushed held"] == 2
    crowd.channel.settle()
    await asyncio.sleep(0)
    assert taker.said == ["1"]
    crowd.channel._early_waited()
    crowd.channel.settle()
    await asyncio.sleep(0)
    assert taker.said == ["1", "~2", "~3"]
    crowd.whisper("~4")
    await asyncio.sleep(0)
    assert taker.said[-1] == "~4"
    await crowd.close()


async def test_its_cost_does_not_grow_with_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among ten thousand groups of a thread each, one is asked whether it wants a whisper of its thread."""
    crowd = Crowd()
    threads = [f"{number:08}-0000-4000-8000-000000000000" for number in range(10_000)]
    audiences = [Audience(Filter.of(threads=[thread]), threads=True) for thread in threads]
    for audience in audiences:
        crowd.group(audience)
    (taker,) = crowd.follow(1, audiences[7])
    asked: list[str] = []
    wants = Audience.wants

    def asking(audience: Audience, route: Route) -> bool:
        asked.append(audience.key)
        return wants(audience, route)

    monkeypatch.setattr(Audience, "wants", asking)
    crowd.channel.overhear(Whisper("p", Route("thread", thread_id=threads[7]), b"~w"))
    await crowd.settle()
    assert asked == [audiences[7].key]
    assert taker.said == ["~w"]
    assert len(crowd.framing.made) == 1
    await crowd.close()


async def test_it_counts_as_a_sign_of_life() -> None:
    """Who heard one needs no heartbeat until it has been silent for so long again."""
    crowd = Crowd()
    (taker,) = crowd.follow()
    group = crowd.group()
    crowd.now = 14.0
    crowd.whisper("~w")
    await crowd.settle()
    crowd.now = 20.0
    assert crowd.channel.beat(group, 15.0) == 29.0
    await crowd.settle()
    assert taker.heard == ["E ~w"]
    crowd.now = 29.0
    crowd.channel.beat(group, 15.0)
    await crowd.settle()
    assert taker.heard == ["E ~w", "H e:0"]
    await crowd.close()


def said(sink: RecordingSink) -> list[int | str]:
    """Offsets of events and texts of whispers, in order."""
    return [
        int(event["position"].partition(":")[2]) if "position" in event else event["data"]["text"]
        for event in sink.events
    ]


def whisper(text: str, channel: str = "p", task: str = "t") -> Whisper:
    """About a task."""
    return Whisper(channel, Route("task", task), b'{"type":"message.delta","data":{"text":"%s"}}' % text.encode())


async def test_two_nodes_say_the_same_in_the_same_order(rig: Rig) -> None:
    """What is committed and whispered on one node reaches the followers of both, each once, in that order."""
    here, there = await rig.node(), await rig.node()
    sinks = [await rig.follower(here), await rig.follower(there)]
    for number in range(1, 4):
        await rig.task()
        here.whisper(whisper(f"{number}"))
    for sink in sinks:
        await until(lambda sink=sink: len(sink.events) == 6, f"all of it; {sink.ops}")  # type: ignore[misc]  # bound early
        assert said(sink) == [1, "1", 2, "2", 3, "3"]
    there.whisper(whisper("back"))
    for sink in sinks:
        await until(lambda sink=sink: said(sink)[-1] == "back", "the answer")  # type: ignore[misc]  # bound early
    assert len(said(sinks[1])) == 7
    here.whisper(whisper("nobody", channel="of no project"))
    later = await rig.join(here, wish=Wish(sinks[0].subscriber.position if sinks[0].subscriber else None))
    assert said(later) == []


async def test_a_node_that_lost_announcements_is_told_whispers_and_reads_the_rest(rig: Rig) -> None:
    """Nothing is doubted for a whisper, and none waits for what was never heard of; the log heals as ever."""
    here, there = await rig.node(), await rig.node(HubLimits(head_check_s=3600))
    sink = await rig.follower(there)
    rig.brokers[1].fault = lambda _: []
    await rig.task()
    here.whisper(whisper("early"))
    await until(lambda: said(sink) == ["early"], "the whisper")
    rig.brokers[1].fault = lambda each: [replace(each)]
    await rig.task()
    here.whisper(whisper("late"))
    await until(lambda: len(sink.events) == 4, "the rest")
    assert said(sink) == ["early", 1, 2, "late"]
