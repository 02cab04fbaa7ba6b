"""Lines for locks: first come, first served, whoever gives up leaves no gap, and one line is nothing to another."""

import asyncio

import pytest

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.lines import Lines, Place

_LONG_S = 60.0


async def settled() -> None:
    """Let everybody go on who can."""
    for _ in range(5):
        await asyncio.sleep(0)


def standing(lines: Lines, key: object, count: int) -> list[Place]:
    """Callers at the end of a line."""
    places = [Place(lines) for _ in range(count)]
    for place in places:
        place.move(key)
    return places


async def test_each_is_first_in_order_of_arrival() -> None:
    """One at a time, and the next only when the one before has left; the empty line is gone."""
    lines, order = Lines(10), []

    async def stand(place: Place, number: int) -> None:
        assert await place.first(_LONG_S)
        order.append(number)

    places = standing(lines, "k", 5)
    standers = [asyncio.create_task(stand(place, number)) for number, place in enumerate(places)]
    for number, place in enumerate(places):
        await settled()
        assert order == list(range(number + 1))
        place.leave()
    await asyncio.gather(*standers)
    assert (len(lines), lines.waiting) == (0, 0)


async def test_who_is_cancelled_leaves_no_gap() -> None:
    """In the middle, or as the first: the others keep their order, and the next is told."""
    lines, order = Lines(10), []

    async def call(number: int, done: asyncio.Event) -> None:
        place = Place(lines)
        try:
            place.move("k")
            assert await place.first(_LONG_S)
            order.append(number)
            await done.wait()
        finally:
            place.leave()

    events = [asyncio.Event() for _ in range(5)]
    calls = [asyncio.create_task(call(number, done)) for number, done in enumerate(events)]
    await settled()
    for gone in (2, 0):
        calls[gone].cancel()
        await settled()
    assert order == [0, 1]
    for done in events:
        done.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert order == [0, 1, 3, 4]
    assert (len(lines), lines.waiting) == (0, 0)


async def test_who_is_told_and_cancelled_at_once_passes_it_on() -> None:
    """The one before leaves and the next is cancelled before it could go on: the one behind it is first."""
    lines = Lines(10)
    first, second, third = standing(lines, "k", 3)
    waiting = asyncio.create_task(second.first(_LONG_S))
    await settled()
    first.leave()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    second.leave()
    assert await third.first(0)


async def test_standing_has_an_end() -> None:
    """Who was not the first in time is told so, and stands there until it leaves."""
    lines = Lines(10)
    first, second, third = standing(lines, "k", 3)
    assert not await second.first(0.01)
    first.leave()
    assert await second.first(0)
    assert not await third.first(0)


async def test_lines_do_not_mix() -> None:
    """The first of each line is first, however long others are."""
    lines = Lines(10)
    standing(lines, ("task", "a"), 3)
    (other,) = standing(lines, ("task", "b"), 1)
    assert await other.first(0)
    assert len(lines) == 2


async def test_who_wants_another_lock_changes_lines() -> None:
    """It goes to the end of the other one and makes way in its own; asked for the same, it keeps its place."""
    lines = Lines(10)
    mover, behind = standing(lines, "a", 2)
    standing(lines, "b", 1)
    assert not mover.move("a")
    assert await mover.first(0)
    assert mover.move("b")
    assert await behind.first(0)
    assert not await mover.first(0)
    assert mover.move(None)
    assert await mover.first(0), "who stands in no line waits for nobody"
    assert (len(lines), lines.waiting) == (2, 2)


async def test_leaving_twice_is_leaving_once() -> None:
    """Nobody else's place is given away."""
    lines = Lines(10)
    first, second, third = standing(lines, "k", 3)
    for _ in range(2):
        first.leave()
    assert await second.first(0)
    assert not await third.first(0)
    assert lines.waiting == 2


async def test_lines_are_bounded_together() -> None:
    """One caller more than the bound is refused with `queue`, stands in no line, and may come once another has left."""
    lines = Lines(3)
    places = [*standing(lines, "a", 2), *standing(lines, "b", 1)]
    more = Place(lines)
    with pytest.raises(UnavailableError) as caught:
        more.move("c")
    assert (caught.value.reason, more.key, len(lines)) == ("queue", None, 2)
    places[0].leave()
    assert more.move("c")
