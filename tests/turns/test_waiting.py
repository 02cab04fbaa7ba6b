"""Requests that wait for their turn, and the one who looks for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.turns.service import (
    Place,
    attach,
    attach_expected,
    give_up,
    grant,
    held_places,
    lapse,
    leave,
    places_ahead,
    release,
    take_place,
)
from sessioncast_server.turns.waiting import WaitingRoom
from support.store import Store
from support.waiting import until

LONG_S = 60.0
KEY = "session/x"


@asynccontextmanager
async def room(store: Store, **limits: Any) -> AsyncIterator[tuple[WaitingRoom, list[int]]]:
    """A waiting room that looks often, and how many waited in it, change by change."""
    counts: list[int] = []
    settings: dict[str, Any] = {"look_s": 0.01, "renew_s": 0.02, "limit": 100, "waiting": counts.append}
    made = WaitingRoom(store.database, **settings | limits)
    try:
        yield made, counts
    finally:
        await made.close()


def take(tx: WriteTx, place_id: str, key: str = KEY) -> Place:
    """A place of ann's."""
    return take_place(tx, key, place_id, user="ann", lease_s=10)


def renewals(tx: ReadTx) -> dict[str, int]:
    """Of all places that may lapse."""
    return {lease.id: lease.renewals for lease in held_places(tx, "", 1000)}


async def taken(store: Store, *names: str) -> list[int]:
    """Take places one after another; how many were before each."""
    return [(await store.database.write(take, name)).value.ahead for name in names]


async def gone(store: Store, name: str) -> None:
    """Give a place up, elsewhere."""
    await store.database.write(leave, name)


async def ahead(store: Store, *names: str) -> dict[str, int]:
    """How many are before each place."""
    return await store.database.read(places_ahead, list(names))


async def test_places_are_numbered_as_they_come(store: Store) -> None:
    """Each is behind those before it, keeps its place when it asks again, and moves up when one before it is gone."""
    assert await taken(store, "a", "b", "c", "b") == [0, 1, 2, 1]
    await gone(store, "a")
    assert await ahead(store, "a", "b", "c") == {"b": 0, "c": 1}
    assert await taken(store, "d") == [2]
    for name in "bcd":
        await gone(store, name)
    assert await taken(store, "e") == [0]


async def test_queues_do_not_mix(store: Store) -> None:
    """Each key has a queue of its own."""
    for key in ("k1", "k2"):
        for number in range(2):
            assert (await store.database.write(take, f"{key}-{number}", key)).value.ahead == number
    await gone(store, "k1-0")
    assert await ahead(store, "k1-1", "k2-1") == {"k1-1": 0, "k2-1": 1}


def granted(tx: WriteTx, name: str = "a", fence: int = 2, expects: str | None = None) -> None:
    """Give the first its turn."""
    grant(tx, Place(name, 0), fence=fence, lease_s=1, expects=expects)


async def test_a_turn_lives_as_long_as_its_subject(store: Store) -> None:
    """With a subject it neither lapses nor is left or given up; the end of the subject ends it, once."""
    await taken(store, "a", "b")
    await store.database.write(granted)
    await store.database.write(attach, KEY, "subject", user="ann", fence=2)
    assert set(await store.database.read(renewals)) == {"b"}
    await gone(store, "a")
    assert (await store.database.write(give_up, KEY, 2)).value is False
    assert await ahead(store, "a", "b") == {"a": 0, "b": 1}
    assert (await store.database.write(release, "subject")).value is True
    assert (await store.database.write(release, "subject")).value is False
    assert await ahead(store, "a", "b") == {"b": 0}


async def test_an_unused_turn_is_given_up_by_its_fence(store: Store) -> None:
    """Not by another fence, nor before it is granted; once."""
    await taken(store, "a", "b")
    assert (await store.database.write(give_up, KEY, 2)).value is False
    await store.database.write(granted)
    assert [(await store.database.write(give_up, KEY, fence)).value for fence in (1, 3, 2, 2)] == [
        False,
        False,
        True,
        False,
    ]
    assert await ahead(store, "a", "b") == {"b": 0}


@pytest.mark.parametrize(
    ("user", "expects", "uses"),
    [("ann", "A", True), ("ann", None, False), ("ann", "B", False), ("bob", "A", False)],
)
async def test_a_turn_without_a_fence_is_used_for_what_it_expects(
    store: Store, user: str, expects: str | None, uses: bool
) -> None:
    """Of its user, and for that alone; not before it is granted, and not when it has a subject."""
    await taken(store, "a")

    async def used(subject: str) -> bool:
        await store.database.write(attach_expected, KEY, subject, user=user, expects=expects)
        return (await store.database.read(renewals)) == {}

    assert not await used("early")
    await store.database.write(granted, expects="A")
    assert await used("subject") is uses
    await store.database.write(attach_expected, KEY, "late", user="ann", expects="A")
    assert (await store.database.write(release, "late")).value is not uses


async def test_a_fence_takes_its_turn_back(store: Store) -> None:
    """From what took it by mistake, which then ends nothing; and before all who wait, when it had ended already; but
    another fence's turn is not taken."""
    await taken(store, "a", "b")
    await store.database.write(granted)
    await store.database.write(attach, KEY, "other", user="ann", fence=3)
    assert (await store.database.write(release, "other")).value is False
    await store.database.write(attach_expected, KEY, "mistaken", user="ann", expects=None)
    await store.database.write(attach, KEY, "subject", user="ann", fence=2)
    assert (await store.database.write(release, "mistaken")).value is False
    assert (await store.database.write(release, "subject")).value is True
    await store.database.write(attach, KEY, "again", user="ann", fence=2)
    assert await ahead(store, "b") == {"b": 1}
    assert (await store.database.write(release, "again")).value is True
    assert await ahead(store, "b") == {"b": 0}


async def test_a_place_that_was_renewed_does_not_lapse(store: Store) -> None:
    """Who would end it names the renewals that he saw; one more, and it stays."""
    await taken(store, "a")
    (lease,) = await store.database.read(held_places, "", 10)
    await taken(store, "a")  # who asks again is there
    assert (await store.database.write(lapse, lease)).value is False
    (lease,) = await store.database.read(held_places, "", 10)
    assert (await store.database.write(lapse, lease)).value is True
    assert (await store.database.write(lapse, lease)).value is False
    assert await ahead(store, "a") == {}


async def test_who_waits_is_woken_in_order(store: Store) -> None:
    """Each is woken when nobody is before it any more, and not sooner."""
    names = [f"w{number}" for number in range(5)]
    places = await taken(store, "holder", *names)
    order: list[str] = []
    async with room(store) as (waiting, counts):

        async def wait(name: str, before: int) -> None:
            assert await waiting.wait(name, before, LONG_S) == 0
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for name, before in zip(names, places[1:], strict=True):
                group.create_task(wait(name, before))
            await until(lambda: counts[-1:] == [5], "five to wait")
            for number, name in enumerate(["holder", *names[:-1]]):
                assert len(order) == number
                await gone(store, name)  # on another node: nobody tells
                await until(lambda number=number: len(order) == number + 1, "the next to be woken")  # type: ignore[misc]  # a default
        assert order == names
        assert counts[-1] == 0


async def test_a_nudge_is_heard_at_once(store: Store) -> None:
    """With hardly any looks, who gives a place up here wakes the next."""
    await taken(store, "a", "b")
    async with room(store, look_s=LONG_S) as (waiting, counts):
        task = asyncio.create_task(waiting.wait("b", 1, LONG_S))
        await until(lambda: counts == [1], "one to wait")
        await waiting.leave("a")
        async with asyncio.timeout(LONG_S / 2):
            assert await task == 0


async def test_a_wait_has_an_end(store: Store) -> None:
    """When it was too long it is told how many are still before it; its place is its lease's."""
    await taken(store, "a", "b", "c")
    async with room(store) as (waiting, _):
        assert await waiting.wait("c", 2, 0.05) == 2
    assert await ahead(store, "c") == {"c": 2}


async def test_a_lost_place_is_told(store: Store) -> None:
    """Who lost its place meanwhile is told None, and not that it is its turn."""
    await taken(store, "a", "b")
    async with room(store) as (waiting, counts):
        task = asyncio.create_task(waiting.wait("b", 1, LONG_S))
        await until(lambda: counts == [1], "one to wait")
        await gone(store, "b")
        assert await task is None


async def test_who_waits_is_renewed_and_nobody_else(store: Store) -> None:
    """As long as it waits its place is renewed; a place that nobody waits for here is not, nor one that was granted."""
    await taken(store, "a", "b", "elsewhere")
    await store.database.write(granted)
    before = await store.database.read(renewals)
    async with room(store) as (waiting, _):
        task = asyncio.create_task(waiting.wait("b", 1, LONG_S))
        async with asyncio.timeout(LONG_S):
            while (await store.database.read(renewals))["b"] < before["b"] + 3:
                pass
        after = await store.database.read(renewals)
        assert {name: after[name] for name in ("a", "elsewhere")} == {name: before[name] for name in ("a", "elsewhere")}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_too_many_are_refused_at_once(store: Store) -> None:
    """One more than the bound is 503 and to come back; when one is gone there is room again."""
    names = ["a", "b", "c", "d"]
    await taken(store, *names)
    async with room(store, limit=2) as (waiting, counts):
        tasks = [asyncio.create_task(waiting.wait(name, 1, LONG_S)) for name in "bc"]
        await until(lambda: counts[-1:] == [2], "two to wait")
        with pytest.raises(Problem) as refused:
            await waiting.wait("d", 3, LONG_S)
        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "unavailable", 1)
        tasks[0].cancel()
        await until(lambda: counts[-1] == 1, "one to be gone")
        assert await waiting.wait("d", 3, 0.01) in (2, 3)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_node_that_stops_lets_all_go(store: Store) -> None:
    """All who wait are told at once, and nobody is let in any more."""
    await taken(store, "a", "b", "c")
    async with room(store, look_s=LONG_S) as (waiting, counts):
        tasks = [asyncio.create_task(waiting.wait(name, 1, LONG_S)) for name in "bc"]
        await until(lambda: counts[-1:] == [2], "two to wait")
        waiting.drain()
        async with asyncio.timeout(LONG_S / 2):
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(problem, "status", problem) for problem in found] == [503, 503]
        with pytest.raises(Problem):
            await waiting.wait("b", 1, LONG_S)


async def test_who_went_away_waits_no_longer(store: Store) -> None:
    """Somebody who is not there any more is found within a second or so, and its waiting ends."""
    await taken(store, "a", "b")

    async def is_gone() -> bool:
        return True

    async with room(store) as (waiting, counts):
        async with asyncio.timeout(LONG_S / 2):
            assert await waiting.wait("b", 1, LONG_S, gone=is_gone) == 1
        assert counts == [1, 0]


class Failing:
    """A database that fails a few times before it answers."""

    def __init__(self, store: Store, errors: list[Exception]) -> None:
        self._database = store.database
        self._errors = errors

    async def observe(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Fail, as long as there are errors left."""
        if self._errors:
            raise self._errors.pop()
        return await self._database.observe(fn, *args)

    async def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        """As the database's."""
        return await self._database.write(fn, *args)


async def test_a_database_that_is_away_is_waited_for(store: Store) -> None:
    """Looks that fail are repeated; who waits has its turn once the database is back."""
    await taken(store, "a", "b")
    errors: list[Exception] = [UnavailableError("connection") for _ in range(3)]
    failing: Any = Failing(store, errors)
    waiting = WaitingRoom(failing, look_s=0.01, renew_s=LONG_S, limit=10)
    task = asyncio.create_task(waiting.wait("b", 1, LONG_S))
    await until(lambda: not errors, "the looks to fail")
    await gone(store, "a")
    assert await task == 0
    await waiting.close()


async def test_it_looks_again_for_those_who_come_later(store: Store) -> None:
    """When the last one is gone nobody looks; the next who waits is looked for again."""
    await taken(store, "a", "b")
    async with room(store) as (waiting, _):
        for _ in range(3):
            assert await waiting.wait("b", 1, 0.03) == 1
        task = asyncio.create_task(waiting.wait("b", 1, LONG_S))
        await gone(store, "a")
        assert await task == 0
