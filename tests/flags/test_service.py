"""Flags in the transactions that act on them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.flags.rules import Flag, bucket_of
from sessioncast_server.flags.service import all_flags, enabled, get_flag, put_flag
from support.gate import Gate
from support.store import Store, add, opened, titles
from support.waiting import DEADLINE_S, until

FLAG = Flag.SINGLE_SESSION
PROJECT = "demo"
_FOREIGN_SQL = "INSERT INTO flag (name, percentage, updated_at, updated_by) VALUES ('push_enabled', 0, {0}, 'ann')"
_FOREIGN = Text(sqlite=_FOREIGN_SQL.format("'2026-01-01T00:00:00.000000Z'"), postgresql=_FOREIGN_SQL.format("now()"))


def counted(tx: WriteTx, project: str) -> tuple[bool, int]:
    """Whether the flag is on, and how many statements it took to know."""
    on = enabled(tx, FLAG, project)
    return on, tx.statements


async def test_a_flag_is_as_shipped_until_it_is_changed(store: Store) -> None:
    """Without a row every flag is on, which one statement tells."""
    states = await store.database.read(all_flags)
    assert [(state.flag, state.percentage, state.state, state.updated_at) for state in states] == [
        (flag, 100.0, "on", None) for flag in sorted(Flag)
    ]
    assert await store.database.read(get_flag, FLAG) in states
    assert (await store.database.write(counted, PROJECT)).value == (True, 1)


async def test_off_and_on_again(store: Store) -> None:
    """A change counts from the next transaction on; when it is on, one statement is all it costs."""
    put = (await store.database.write(put_flag, FLAG, 0.0, "ann")).value
    assert (put.percentage, put.state, put.updated_by) == (0.0, "off", "ann")
    assert await store.database.read(get_flag, FLAG) == put
    on, statements = (await store.database.write(counted, PROJECT)).value
    assert (on, statements) == (False, 1 if store.is_sqlite else 3)
    again = (await store.database.write(put_flag, FLAG, 100.0, "bob")).value
    assert again.version > put.version
    assert (await store.database.write(counted, PROJECT)).value == (True, 1)
    others = [state for state in await store.database.read(all_flags) if state.flag is not FLAG]
    assert all(state.updated_at is None for state in others)


async def test_a_share_of_projects(store: Store) -> None:
    """A percentage is on for exactly the projects that the rule says."""
    bucket = bucket_of(FLAG, PROJECT)
    for percentage, on in ((bucket / 100, False), (bucket / 100 + 0.01, True)):
        put = (await store.database.write(put_flag, FLAG, percentage, "ann")).value
        assert (await store.database.read(get_flag, FLAG)).percentage == put.percentage == percentage
        assert (await store.database.write(enabled, FLAG, PROJECT)).value is on


async def test_what_is_so_already_is_not_written(store: Store) -> None:
    """Who set it, and when, is of the last change that changed something."""
    first = (await store.database.write(put_flag, FLAG, 5.0, "ann")).value
    assert (await store.database.write(put_flag, FLAG, 5.0, "bob")).value == first
    assert await store.database.read(get_flag, FLAG) == first
    assert (await store.database.write(put_flag, Flag.SESSION_RESUME, 100.0, "bob")).value.updated_at is None


async def test_first_changes_at_once_all_succeed(store: Store) -> None:
    """Twenty make the row at once: none fails, the versions differ, and what is read is the last of them."""
    written = await asyncio.gather(
        *(store.database.write(put_flag, FLAG, float(number), "ann") for number in range(20))
    )
    versions = [one.value.version for one in written]
    assert len(set(versions)) == 20
    last = max((one.value for one in written), key=lambda state: state.version)
    assert await store.database.read(get_flag, FLAG) == last


async def test_a_row_of_another_release_is_no_flag(store: Store) -> None:
    """A flag that this release does not know is not listed."""
    await store.database.write(lambda tx: tx.run(_FOREIGN))
    assert [state.flag for state in await store.database.read(all_flags)] == sorted(Flag)


@pytest.fixture
async def postgres_store(migrated_postgres_url: str) -> AsyncIterator[Store]:
    """A PostgreSQL database with the flag off."""
    async with opened(migrated_postgres_url) as store:
        await store.database.write(put_flag, FLAG, 0.0, "ann")
        yield store


async def waiting(url: str, number: int = 1, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Return once so many backends wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as observer:

        def so_many() -> bool:
            meanwhile()
            row = observer.execute(query).fetchone()
            return row is not None and row[0] >= number

        await until(so_many, f"{number} backends to wait for a lock")


def put_and_look(tx: WriteTx) -> list[str]:
    """Switch the flag on; what there is to settle then."""
    put_flag(tx, FLAG, 100.0, "bob")
    return titles(tx)


def act_on_off(tx: WriteTx, gate: Gate) -> bool:
    """Do what is done while the flag is off, and take a while to commit."""
    on = enabled(tx, FLAG, PROJECT)
    if not on:
        add(tx, "done while off")
    gate(tx)
    return on


async def test_a_change_to_on_waits_for_who_acts_on_off(postgres_store: Store) -> None:
    """It is made only once the transaction that read «off» has committed, and then sees what that one did."""
    database, gate = postgres_store.database, Gate()
    acting = asyncio.create_task(database.write(act_on_off, gate))
    try:
        await asyncio.to_thread(gate.entered.wait, DEADLINE_S)
        changing = asyncio.create_task(database.write(put_and_look))
        await waiting(postgres_store.url)
        assert (await database.read(get_flag, FLAG)).percentage == 0
        assert not changing.done()
    finally:
        gate.open()
    assert (await acting).value is False
    assert (await changing).value == ["done while off"]
    assert (await database.write(enabled, FLAG, PROJECT)).value is True


async def test_who_comes_while_it_changes_to_on_acts_on_on(postgres_store: Store) -> None:
    """A transaction that finds «off» while a change to «on» is under way waits for it and then reads «on»."""
    database, changes, acts = postgres_store.database, Gate(), Gate()
    acts.open()

    def change(tx: WriteTx) -> None:
        put_flag(tx, FLAG, 100.0, "bob")
        changes(tx)

    changing = asyncio.create_task(database.write(change))
    try:
        await asyncio.to_thread(changes.entered.wait, DEADLINE_S)
        acting = asyncio.create_task(database.write(act_on_off, acts))
        await waiting(postgres_store.url)
    finally:
        changes.open()
    await changing
    assert (await acting).value is True
    assert await postgres_store.titles() == []


async def test_a_change_is_not_overtaken(postgres_store: Store) -> None:
    """Who reads «off» while a change waits gets in line behind it: readers one after another cannot keep it out."""
    database, gate, later = postgres_store.database, Gate(), Gate()
    later.open()
    async with opened(postgres_store.url, project=False, lock_timeout_s=DEADLINE_S) as other:
        acting = asyncio.create_task(database.write(act_on_off, gate))
        try:
            await asyncio.to_thread(gate.entered.wait, DEADLINE_S)
            changing = asyncio.create_task(other.database.write(put_and_look))
            newcomers = [asyncio.create_task(database.write(act_on_off, later))]

            def come_again() -> None:
                # Who waits begins anew four times a second, and leaves the line for a moment: come in another one.
                if newcomers[-1].done():
                    newcomers.append(asyncio.create_task(database.write(act_on_off, later)))

            await waiting(postgres_store.url, 2, meanwhile=come_again)
        finally:
            gate.open()
        await changing
        await asyncio.gather(*newcomers)
    assert (await acting).value is False


async def test_who_acts_on_on_is_not_waited_for(migrated_postgres_url: str) -> None:
    """While a transaction that read «on» is open the flag can be switched off: reading «on» locks nothing."""
    gate = Gate()
    async with opened(migrated_postgres_url) as store:
        acting = asyncio.create_task(store.database.write(act_on_off, gate))
        try:
            await asyncio.to_thread(gate.entered.wait, DEADLINE_S)
            await store.database.write(put_flag, FLAG, 0.0, "ann")
            assert not acting.done()
        finally:
            gate.open()
        assert (await acting).value is True


@pytest.mark.parametrize("mine", [put_and_look, lambda tx: enabled(tx, FLAG, PROJECT)], ids=["change", "reading"])
async def test_waiting_has_an_end(postgres_store: Store, mine: Any) -> None:
    """Who gets no lock in time is told that the server is busy, not that a session is: nobody outside locks flags."""
    async with opened(postgres_store.url, project=False, lock_timeout_s=0.3) as store:
        with psycopg.connect(postgres_store.url) as stranger:
            stranger.execute("SELECT name FROM flag FOR UPDATE")
            stranger.execute("LOCK TABLE flag IN EXCLUSIVE MODE")
            with pytest.raises(UnavailableError, match="busy"):
                await store.database.write(mine)
        await store.database.write(mine)
