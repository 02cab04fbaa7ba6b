"""Threads that nothing was done with for long are deleted, once each, and nothing else is."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson

from sessioncast_server.channels.log import Log
from sessioncast_server.db.guest import SqliteGuest
from sessioncast_server.db.sqlite import path_of
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.sessions.output import fill_output
from sessioncast_server.threads.cleanup import clean_threads
from sessioncast_server.threads.messages import append, prune, set_aside
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Item, Owned, Terms
from sessioncast_server.threads.service import lock_thread, open_thread
from sessioncast_server.threads.telling import Told
from sessioncast_server.threads.turn import begin_run, end_run, take_turn
from sessioncast_shared.events import EventType
from support.chatnode import Stored
from support.store import PROJECT, Store, opened

DAY = timedelta(days=1)
TERMS = Terms(messages_max=3, keep=7 * DAY, read_bytes=1 << 20, waiter_lease_s=5)
PAGE = 200
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
_LEFT = """
SELECT (SELECT count(*) FROM thread) + (SELECT count(*) FROM message) + (SELECT count(*) FROM message_call)
    + (SELECT count(*) FROM message_quarantine) AS n
"""
LEFT = Text(sqlite=_LEFT, postgresql=_LEFT, columns={"n": None})


def named(user: str = "ann") -> Owned:
    """A new thread's name."""
    return Owned(PROJECT, user, str(uuid4()))


def fill(tx: WriteTx, name: Owned, *contents: Any) -> Thread:
    """Append to a thread, which is made if need be."""
    thread, _ = open_thread(tx, name, TERMS)
    thread, _ = append(tx, thread, [Item("user", content) for content in contents or ("hello",)], TERMS)
    return thread


async def filled(store: Store, name: Owned, *contents: Any) -> datetime:
    """The same, committed; when something was last done with it."""
    return (await store.database.write(fill, name, *contents)).value.last_activity_at


async def clean(store: Store, now: datetime, *, read: Callable[..., Any] | None = None) -> list[str]:
    """Ids of the threads that went, once for each time that it was told."""
    heard: list[Told] = []
    count = await clean_threads(read or store.database.read, store.database.write, TERMS, now=now, hear=heard.extend)
    assert {(told.type, told.reason) for told in heard} <= {(EventType.THREAD_DELETED, "idle")}
    assert len(heard) == count
    return [told.thread for told in heard]


async def deleted(store: Store) -> list[str]:
    """Ids of threads that the log says were deleted for their idleness, in order."""
    events = [orjson.loads(entry.body) for entry in await store.entries()]
    gone = [event for event in events if event["type"] == "thread.deleted"]
    assert {event["data"]["reason"] for event in gone} <= {"idle"}
    return [event["thread_id"] for event in gone]


def left(tx: ReadTx) -> int:
    """Rows in all tables of threads."""
    return int(tx.all(LEFT)[0].n)


async def test_what_is_idle_goes_with_all_that_is_its(store: Store) -> None:
    """After its time a thread goes with messages, calls and what was set aside; not a moment before; it is told."""
    name = named()
    await filled(store, name, "a", CALL, "b", "c", "d")
    stored = Stored(store.url)
    stored.run("UPDATE message SET checksum = 0 WHERE seq = 3")

    def look(tx: WriteTx) -> Thread:
        thread, _ = prune(tx, set_aside(tx, lock_thread(tx, name), [3], TERMS), TERMS)
        return thread

    thread = (await store.database.write(look)).value
    at = thread.last_activity_at
    assert await clean(store, at + TERMS.keep) == []
    assert await store.database.read(left) == 1 + 3 + 1 + 1
    assert await clean(store, at + TERMS.keep + timedelta(microseconds=1)) == [name.id]
    assert await store.database.read(left) == 0
    assert await deleted(store) == [name.id]
    event = orjson.loads((await store.entries())[-1].body)
    assert (event["version"], event["data"]["user"]) == (thread.version + 1, "ann")
    assert await clean(store, at + 99 * DAY) == []


async def test_what_is_used_stays(store: Store) -> None:
    """A thread that somebody wrote to since stays, also one of the same id of another user, whatever its age."""
    old, used = named(), named()
    other = Owned(PROJECT, "bob", old.id)
    for name in (old, used, other):
        await filled(store, name)
    now = await aged(store, old, used, other)
    for name in (used, other):
        await filled(store, name, "again")
    assert await clean(store, now) == [old.id]
    assert await deleted(store) == [old.id]
    assert await store.database.read(left) == 2 + 4


async def aged(store: Store, *names: Owned) -> datetime:
    """Let threads be as old as they may get, and a little older; the time now."""
    stored = Stored(store.url)
    for name in names:
        stored.age(name.key, hours=7 * 24 + 1)
    return await store.database.read(lambda tx: tx.now)


def end(tx: WriteTx, name: Owned, place: str) -> None:
    """End a run, or leave the queue."""
    end_run(tx, lock_thread(tx, name), place, TERMS)


async def test_what_something_goes_on_in_stays(store: Store) -> None:
    """A run, or somebody who waits for it, keeps a thread, however long it lasts; once it is over it goes."""
    name = named()
    await filled(store, name)
    now = await aged(store, name)

    def begin(tx: WriteTx) -> None:
        thread = lock_thread(tx, name)
        assert begin_run(tx, thread, "run", TERMS, lease_s=60) is None
        assert take_turn(tx, thread, "place", TERMS) is not None

    await store.database.write(begin)
    for over in ("run", "place"):
        assert await clean(store, now) == []
        await store.database.write(end, name, over)
    assert await clean(store, now) == [name.id]


async def test_more_than_a_page_goes_in_one_go(store: Store) -> None:
    """Each of many goes once, and is told once; the one that stays does not hold up those behind it."""
    names = [named() for _ in range(2 * PAGE + 50)]
    sql = (
        "INSERT INTO thread (key, id, project_id, user_id, version, message_seq, message_count, kept_from, created_at, "
        "last_activity_at) VALUES (?, ?, ?, 'ann', 1, 0, 0, 1, ?, ?)"
    )
    at = "2020-01-01T00:00:00.000000Z"
    Stored(store.url).many(sql, [(name.key, name.id, PROJECT, at, at) for name in names])
    busy = sorted(names, key=lambda name: name.key)[PAGE // 2]
    await store.database.write(lambda tx: begin_run(tx, lock_thread(tx, busy), "run", TERMS, lease_s=60))
    gone = await clean(store, datetime.fromisoformat(at) + 8 * DAY)
    assert sorted(gone) == sorted(name.id for name in names if name != busy)
    assert await deleted(store) == gone
    assert await store.database.read(left) == 1


async def test_one_that_is_touched_meanwhile_stays(store: Store) -> None:
    """What was idle when it was looked for, and is not any more when its turn comes, is not deleted."""
    first, second = sorted((named(), named()), key=lambda name: name.key)
    for name in (first, second):
        await filled(store, name)
    now = await aged(store, first, second)

    async def read(*args: Any) -> Any:
        found = await store.database.read(*args)
        await filled(store, second, "just now")
        return found

    assert await clean(store, now, read=read) == [first.id]
    assert await store.database.read(left) == 1 + 2


async def test_a_damaged_one_keeps_nobody(sqlite_url: str) -> None:
    """One whose row is no thread any more stays where it is; all others go, those behind it too."""
    async with opened(sqlite_url) as store:
        names = sorted((named() for _ in range(3)), key=lambda name: name.key)
        for name in names:
            await filled(store, name)
        now = await aged(store, *names)
        Stored(sqlite_url).run("UPDATE thread SET created_at = 'long ago' WHERE key = ?", names[1].key)
        assert await clean(store, now) == [names[0].id, names[2].id]
        assert await store.database.read(left) == 2


async def elsewhere(store: Store, now: datetime) -> int:
    """How many another one deletes: another node, or on SQLite who does it by hand, in a thread of his own."""
    if not store.is_sqlite:
        async with opened(store.url, project=False) as node:
            return await clean_threads(node.database.read, node.database.write, TERMS, now=now)
    guest = SqliteGuest(path_of(store.url), Log(fill_output), busy_s=60)
    try:
        return await asyncio.to_thread(lambda: asyncio.run(clean_threads(guest.read, guest.write, TERMS, now=now)))
    finally:
        guest.close()


async def test_of_two_who_clean_at_once_one_deletes_each(store: Store) -> None:
    """Between them each thread goes once, and there is one event of it; positions have no hole."""
    names = [named() for _ in range(60)]
    for name in names:
        await filled(store, name)
    now = await aged(store, *names)
    here = clean_threads(store.database.read, store.database.write, TERMS, now=now)
    assert sum(await asyncio.gather(here, elsewhere(store, now))) == len(names)
    assert sorted(await deleted(store)) == sorted(name.id for name in names)
    offsets = [entry.offset for entry in await store.entries()]
    assert offsets == list(range(1, len(offsets) + 1))
    assert await store.database.read(left) == 0
