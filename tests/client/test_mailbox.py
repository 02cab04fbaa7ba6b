"""Frames that wait to be read."""

import asyncio

import pytest

from sessioncast.errors import ConnectionLost
from sessioncast.streams.frames import Moved
from sessioncast.streams.mailbox import Mailbox


def moved(*offsets: int) -> list[Moved]:
    """Frames that differ."""
    return [Moved(f"e:{offset}") for offset in offsets]


async def test_all_that_came_is_given_at_once_and_in_order() -> None:
    """And what comes later with the next call, for which it is waited."""
    mailbox = Mailbox(max_bytes=100, max_frames=10)
    for frame in moved(1, 2):
        mailbox.put(frame, 10)
    assert await mailbox.take() == moved(1, 2)
    waiting = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.put(Moved("e:3"), 10)
    assert await waiting == moved(3)


@pytest.mark.parametrize(("sizes", "kept"), [([60, 40, 1], 2), ([500], 1), ([1] * 12, 10), ([60, 41], 1)])
async def test_it_is_bounded_by_bytes_and_frames(sizes: list[int], kept: int) -> None:
    """What is too much is not kept, nor is anything after it; what was kept is whole, then it says that it was full."""
    mailbox = Mailbox(max_bytes=100, max_frames=10)
    for number, size in enumerate(sizes):
        mailbox.put(Moved(f"e:{number}"), size)
    assert mailbox.full == (kept < len(sizes))
    assert await mailbox.take() == moved(*range(kept))
    if mailbox.full:
        mailbox.put(Moved("e:99"), 1)
        assert await mailbox.take() == []


async def test_what_is_read_makes_room() -> None:
    """The bound is on what waits, not on what came."""
    mailbox = Mailbox(max_bytes=100, max_frames=10)
    for number in range(50):
        mailbox.put(Moved(f"e:{number}"), 90)
        assert await mailbox.take() == moved(number)
    assert not mailbox.full


async def test_the_end_comes_after_all_that_came_before() -> None:
    """The first reason is the one that is told, again and again; who waits is woken."""
    mailbox = Mailbox(max_bytes=100, max_frames=10)
    mailbox.put(Moved("e:1"), 1)
    mailbox.end(ConnectionLost("u", "first"))
    mailbox.end(ConnectionLost("u", "second"))
    mailbox.put(Moved("e:2"), 1)
    assert await mailbox.take() == moved(1)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="first"):
            await mailbox.take()
    other = Mailbox(max_bytes=1, max_frames=1)
    waiting = asyncio.create_task(other.take())
    await asyncio.sleep(0)
    other.end(ConnectionLost("u", "gone"))
    with pytest.raises(ConnectionLost, match="gone"):
        await waiting
