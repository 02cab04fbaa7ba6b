"""Deletions of a model against starts with it, on PostgreSQL with real threads; SQLite has one writer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import psycopg
import pytest

from sessioncast_server.db.errors import LockTimeoutError
from sessioncast_server.db.postgres_link import PostgresLink
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.models.service import check_model, delete_model, register_model
from sessioncast_server.problems import Problem
from sessioncast_server.sessions.availability import mark_sessions
from sessioncast_server.sessions.record import Place, Record
from sessioncast_server.sessions.service import create_session, new_record
from sessioncast_server.sessions.statements import LIVE_OF_PROJECT
from support.gate import Gate
from support.store import PROJECT, Store, add, opened
from support.waiting import DEADLINE_S, until

_STARTERS = 6
_ROUNDS = 8

Hold = Callable[[WriteTx], None]


def _go_on(tx: WriteTx) -> None:
    """Nothing to wait for."""


@pytest.fixture
async def store(migrated_postgres_url: str) -> AsyncIterator[Store]:
    """A PostgreSQL with more writing connections than starters."""
    async with opened(migrated_postgres_url, write_threads=_STARTERS + 2) as store:
        yield store


def _start(tx: WriteTx, task: str, name: str, hold: Hold = _go_on) -> Record:
    check_model(tx, PROJECT, name)
    hold(tx)
    place = Place(PROJECT, task, "run")
    record = new_record(tx, place, model={"name": name}, agent=None, metadata={}, user="ann", slotted=False)
    return create_session(tx, record)


def _delete(tx: WriteTx, name: str, hold: Hold = _go_on) -> int:
    assert delete_model(tx, PROJECT, name)
    hold(tx)
    return mark_sessions(tx, PROJECT, name, available=False)


def _register(tx: WriteTx, name: str) -> int:
    assert register_model(tx, PROJECT, name)[1]
    return mark_sessions(tx, PROJECT, name, available=True)


def _live(tx: ReadTx) -> list[Record]:
    return [Record(*row) for row in tx.all(LIVE_OF_PROJECT, project_id=PROJECT, limit=100_000)]


async def _waiting(store: Store, count: int = 1) -> None:
    """Return once so many wait for a model's turn."""
    async with await psycopg.AsyncConnection.connect(store.url, autocommit=True) as connection:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                cursor = await connection.execute(
                    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                if len(await cursor.fetchall()) >= count:
                    return


async def test_a_deletion_waits_for_a_start(store: Store) -> None:
    """What checked the model first commits first, and its session is marked with the others."""
    write, gate = store.database.write, Gate()
    task = (await write(add, "T")).value
    await write(_register, "m")
    starting = asyncio.create_task(write(_start, task, "m", gate))
    await until(gate.entered.is_set, "the start")
    deleting = asyncio.create_task(write(_delete, "m"))
    await _waiting(store)
    gate.open()
    started = (await starting).value
    assert (await deleting).value == 1
    assert [(record.id, record.model_available) for record in await store.database.read(_live)] == [(started.id, False)]


@pytest.mark.parametrize("known", [True, False], ids=["registered", "registered meanwhile"])
async def test_a_start_waits_for_a_deletion(store: Store, known: bool) -> None:
    """What comes while the deletion is under way waits, and is refused, though it began before that one's COMMIT."""
    write, gate = store.database.write, Gate()
    task = (await write(add, "T")).value
    if known:
        await write(_register, "m")
        deleting = asyncio.create_task(write(_delete, "m", gate))
    else:
        deleting = asyncio.create_task(write(lambda tx: (_register(tx, "m"), _delete(tx, "m", gate))[1]))
    await until(gate.entered.is_set, "the deletion")
    starting = asyncio.create_task(write(_start, task, "m"))
    await _waiting(store)
    gate.open()
    assert (await deleting).value == 0
    with pytest.raises(Problem) as caught:
        await starting
    assert caught.value.code == "model_not_found"
    assert await store.database.read(_live) == []


async def test_no_start_passes_a_deletion_that_waits(store: Store) -> None:
    """A start that comes after the deletion is served after it, though those under way would let it in beside them."""
    gate = Gate()
    task = (await store.database.write(add, "T")).value
    await store.database.write(_register, "m")
    # Connections that wait at the server all the time: between the slices of `Database.write` anybody may pass.
    links = [PostgresLink(store.url, store.log, lock_timeout_s=DEADLINE_S) for _ in range(3)]
    first = asyncio.create_task(asyncio.to_thread(links[0].write, lambda tx: _start(tx, task, "m", gate)))
    await until(gate.entered.is_set, "the first start")
    deleting = asyncio.create_task(asyncio.to_thread(links[1].write, lambda tx: _delete(tx, "m")))
    await _waiting(store)
    second = asyncio.create_task(asyncio.to_thread(links[2].write, lambda tx: _start(tx, task, "m")))
    await _waiting(store, 2)
    gate.open()
    started, marked = (await first)[0].value, (await deleting)[0].value
    with pytest.raises(Problem) as caught:
        await second
    assert (marked, caught.value.code) == (1, "model_not_found")
    assert [record.id for record in await store.database.read(_live)] == [started.id]
    for link in links:
        link.close()


async def test_other_models_wait_for_nothing(store: Store) -> None:
    """While a model is being deleted, sessions start with others, and with the same name in another project."""
    write, gate = store.database.write, Gate()
    task = (await write(add, "T")).value
    for name in ("m", "n"):
        await write(_register, name)
    deleting = asyncio.create_task(write(_delete, "m", gate))
    await until(gate.entered.is_set, "the deletion")
    assert (await write(_start, task, "n")).value.model_name == "n"
    await write(check_model, "elsewhere", "m")
    gate.open()
    assert (await deleting).value == 0


async def test_who_waits_for_a_model_too_long_is_told(migrated_postgres_url: str) -> None:
    """A deletion that takes longer than a start may wait for locks is a lock time-out, and the next start is served."""
    async with opened(migrated_postgres_url, write_threads=3, lock_timeout_s=0.2) as store:
        write, gate = store.database.write, Gate()
        task = (await write(add, "T")).value
        await write(_register, "m")
        deleting = asyncio.create_task(write(_delete, "m", gate))
        await until(gate.entered.is_set, "the deletion")
        with pytest.raises(LockTimeoutError):
            await write(_start, task, "m")
        gate.open()
        await deleting
        await write(_register, "m")
        assert (await write(_start, task, "m")).value.model_available


async def test_no_start_slips_past_a_deletion(store: Store) -> None:
    """Under starts without a pause a model is deleted and registered again and again: each deletion gets its turn, no
    session of a deleted model is left unmarked, and the log has no start between a deletion and the next registration.
    """
    write = store.database.write
    task = (await write(add, "T")).value
    done = asyncio.Event()
    outcomes: Counter[str] = Counter()

    async def starts() -> None:
        while not done.is_set():
            try:
                await write(_start, task, "m")
                outcomes["started"] += 1
            except Problem as problem:
                outcomes[problem.code] += 1

    await write(_register, "m")
    async with asyncio.timeout(DEADLINE_S * 2), asyncio.TaskGroup() as group:
        for _ in range(_STARTERS):
            group.create_task(starts())
        for _ in range(_ROUNDS):
            before = outcomes["started"]
            await until(lambda before=before: outcomes["started"] > before + 2 * _STARTERS, "starts")  # type: ignore[misc]  # a lambda's default
            await write(_delete, "m")
            assert not any(record.model_available for record in await store.database.read(_live))
            refused = outcomes["model_not_found"]
            await until(lambda refused=refused: outcomes["model_not_found"] > refused, "a refusal")  # type: ignore[misc]  # the same
            await write(_register, "m")
        done.set()
    assert set(outcomes) == {"started", "model_not_found"}
    registered = False
    shown: dict[str, dict[str, Any]] = {}
    for entry in (await store.entries())[1:]:
        event = orjson.loads(entry.body)
        match event["type"]:
            case "model.registered" | "model.deleted":
                registered = event["type"] == "model.registered"
            case "session.created":
                assert registered, event["position"]
                shown[event["session_id"]] = event["data"]
            case _:
                assert event["version"] == shown[event["session_id"]]["version"] + 1
                shown[event["session_id"]] = event["data"]
    live = {record.id: record for record in await store.database.read(_live)}
    assert live.keys() == shown.keys()
    assert all(record.model_available for record in live.values())
    assert all(data["version"] == live[id_].version for id_, data in shown.items())
