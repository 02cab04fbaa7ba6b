"""Cache-aside with a clock that is told the time and a store that is told when to answer."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.cache.base import Found, Kept, Key
from sessioncast_server.cache.memory import MemoryCache
from sessioncast_server.db.errors import UnavailableError
from support.shelf import Shelf


async def test_what_was_loaded_is_given_until_its_end() -> None:
    """One load serves its life; it is ten seconds, a tenth more or less as the dice fall."""
    for dice, life in ((0.0, 9.0), (0.5, 10.0), (1.0, 11.0)):
        shelf = Shelf()
        shelf.dice = dice
        shelf.write("a")
        assert [await shelf.ask() for _ in range(10)] == [1] * 10
        assert (shelf.loads, shelf.counted) == (1, {"miss": 1, "hit": 9})
        found = await shelf.near.get(Key("a", "v"))
        assert found is not None
        assert found.left_s == pytest.approx(life)
        shelf.now = life
        shelf.holding = True
        asking = shelf.asking()
        await shelf.turns()
        await shelf.land()
        assert await asking == 1
        assert shelf.counted["miss"] == 2
        await shelf.aside.close()


async def test_an_event_of_the_task_ends_it_and_no_other_event_does() -> None:
    """What was overtaken is loaded anew; what was not is given, as of the newest position that is known."""
    shelf = Shelf()
    shelf.write("a")
    assert await shelf.ask() == 1
    shelf.write("b")
    given = await shelf.aside.get(Key("a", "v"))
    assert given is not None
    assert (given.source, given.upto.offset, given.kept.at.offset) == ("memory", 2, 1)
    shelf.write("a")
    assert await shelf.ask() == 3
    assert (shelf.loads, shelf.counted) == (2, {"miss": 1, "hit": 1, "stale": 1})


async def test_near_its_end_it_is_given_and_loaded_ahead_once() -> None:
    """In the last two seconds whoever asks is answered at once, and one load in the background renews the life."""
    shelf = Shelf()
    shelf.write("a")
    await shelf.ask()
    shelf.now, shelf.holding = 7.9, True
    await shelf.ask()
    await shelf.turns()
    assert shelf.held == 0
    shelf.now = 8.1
    assert [await shelf.ask() for _ in range(5)] == [1] * 5
    await shelf.turns()
    assert (shelf.held, shelf.loads, shelf.counted["refresh"]) == (1, 2, 1)
    await shelf.land()
    shelf.now = 15.0
    assert await shelf.ask() == 1
    assert (shelf.loads, shelf.counted["miss"]) == (2, 1)


async def test_a_load_ahead_that_fails_costs_nothing_before_the_end() -> None:
    """While the store is away the answer lives to its end; then whoever asks is told why there is none."""
    shelf = Shelf()
    shelf.write("a")
    await shelf.ask()
    shelf.now, shelf.broken = 9.0, UnavailableError("io")
    assert await shelf.ask() == 1
    await shelf.turns()
    assert await shelf.ask() == 1
    shelf.now = 10.0
    with pytest.raises(UnavailableError):
        await shelf.ask()
    shelf.broken = None
    assert await shelf.ask() == 1


async def test_loads_ahead_are_bounded() -> None:
    """Of many answers that near their end together only so many are loaded ahead at a time."""
    shelf = Shelf(background=3)
    for number in range(20):
        shelf.write(f"t{number}")
        await shelf.ask(f"t{number}")
    shelf.now, shelf.holding = 9.0, True
    for number in range(20):
        await shelf.ask(f"t{number}")
    await shelf.turns()
    assert shelf.held == 3
    await shelf.aside.close()


async def test_a_crowd_costs_one_load() -> None:
    """A hundred that ask at once share it, also its failure, and the next one is not failed by it."""
    shelf = Shelf()
    shelf.write("a")
    shelf.holding = True
    asking = [shelf.asking() for _ in range(100)]
    await shelf.turns()
    await shelf.land()
    assert {await each for each in asking} == {1}
    assert (shelf.loads, shelf.counted) == (1, {"miss": 1, "joined": 99})

    shelf.write("a")
    shelf.broken = UnavailableError("io")
    asking = [shelf.asking() for _ in range(100)]
    await shelf.turns()
    await shelf.land()
    failed = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, UnavailableError) for each in failed)
    assert shelf.loads == 2
    shelf.broken, shelf.holding = None, False
    assert await shelf.ask() == 2


async def test_a_crowd_that_nobody_vouches_for_costs_two_loads() -> None:
    """In a project that is not followed the first load may be older than a question: a second one serves the rest."""
    shelf = Shelf()
    shelf.write("a")
    shelf.followed, shelf.holding = False, True
    asking = [shelf.asking() for _ in range(100)]
    await shelf.turns()
    await shelf.land()
    await shelf.land()
    assert {await each for each in asking} == {1}
    assert (shelf.loads, shelf.held, len(shelf.near)) == (2, 0, 0)


async def test_a_load_that_was_overtaken_is_for_those_who_asked_before() -> None:
    """It read before the change and lands after it: who began it gets it, who came after does not, nobody keeps it."""
    shelf = Shelf()
    shelf.write("a")
    shelf.holding = True
    before = shelf.asking()
    await shelf.turns()
    shelf.read()
    await shelf.turns()
    shelf.write("a")
    after = shelf.asking()
    await shelf.turns()
    await shelf.land()
    assert (before.done(), after.done(), shelf.held) == (True, False, 1)
    assert (await before, len(shelf.near)) == (1, 0)
    await shelf.land()
    assert await after == 2
    assert await shelf.ask() == 2
    assert shelf.loads == 2


async def test_what_is_not_there_is_not_kept() -> None:
    """None is an answer for those who asked before it was read; who joined that load looks for himself."""
    shelf = Shelf()
    shelf.holding = True
    first = asyncio.create_task(shelf.aside.get(Key("a", "v")))
    await shelf.turns()
    shelf.read()
    await shelf.turns()
    shelf.write("a")
    second = shelf.asking()
    await shelf.turns()
    await shelf.land()
    await shelf.land()
    assert (await first, await second) == (None, 1)


async def test_who_leaves_takes_the_load_from_nobody() -> None:
    """The question that began a load may be given up; those who joined are answered."""
    shelf = Shelf()
    shelf.write("a")
    shelf.holding = True
    asking = [shelf.asking() for _ in range(3)]
    await shelf.turns()
    asking[0].cancel()
    await shelf.land()
    assert [await each for each in asking[1:]] == [1, 1]
    assert shelf.loads == 1


async def test_what_is_large_is_given_and_not_kept() -> None:
    """A body over the bound is loaded each time."""
    shelf = Shelf(body_max=9)
    shelf.write("a")
    assert [await shelf.ask() for _ in range(3)] == [1] * 3
    assert (shelf.loads, len(shelf.near)) == (3, 0)


async def test_closing_leaves_nothing_running() -> None:
    """Loads, loads ahead and writes to the far cache are given up."""
    shelf = Shelf(far=Far())
    shelf.write("a")
    await shelf.ask()
    shelf.now, shelf.holding = 9.0, True
    await shelf.ask()
    shelf.write("b")
    asking = shelf.asking("b")
    await shelf.turns()
    await shelf.aside.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(shelf.near) == 0


class Far(MemoryCache):
    """What another node and this one share; counts."""

    def __init__(self) -> None:
        super().__init__(entries=100, size=1 << 20, clock=lambda: 0.0)
        self.asked = 0

    async def get(self, key: Key) -> Found | None:
        """Count."""
        self.asked += 1
        return await super().get(key)


async def test_what_another_node_loaded_is_used_while_it_is_vouched_for() -> None:
    """The far cache spares the load, for no longer than it keeps the answer; an overtaken or future answer does not."""
    far = Far()
    one, other = Shelf(far=far), Shelf(far=far)
    for shelf in (one, other):
        shelf.write("a")
    assert await one.ask() == 1
    await one.turns()
    given = await other.aside.get(Key("a", "v"))
    assert given is not None
    assert (given.source, other.loads) == ("redis", 0)
    assert (await other.aside.get(Key("a", "v"))).source == "memory"  # type: ignore[union-attr]  # it is there

    other.write("a")
    assert (await other.ask(), other.loads) == (2, 1)
    await other.turns()
    # `one` has not heard of the second event: what `other` put is ahead of it.
    one.now = 10.0
    one.write("a", heard=False)
    assert (await one.ask(), one.loads) == (2, 2)


async def test_writes_to_the_far_cache_delay_nobody_and_are_bounded() -> None:
    """While the far cache takes nothing, questions are answered, and only so many writes wait."""

    class Stuck(Far):
        """Takes nothing."""

        waiting = 0

        async def put(self, key: Key, kept: Kept, life_s: float) -> None:
            """Wait for ever."""
            self.waiting += 1
            await asyncio.Event().wait()

    far = Stuck()
    shelf = Shelf(far=far, background=3)
    for number in range(10):
        shelf.write(f"t{number}")
        assert await shelf.ask(f"t{number}") == number + 1
    await shelf.turns()
    assert far.waiting == 3
    await shelf.aside.close()


async def test_a_load_ahead_asks_the_store() -> None:
    """The far cache holds what is to be renewed: it is not asked then."""
    far = Far()
    shelf = Shelf(far=far)
    shelf.write("a")
    await shelf.ask()
    shelf.now = 9.0
    await shelf.ask()
    await shelf.turns()
    assert (shelf.loads, far.asked) == (2, 1)
    await far.put(Key("b", "v"), Kept("p", shelf.kept("a").at, '"1"', b""), 3)
    shelf.write("b")
    await far.put(Key("b", "v"), shelf.kept("b"), 3)
    await shelf.ask("b")
    found = await shelf.near.get(Key("b", "v"))
    assert found is not None
    assert found.left_s == 3


@settings(max_examples=150, deadline=None)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(["write", "ask", "ask", "read", "land", "hear", "wait"]), st.integers(0, 5)),
        max_size=60,
    ),
    followed=st.booleans(),
)
def test_no_interleaving_gives_what_is_known_to_be_old(script: list[tuple[str, int]], *, followed: bool) -> None:
    """Writes, news of them, questions, loads that read and land whenever: an answer is never older than what the node
    had heard of its task when the question was asked, and every question is answered in the end."""

    async def play() -> None:
        shelf = Shelf(entries=2)
        shelf.followed, shelf.holding = followed, True
        for task in "ab":
            shelf.write(task)
        asked: list[tuple[int, asyncio.Task[int]]] = []
        for step, amount in script:
            task = "ab"[amount % 2]
            if step == "write":
                shelf.write(task, heard=amount > 1)
            elif step == "hear":
                shelf.hear()
            elif step == "wait":
                shelf.now += amount
            elif step == "ask":
                asked.append((shelf.heard[task], shelf.asking(task)))
                await shelf.turns(1 + amount)
            elif step == "read" and shelf.held:
                shelf.read(amount % shelf.held)
                await shelf.turns(1 + amount)
            elif step == "land" and shelf.held:
                await shelf.land(amount % shelf.held)
        await shelf.turns()
        while shelf.held:
            await shelf.land()
        for heard, answer in asked:
            assert answer.done()
            assert await answer >= heard
        await shelf.aside.close()

    asyncio.run(play())
