"""Who asks for the same while it is read shares the next read, and each of them is on its own otherwise."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from sessioncast_server.transports.sharing import WOKEN_AT_ONCE, SharedReads
from support.waiting import until


class Reads:
    """Reads that end when they are told to; each answers which one it was."""

    def __init__(self) -> None:
        self.shared: SharedReads[str, int] = SharedReads()
        self.under_way: list[asyncio.Future[int]] = []

    async def _read(self) -> int:
        self.under_way.append(asyncio.get_running_loop().create_future())
        return await self.under_way[-1]

    def ask(self, count: int = 1) -> list[asyncio.Task[int]]:
        """So many more who ask."""
        return [asyncio.create_task(self.shared.get("k", self._read)) for _ in range(count)]

    async def begun(self, count: int) -> None:
        """So many reads were begun."""
        await until(lambda: len(self.under_way) >= count, f"read {count}")

    async def end(self, number: int) -> None:
        """This one, once it was begun, counted from 1."""
        await self.begun(number)
        self.under_way[number - 1].set_result(number)


async def _outcomes(tasks: list[asyncio.Task[int]]) -> list[Any]:
    awaited: Awaitable[list[Any]] = asyncio.gather(*tasks, return_exceptions=True)
    return await asyncio.wait_for(awaited, 30)


async def test_who_comes_later_has_a_later_read() -> None:
    """A read under way may have begun too early: all who come meanwhile share the one after it, not this one."""
    reads = Reads()
    first = reads.ask()
    await reads.begun(1)
    others = reads.ask(500)
    await asyncio.sleep(0)
    await reads.end(1)
    await reads.begun(2)
    last = reads.ask(2)
    await asyncio.sleep(0)
    await reads.end(2)
    await reads.end(3)
    assert await _outcomes(first + others + last) == [1] + [2] * 500 + [3] * 2
    assert len(reads.under_way) == 3
    await until(lambda: reads.shared.keys == 0, "nothing to be kept")


async def test_an_error_is_told_to_all() -> None:
    """What the shared read raised reaches everybody who shared it, and nobody else."""
    reads = Reads()
    first = reads.ask()
    await reads.begun(1)
    others = reads.ask(3)
    await asyncio.sleep(0)
    await reads.end(1)
    await reads.begun(2)
    later = reads.ask()
    await asyncio.sleep(0)
    reads.under_way[1].set_exception(OSError("gone"))
    await reads.end(3)
    assert [str(outcome) for outcome in await _outcomes(first + others + later)] == ["1", "gone", "gone", "gone", "3"]


@pytest.mark.parametrize("who", ["first", "sharer"])
async def test_a_cancelled_one_takes_nobody_along(who: str) -> None:
    """The others get their answer, whether it was the one who reads or one who shares that left."""
    reads = Reads()
    first = reads.ask()
    await reads.begun(1)
    others = reads.ask(3)
    await asyncio.sleep(0)
    if who == "first":
        first[0].cancel()
    else:
        await reads.end(1)
        await reads.begun(2)
        others[0].cancel()
    await reads.end(2)
    outcomes = await _outcomes(first + others)
    gone = 0 if who == "first" else 1
    assert isinstance(outcomes.pop(gone), asyncio.CancelledError)
    assert outcomes == ([2, 2, 2] if who == "first" else [1, 2, 2])


async def test_nothing_is_read_for_nobody() -> None:
    """When all who wait have left, their read is not made."""
    reads = Reads()
    first = reads.ask()
    await reads.begun(1)
    others = reads.ask(3)
    await asyncio.sleep(0)
    for other in others:
        other.cancel()
    await asyncio.sleep(0)
    await reads.end(1)
    await _outcomes(first + others)
    await until(lambda: reads.shared.keys == 0, "the end")
    assert len(reads.under_way) == 1


async def test_the_end_of_the_loop_leaves_nobody_waiting() -> None:
    """When the read itself is cancelled, so are those who share it."""
    reads = Reads()
    first = reads.ask()
    await reads.begun(1)
    others = reads.ask(2)
    await asyncio.sleep(0)
    await reads.end(1)
    await reads.begun(2)
    later = reads.ask()
    await asyncio.sleep(0)
    reads.under_way[1].cancel()
    outcomes = await _outcomes(first + others + later)
    assert outcomes[0] == 1
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[1:])
    assert reads.shared.keys == 0


async def test_sharers_are_woken_a_few_at_a_time() -> None:
    """No loop turn runs more than WOKEN_AT_ONCE of them, however many shared."""
    reads = Reads()
    first = reads.ask()
    await reads.begun(1)
    others = reads.ask(1000)
    await asyncio.sleep(0)
    await reads.end(1)
    await reads.end(2)
    per_turn, seen = [], 0
    while seen < 1000:
        await asyncio.sleep(0)
        now = sum(other.done() for other in others)
        per_turn.append(now - seen)
        seen = now
    assert max(per_turn) <= WOKEN_AT_ONCE
    await _outcomes(first + others)
