"""A pool of connections keeps to its size, its wait and its idle time, and tells of each."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.pools import PoolFigures, PoolName
from sessioncast_server.db.transaction import ReadTx
from support.gate import Gate
from support.postgres import Postgres
from support.store import Store, add, opened
from support.waiting import until


class Heard:
    """What a pool told."""

    def __init__(self) -> None:
        self.figures: Callable[[], PoolFigures] = lambda: PoolFigures(0, 0, 0)
        self.waits: list[float] = []
        self.failures: Counter[str] = Counter()

    def watch(self, figures: Callable[[], PoolFigures]) -> None:
        """Remember whom to ask."""
        self.figures = figures

    def waited(self, seconds: float) -> None:
        """Remember the wait."""
        self.waits.append(seconds)

    def failed(self, reason: str) -> None:
        """Count the failure."""
        self.failures[reason] += 1


@pytest.fixture
def heard() -> dict[PoolName, Heard]:
    """By name of the pool."""
    return defaultdict(Heard)


def _nothing(tx: ReadTx) -> None:
    """A transaction of no consequence."""


async def _refused(store: Store) -> str:
    with pytest.raises(UnavailableError) as caught:
        await store.database.read(_nothing)
    return caught.value.reason


async def test_a_pool_of_one_makes_others_wait(database_url: str, heard: dict[PoolName, Heard]) -> None:
    """While the only connection is busy a second call waits and is served; figures and waits tell of it."""
    gate = Gate()
    async with opened(database_url, read_threads=1, meter=heard.__getitem__) as store:
        read = heard["read"]
        assert read.figures() == PoolFigures(0, 0, 1), "connections are made when they are needed"
        first = asyncio.create_task(store.database.read(gate))
        await until(gate.entered.is_set, "the connection to be busy")
        assert read.figures() == PoolFigures(1, 0, 1)
        began = asyncio.get_running_loop().time()
        second = asyncio.create_task(store.database.read(_nothing))
        await asyncio.sleep(0)
        kept = asyncio.get_running_loop().time() + 0.2
        await until(lambda: asyncio.get_running_loop().time() > kept, "some time to pass")
        gate.open()
        await asyncio.gather(first, second)
        assert len(read.waits) == 2
        assert 0.2 <= read.waits[1] <= asyncio.get_running_loop().time() - began
        assert read.figures() == PoolFigures(0, 1, 1)
        assert not read.failures


async def test_who_waits_too_long_for_a_connection_is_refused(database_url: str, heard: dict[PoolName, Heard]) -> None:
    """Beyond `pool_wait_s` a call is refused with `pool`, not at its deadline; the connection serves on."""
    gate = Gate()
    async with opened(database_url, read_threads=1, pool_wait_s=0.2, meter=heard.__getitem__) as store:
        first = asyncio.create_task(store.database.read(gate))
        await until(gate.entered.is_set, "the connection to be busy")
        assert await _refused(store) == "pool"
        assert heard["read"].failures == {"pool": 1}
        assert heard["read"].waits[1] >= 0.2
        gate.open()
        await first  # what runs is not cut at the end of the time to wait
        await store.database.read(_nothing)
        assert len(heard["read"].waits) == 3, "a call that was given up waits once"
        assert heard["read"].figures() == PoolFigures(0, 1, 1)


async def test_a_full_queue_and_a_deadline_are_failures(database_url: str, heard: dict[PoolName, Heard]) -> None:
    """Calls beyond the queue and calls that run out of time are counted by reason."""
    gate = Gate()
    limits: dict[str, Any] = {"read_threads": 1, "queue_max": 1, "read_deadline_s": 0.3, "pool_wait_s": 60}
    async with opened(database_url, **limits, meter=heard.__getitem__) as store:
        first = asyncio.create_task(store.database.read(gate))
        await until(gate.entered.is_set, "the connection to be busy")
        second = asyncio.create_task(_refused(store))
        await asyncio.sleep(0)
        assert await _refused(store) == "queue"
        assert await second == "deadline"
        gate.open()
        await asyncio.gather(first, return_exceptions=True)
        assert heard["read"].failures["queue"] == 1
        assert heard["read"].failures["deadline"] >= 1


async def test_each_pool_is_told_apart(database_url: str, heard: dict[PoolName, Heard]) -> None:
    """Reads, the hub's reads and, on PostgreSQL, writes have pools of their own; SQLite has its one writer instead."""
    async with opened(database_url, read_threads=3, meter=heard.__getitem__) as store:
        await store.database.observe(_nothing)
        await store.database.read(_nothing)
        sizes = {name: pool.figures().maximum for name, pool in heard.items()}
        assert sizes == {"read": 3, "observe": 1} | ({} if store.is_sqlite else {"write": 4})
        assert all(pool.figures().active == 0 for pool in heard.values())
        if not store.is_sqlite:
            assert sum(pool.figures().idle for pool in heard.values()) == len(heard)
    assert all(pool.figures() == PoolFigures(0, 0, pool.figures().maximum) for pool in heard.values())


def _sessions(url: str) -> int:
    """Connections of ours to a database, as PostgreSQL counts them."""
    with psycopg.connect(url, autocommit=True) as stranger:
        row = stranger.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s",
            ["sessioncast"],
        ).fetchone()
        assert row is not None
        return int(row[0])


async def test_an_idle_connection_is_closed_and_opened_again(
    migrated_postgres_url: str, heard: dict[PoolName, Heard]
) -> None:
    """PostgreSQL sees a connection go that was not used for `idle_s`, and come back with the next call."""
    async with opened(migrated_postgres_url, idle_s=0.2, read_threads=1, meter=heard.__getitem__) as store:
        for number in range(2):
            gate = Gate()
            call = asyncio.create_task(store.database.read(gate))
            await until(gate.entered.is_set, "the call to begin")
            assert _sessions(migrated_postgres_url) >= 1
            gate.open()
            await call
            await until(lambda: _sessions(migrated_postgres_url) == 0, "PostgreSQL to see it gone")
            await until(lambda: all(pool.figures().idle == 0 for pool in heard.values()), "the pools to tell")
            await store.database.write(add, f"task {number}")
        assert await store.titles() == ["task 0", "task 1"]
        assert not any(pool.failures for pool in heard.values())


async def test_what_cannot_connect_is_counted(own_postgres: Postgres, heard: dict[PoolName, Heard]) -> None:
    """With PostgreSQL down each call is a failure to connect; once it is up again the same threads serve."""
    async with opened(own_postgres.url, project=False, meter=heard.__getitem__, read_threads=1) as store:
        own_postgres.kill()
        for _ in range(3):
            assert await _refused(store) == "connection"
        assert heard["read"].failures == {"connection": 3}
        assert heard["read"].figures() == PoolFigures(0, 0, 1)
        own_postgres.start()
        await store.database.read(_nothing)
        assert heard["read"].figures() == PoolFigures(0, 1, 1)
        assert heard["read"].failures == {"connection": 3}
