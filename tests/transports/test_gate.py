"""The gate paces openings by the time of loop turns, in order of arrival, and costs nothing while nobody comes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sessioncast_server.transports.gate import FIRST, LEAST, LONG_S, MOST, SHORT_S, Gate, GateFullError
from support.waiting import until


class Turns:
    """A clock that says each turn took so long; each reading of it is one turn further."""

    def __init__(self, took_s: float) -> None:
        self.took_s = took_s
        self.readings = 0
        self._now = 0.0

    def __call__(self) -> float:
        self.readings += 1
        self._now += self.took_s
        return self._now


SLOW, QUICK = LONG_S * 2, SHORT_S / 2


class Crowd:
    """Openers, and how many of them went on in each turn of the loop, counted by somebody else on it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.order: list[int] = []
        self.per_turn: list[int] = []
        self.quotas: list[int] = []
        self._seen = 0

    def come(self, count: int) -> list[asyncio.Task[None]]:
        """So many more."""
        return [asyncio.create_task(self._open(number)) for number in range(count)]

    async def _open(self, number: int) -> None:
        await self.gate.enter()
        self.order.append(number)

    async def watch(self, condition: Callable[[], bool]) -> None:
        """Be called back in every turn until the condition holds."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def tick() -> None:
            self.per_turn.append(len(self.order) - self._seen)
            self._seen = len(self.order)
            self.quotas.append(self.gate.quota)
            if condition():
                done.set()
            else:
                loop.call_soon(tick)

        loop.call_soon(tick)
        async with asyncio.timeout(30):
            await done.wait()


def _at_once(enter: Awaitable[None]) -> None:
    """It returns without a switch of tasks."""
    with pytest.raises(StopIteration):
        enter.__await__().__next__()


async def test_who_comes_alone_goes_on_at_once() -> None:
    """While few come and nobody waits, entering does not even give way to another task."""
    gate = Gate(10)
    for _ in range(FIRST):
        _at_once(gate.enter())
    assert gate.waiting == 0


async def test_a_storm_leaves_room_in_every_turn() -> None:
    """With 5,000 waiting, somebody called back in every turn meets at most MOST openings since the turn before."""
    crowd = Crowd(Gate(10_000, clock=Turns(QUICK)))
    crowd.come(5000)
    await crowd.watch(lambda: len(crowd.order) == 5000)
    assert max(crowd.per_turn) == MOST
    assert len(crowd.per_turn) >= 5000 / MOST
    assert crowd.order == list(range(5000)), "not in order of arrival"
    assert crowd.gate.waiting == 0


async def test_long_turns_let_few_through() -> None:
    """When turns take too long the number falls to LEAST, whoever made them long, but not to nothing."""
    crowd = Crowd(Gate(1000, clock=Turns(SLOW)))
    crowd.come(200)
    await crowd.watch(lambda: len(crowd.order) == 200)
    steady = [count for count in crowd.per_turn[8:] if count]
    assert set(steady[:-1]) == {LEAST}


async def test_the_number_follows_the_turns() -> None:
    """A long turn halves it, short ones raise it by one each, and those in between leave it."""
    turns = Turns(QUICK)
    crowd = Crowd(Gate(1000, clock=turns))
    crowd.come(1000)
    await crowd.watch(lambda: crowd.gate.quota >= FIRST + 3)
    turns.took_s = (LONG_S + SHORT_S) / 2
    await crowd.watch(lambda: len(crowd.order) > 300)
    steady = crowd.gate.quota
    turns.took_s = SLOW
    await crowd.watch(lambda: len(crowd.order) == 1000)
    numbers = list(dict.fromkeys(crowd.quotas))
    assert numbers == [*range(FIRST, steady + 1), steady // 2, LEAST][: len(numbers)]
    assert crowd.quotas.count(steady) > 10
    assert numbers[-1] == LEAST


async def test_turns_that_prove_nothing_do_not_raise_it() -> None:
    """A short turn with few openings does not say that many would be cheap."""
    turns = Turns(QUICK)
    gate = Gate(10, clock=turns)
    for _ in range(50):
        _at_once(gate.enter())
        before = turns.readings
        await until(lambda before=before: turns.readings > before, "the turn to be timed")  # type: ignore[misc]  # a default
    assert gate.quota == FIRST


async def test_who_gives_up_leaves_no_hole() -> None:
    """Those cancelled while they wait are passed over: every turn still lets its full number through, in order."""
    crowd = Crowd(Gate(1000, clock=Turns((LONG_S + SHORT_S) / 2)))
    openers = crowd.come(600)
    await asyncio.sleep(0)
    assert crowd.gate.waiting == 600 - FIRST
    gone = [opener for number, opener in enumerate(openers) if number % 3 and not opener.done()]
    for opener in gone:
        opener.cancel()
    left = 600 - len(gone)
    await crowd.watch(lambda: len(crowd.order) == left)
    full = [count for count in crowd.per_turn if count]
    assert set(full[:-1]) == {FIRST}
    assert crowd.order == sorted(crowd.order)
    assert crowd.gate.waiting == 0


async def test_one_let_through_may_still_be_cancelled() -> None:
    """Cancelled between being let through and going on, it takes nobody else's turn."""
    loop, turns = asyncio.get_running_loop(), Turns(QUICK)
    cancelled: list[int] = []

    def clock() -> float:
        if turns.readings == 1:  # the first line is let through right after this, and goes on after what is due now
            loop.call_soon(lambda: cancelled.extend(n for n in (FIRST, FIRST + 1) if openers[n].cancel()))
        return turns()

    crowd = Crowd(Gate(1000, clock=clock))
    openers = crowd.come(FIRST * 3)
    await crowd.watch(lambda: all(opener.done() for opener in openers))
    assert cancelled == [FIRST, FIRST + 1]
    assert crowd.order == [*range(FIRST), *range(FIRST + 2, FIRST * 3)]


async def test_the_line_is_bounded() -> None:
    """One more than may wait is refused; when there is room again, the next one is not."""
    crowd = Crowd(Gate(5))
    openers = crowd.come(FIRST + 5)
    await asyncio.sleep(0)
    assert crowd.gate.waiting == 5
    with pytest.raises(GateFullError):
        await crowd.gate.enter()
    await asyncio.gather(*openers)
    await asyncio.wait_for(crowd.gate.enter(), 30)


async def test_nothing_runs_while_nobody_comes() -> None:
    """Once the last one went on and its turn was timed, the gate is not called again."""
    turns = Turns(QUICK)
    crowd = Crowd(Gate(1000, clock=turns))
    await asyncio.gather(*crowd.come(100))
    for _ in range(5):
        await asyncio.sleep(0)
    readings = turns.readings
    for _ in range(100):
        await asyncio.sleep(0)
    assert turns.readings == readings


async def test_open_wide_keeps_nobody() -> None:
    """Everybody goes on at once, those who waited and those who come later."""
    crowd = Crowd(Gate(1000, clock=Turns(SLOW)))
    openers = crowd.come(500)
    await asyncio.sleep(0)
    assert crowd.gate.waiting == 500 - FIRST
    crowd.gate.open_wide()
    assert crowd.gate.waiting == 0
    await asyncio.gather(*openers)
    assert len(crowd.order) == 500
    for _ in range(100):
        _at_once(crowd.gate.enter())
