"""Where every store stops: full queues, deadlines, locks that others keep, and the end."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import psycopg
import pytest

from sessioncast_server.db.errors import LockTimeoutError, UnavailableError
from sessioncast_server.db.sqlite import path_of
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from support.gate import Gate
from support.store import PROJECT, add, opened
from support.waiting import until

_ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS n FROM n"
_SLOW = Text(sqlite=_ENDLESS, postgresql="SELECT pg_sleep(60) AS n", columns={"n": None})
_LOCK = Text(postgresql="SELECT id FROM task WHERE id = %(id)s FOR NO KEY UPDATE", columns={"id": None})


def hang(tx: ReadTx) -> None:
    """Keep the database busy for longer than anybody waits."""
    tx.one(_SLOW)


def add_then_hang(tx: WriteTx, title: str) -> None:
    """Write, and never come to the end."""
    add(tx, title)
    tx.one(_SLOW)


def _one_writer(url: str) -> dict[str, Any]:
    return {} if url.startswith("sqlite:") else {"write_threads": 1}


async def test_a_full_queue_refuses_at_once(database_url: str) -> None:
    """Beyond the bound a write is refused with `queue`; those that wait are served."""
    gate = Gate()
    async with opened(database_url, queue_max=3, **_one_writer(database_url)) as store:
        first = asyncio.create_task(store.database.write(gate))
        await until(gate.entered.is_set, "the writer to be busy")
        others = [asyncio.create_task(store.database.write(add, str(n))) for n in range(4)]
        await until(lambda: any(task.done() for task in others), "a refusal")
        gate.open()
        outcomes = await asyncio.gather(*others, return_exceptions=True)
        await first
        refused = [outcome for outcome in outcomes if isinstance(outcome, UnavailableError)]
        assert {error.reason for error in refused} == {"queue"}
        assert len(await store.titles()) == 4 - len(refused) > 0
        await store.database.write(add, "later")


async def test_reads_have_a_bound_of_their_own(database_url: str) -> None:
    """A queue of reads that is full refuses a read, and no write."""
    gate = Gate()
    async with opened(database_url, queue_max=1, read_threads=1) as store:
        first = asyncio.create_task(store.database.read(gate))
        await until(gate.entered.is_set, "the reader to be busy")
        second = asyncio.create_task(store.titles())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError) as caught:
            await store.titles()
        assert caught.value.reason == "queue"
        await store.database.write(add, "one")
        gate.open()
        await first
        assert await second in ([], ["one"])


async def test_a_write_that_takes_too_long_is_ended(database_url: str) -> None:
    """At its deadline a write ends with `deadline`, nothing of it remains, and the next one works."""
    async with opened(database_url, write_deadline_s=0.3) as store:
        with pytest.raises(UnavailableError) as caught:
            await store.database.write(add_then_hang, "no")
        assert caught.value.reason == "deadline"
        await store.database.write(add, "later")
        assert await store.titles() == ["later"]


async def test_a_read_that_takes_too_long_is_ended(database_url: str) -> None:
    """At its deadline a read ends with `deadline`, and its thread serves the next one."""
    async with opened(database_url, read_deadline_s=0.3, read_threads=1) as store:
        with pytest.raises(UnavailableError) as caught:
            await store.database.read(hang)
        assert caught.value.reason == "deadline"
        assert await store.titles() == []


async def test_a_deadline_that_comes_between_two_statements_is_not_lost(database_url: str) -> None:
    """A call that was not in the database when its time was up is ended at its next statement."""
    gate = Gate()

    def late(tx: ReadTx) -> None:
        gate(tx)
        tx.one(_SLOW)

    async with opened(database_url, read_deadline_s=0.2, read_threads=1) as store:
        call = asyncio.create_task(store.database.read(late))
        await until(gate.entered.is_set, "the read to begin")
        passed = asyncio.get_running_loop().time() + 0.3
        await until(lambda: asyncio.get_running_loop().time() > passed, "the deadline to pass")
        gate.open()
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.reason == "deadline"


async def test_waiting_counts(database_url: str) -> None:
    """A write that spent its time in the queue is not begun any more."""
    gate = Gate()
    async with opened(database_url, write_deadline_s=0.3, **_one_writer(database_url)) as store:
        first = asyncio.create_task(store.database.write(gate))
        await until(gate.entered.is_set, "the writer to be busy")
        second = asyncio.create_task(store.database.write(add, "no"))
        passed = asyncio.get_running_loop().time() + 0.4
        await until(lambda: asyncio.get_running_loop().time() > passed, "the deadline to pass")
        gate.open()
        with pytest.raises(UnavailableError) as caught:
            await second
        assert caught.value.reason == "deadline"
        await asyncio.gather(first, return_exceptions=True)
        assert await store.titles() == []


async def test_closing_finishes_what_is_queued_and_refuses_the_rest(database_url: str) -> None:
    """Writes that were taken are committed before the end; later calls are told `closed`."""
    async with opened(database_url) as store:
        queued = [asyncio.create_task(store.database.write(add, str(n))) for n in range(5)]
        await asyncio.sleep(0)
        await store.database.close()
        await asyncio.gather(*queued)
        for late in (store.database.write(add, "late"), store.titles()):
            with pytest.raises(UnavailableError) as caught:
                await late
            assert caught.value.reason == "closed"
    async with opened(database_url) as again:
        assert sorted(await again.titles()) == ["0", "1", "2", "3", "4"]


async def test_a_row_that_a_stranger_keeps_is_waited_for_and_given_up(migrated_postgres_url: str) -> None:
    """On PostgreSQL a task's lock that is not had in time is LockTimeoutError, a counter's is `busy`."""
    async with opened(migrated_postgres_url, lock_timeout_s=0.2) as store:
        task = (await store.database.write(add, "one")).value
        with psycopg.connect(migrated_postgres_url) as stranger:
            stranger.execute("SELECT 1 FROM task WHERE id = %s FOR UPDATE", [task])
            with pytest.raises(LockTimeoutError):
                await store.database.write(lambda tx: tx.one(_LOCK, id=task))
            stranger.rollback()
            stranger.execute("SELECT 1 FROM channel WHERE project_id = %s FOR UPDATE", [PROJECT])
            with pytest.raises(UnavailableError) as caught:
                await store.database.write(add, "two")
            assert caught.value.reason == "busy"
        await store.database.write(add, "three")
        assert await store.titles() == ["one", "three"]


async def test_a_file_that_a_stranger_writes_is_waited_for_and_given_up(sqlite_url: str) -> None:
    """On SQLite a stranger's open write makes a write `busy`; once it ended the next one works."""
    async with opened(sqlite_url, busy_s=0.1) as store:
        with closing(sqlite3.connect(path_of(sqlite_url), isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError) as caught:
                await store.database.write(add, "no")
            assert caught.value.reason == "busy"
            assert await store.titles() == []
            stranger.execute("ROLLBACK")
        await store.database.write(add, "yes")
        assert await store.titles() == ["yes"]


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql://nobody@127.0.0.1:1/none"])
async def test_what_cannot_be_reached_is_said_at_opening(url: str) -> None:
    """Opening a database that is not there fails with UnavailableError and leaves nothing open."""
    with pytest.raises(UnavailableError):
        async with opened(url):
            pass
