"""Turns that a node has itself: kept while it works in them, given up when that came to nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.turns.holding import Holder
from sessioncast_server.turns.service import grant, held_places, leave, take_place
from support.store import Store
from support.vitals import until_so
from support.waiting import until

LONG_S = 60.0


class Away:
    """A database that may be away.

    Attributes:
        away: whether it is.
        asked: how often it was asked meanwhile.
        writes: the functions that it was given, by name.
    """

    def __init__(self, store: Store) -> None:
        self.away = False
        self.asked = 0
        self.writes: list[str] = []
        self._database = store.database

    async def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        """As the real one."""
        if self.away:
            self.asked += 1
            raise UnavailableError("connection")
        self.writes.append(getattr(fn, "__name__", ""))
        return await self._database.write(fn, *args)


@asynccontextmanager
async def holding(
    database: Any, *, renew_s: float = 0.01, give_up_s: float = LONG_S, **more: Any
) -> AsyncIterator[Holder]:
    """A holder that renews often."""
    holder = Holder(database, renew_s=renew_s, give_up_s=give_up_s, **more)
    try:
        yield holder
    finally:
        await holder.close()


def _take(tx: WriteTx, place_id: str) -> None:
    place = take_place(tx, f"thread/{place_id}", place_id, user="ann", lease_s=10)
    grant(tx, place, fence=0, lease_s=10, expects=None)


async def turn(store: Store, *names: str) -> None:
    """Have turns, of a queue each."""
    for name in names:
        await store.database.write(_take, name)


def _renewals(tx: ReadTx) -> dict[str, int]:
    return {lease.id: lease.renewals for lease in held_places(tx, "", 100)}


async def renewals(store: Store) -> dict[str, int]:
    """How often each turn that there is was renewed."""
    return await store.database.read(_renewals)


async def rises(store: Store, *names: str) -> None:
    """Return once each of these turns was renewed again."""
    before = await renewals(store)

    async def risen() -> bool:
        now = await renewals(store)
        return all(now[name] > before[name] for name in names)

    await until_so(risen, lambda: f"renewals of {names}")


async def gone(store: Store, name: str) -> None:
    """Return once a turn has ended."""

    async def ended() -> bool:
        return name not in await renewals(store)

    await until_so(ended, lambda: f"{name} to end")


def idle() -> bool:
    """Whether nobody is at work for held turns."""
    return not any(task.get_name() in {"turns held", "turn given up"} for task in asyncio.all_tasks())


async def test_what_is_held_is_renewed(store: Store) -> None:
    """Again and again, all by one write, until it is let go; what others have is not."""
    await turn(store, "a", "b", "other")
    database = Away(store)
    async with holding(database) as holder:
        holder.hold("a")
        holder.hold("b")
        await rises(store, "a", "b")
        assert (holder.held, set(database.writes)) == (2, {"renew_turns"})
        holder.let_go("a")
        await rises(store, "b")  # a renewal that was under way may have been of both
        await rises(store, "b")
        before = await renewals(store)
        await rises(store, "b")
        after = await renewals(store)
        assert (after["a"], after["other"]) == (before["a"], 1)
        holder.let_go("b")
        assert holder.held == 0
        await until(idle, "an end")
    assert (await renewals(store))["a"] == before["a"]


async def test_who_has_nothing_asks_nothing(store: Store) -> None:
    """Once nothing is held, the database is left alone; it begins again with the next turn."""
    await turn(store, "a")
    database = Away(store)
    async with holding(database) as holder:
        for _ in range(2):
            holder.hold("a")
            await rises(store, "a")
            holder.let_go("a")
            await until(idle, "an end")
            writes = len(database.writes)
        assert len(database.writes) == writes


async def test_what_is_given_up_ends_at_once(store: Store) -> None:
    """Not at the next renewal, which may be far away; who held it is told what came of it."""
    await turn(store, "a", "b")
    heard: list[Any] = []

    def end(tx: WriteTx, place_id: str) -> str:
        leave(tx, place_id)
        return f"{place_id} ended"

    async with holding(store.database, renew_s=LONG_S, gave_up=heard.append) as holder:
        holder.hold("a")
        holder.hold("b")
        holder.give_up("a", end)
        await gone(store, "a")
        holder.give_up("b")
        await gone(store, "b")
        assert holder.held == 0
        await until(lambda: len(heard) == 2, "both to be told")
    assert heard == ["a ended", None]


async def test_a_database_that_is_away_is_asked_again(store: Store) -> None:
    """What is held is renewed, and what was given up is ended, as soon as it is back."""
    await turn(store, "a", "b")
    database = Away(store)
    async with holding(database) as holder:
        database.away = True
        holder.hold("a")
        holder.hold("b")
        holder.give_up("b")
        await until(lambda: database.asked > 3, "some tries")
        assert "b" in await renewals(store)
        database.away = False
        await gone(store, "b")
        await rises(store, "a")


async def test_nothing_is_tried_for_ever(store: Store) -> None:
    """What could not be ended until its lease must have run out is left to lapse."""
    await turn(store, "a")
    database = Away(store)
    async with holding(database, give_up_s=0) as holder:
        holder.give_up("a")
        await until(idle, "an end")
    assert database.writes == []
    assert await renewals(store) == {"a": 1}


async def test_one_that_cannot_be_ended_does_not_cost_the_others(store: Store) -> None:
    """While the end of one is refused again and again, the others are renewed and ended."""
    await turn(store, "a", "b", "c")
    tries = 0

    def locked(tx: WriteTx, place_id: str) -> None:
        nonlocal tries
        tries += 1
        raise UnavailableError("locked", place_id)

    async with holding(store.database) as holder:
        holder.give_up("a", locked)
        holder.hold("b")
        holder.give_up("c")
        await until(lambda: tries > 2, "some tries")
        await rises(store, "b")
        await gone(store, "c")
        assert "a" in await renewals(store)


async def test_a_node_that_stops_gives_up_what_it_was_to(store: Store) -> None:
    """At its end what was given up is tried once more; what is held is left to whom it belongs, and renewed no more."""
    await turn(store, "a", "b")
    database = Away(store)
    async with holding(database, renew_s=LONG_S) as holder:
        database.away = True
        holder.hold("a")
        holder.give_up("b")
        await until(lambda: database.asked > 0, "a try")
        database.away = False
    assert await renewals(store) == {"a": 1}


async def test_it_ends_with_the_database_away(store: Store) -> None:
    """A node that stops without its database stops all the same."""
    await turn(store, "a")
    database = Away(store)
    async with holding(database) as holder:
        database.away = True
        holder.give_up("a")
        await until(lambda: database.asked > 0, "a try")
    assert "a" in await renewals(store)
