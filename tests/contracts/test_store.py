"""What every store keeps: all or nothing, one run of offsets, one snapshot, and an answer for every waiter."""

import asyncio
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from sqlalchemy import bindparam, select

from sessioncast_server.channels.log import head_of
from sessioncast_server.db.errors import UniqueError
from sessioncast_server.db.sqlite import path_of
from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime
from sessioncast_server.projects.service import put_project
from support.store import PROJECT, Store, add, titles
from support.waiting import DEADLINE_S, until

_STAMP = Text(
    sqlite="UPDATE task SET version = (SELECT head FROM channel WHERE project_id = :p) WHERE title = :title",
    postgresql="UPDATE task SET version = (SELECT head FROM channel WHERE project_id = %(p)s) WHERE title = %(title)s",
)
_VERSION = Text(
    sqlite="SELECT version FROM task WHERE title = :title",
    postgresql="SELECT version FROM task WHERE title = %(title)s",
    columns={"version": None},
)
_SAME_PROJECT = Text(
    sqlite="INSERT INTO project (id, created_at) VALUES (:id, :at)",
    postgresql="INSERT INTO project (id, created_at) VALUES (%(id)s, %(at)s)",
    types={"at": UtcTime()},
)
_ECHO = Statement(select(bindparam("at", type_=UtcTime).label("at")))
_RENAME = Text(
    sqlite="UPDATE task SET title = 'x' RETURNING id",
    postgresql="UPDATE task SET title = 'x' RETURNING id",
    columns={"id": None},
)


class RefusedError(Exception):
    """What a service refuses with."""


def refuse(tx: WriteTx, title: str) -> None:
    """Write and emit, then refuse."""
    add(tx, title)
    raise RefusedError(title)


def _committed_titles(url: str) -> set[str]:
    """What a stranger sees, on a connection that has nothing to do with the store."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(path_of(url))) as connection:
            return {row[0] for row in connection.execute("SELECT title FROM task")}
    with psycopg.connect(url) as other:
        return {row[0] for row in other.execute("SELECT title FROM task")}


async def test_what_is_written_is_read(store: Store) -> None:
    """A write answers with its function's value and the position of its event, and a read finds the row."""
    written = await store.database.write(add, "one")
    assert isinstance(written.value, str)
    assert await store.titles() == ["one"]
    head = await store.head()
    assert written.position is not None
    assert (written.position.epoch, written.position.offset) == (head.epoch, head.offset) == (head.epoch, 1)


async def test_a_write_without_events_has_no_position(store: Store) -> None:
    """What emits nothing has no position, and nobody hears of it."""
    assert (await store.database.write(put_project, "q")).position is None
    assert store.announced == []


async def test_several_events_are_one_run(store: Store) -> None:
    """Events of one transaction follow one another, and the position is the last one's."""

    def three(tx: WriteTx) -> None:
        for title in "abc":
            add(tx, title)

    written = await store.database.write(three)
    assert written.position is not None
    assert written.position.offset == 3
    assert [(a.first, len(a.routes)) for a in store.announced] == [(1, 3)]


async def test_two_channels_in_one_commit(store: Store) -> None:
    """Events for two channels are counted in each, and both are announced."""
    await store.database.write(put_project, "q")

    def both(tx: WriteTx) -> None:
        add(tx, "mine")
        staged = tx.staged[-1]
        for channel in ("q", PROJECT, "q"):
            tx.emit(type(staged)(channel, staged.type, staged.kind, staged.at, staged.data))

    await store.database.write(both)
    assert sorted((a.channel, a.first, len(a.routes)) for a in store.announced) == [("p", 1, 2), ("q", 1, 2)]


async def test_a_refusal_leaves_nothing(store: Store) -> None:
    """A function that raises takes back its rows and its events, and its waiter gets its exception."""
    with pytest.raises(RefusedError):
        await store.database.write(refuse, "no")
    assert await store.titles() == []
    assert (await store.head()).offset == 0
    assert store.announced == []


async def test_a_refusal_does_not_disturb_its_neighbours(store: Store) -> None:
    """Of twenty writes at once every fourth raises: the others are there, contiguous, and announced once."""
    outcomes = await asyncio.gather(
        *(store.database.write(refuse if n % 4 == 0 else add, f"{n:02}") for n in range(20)), return_exceptions=True
    )
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, RefusedError)] == [0, 4, 8, 12, 16]
    kept = {f"{n:02}" for n in range(20) if n % 4}
    assert set(await store.titles()) == kept
    assert (await store.head()).offset == len(kept)
    assert Counter(offset for a in store.announced for offset in range(a.first, a.last + 1)) == Counter(range(1, 16))


async def test_offsets_equal_commit_order(store: Store) -> None:
    """Sixteen writers at once get contiguous offsets, each reads its own event back at its position."""

    async def writer(name: int) -> dict[int, str]:
        got = {}
        for turn in range(10):
            title = f"{name}/{turn}"
            written = await store.database.write(add, title)
            assert written.position is not None
            got[written.position.offset] = title
        assert list(got) == sorted(got)
        return got

    outcomes = await asyncio.gather(*map(writer, range(16)))
    mine = {offset: title for outcome in outcomes for offset, title in outcome.items()}
    assert sorted(mine) == list(range(1, 161))
    entries = await store.entries()
    assert [entry.offset for entry in entries] == list(range(1, 161))
    assert all(f'"title":"{mine[entry.offset]}"'.encode() in entry.body for entry in entries)


async def test_closing_statements_see_the_new_head(store: Store) -> None:
    """What runs at close finds the counter where the transaction's own events have put it."""

    def closing_write(tx: WriteTx) -> None:
        tx.at_close(_STAMP, p=PROJECT, title="second")
        add(tx, "first")
        add(tx, "second")

    await store.database.write(closing_write)
    assert (await store.database.read(lambda tx: tx.one(_VERSION, title="second"))).version == 2


async def test_listeners_hear_after_commit_and_before_the_answer(store: Store) -> None:
    """When the loop hears of a commit a stranger can already read it, and the writer has no answer yet."""
    story: list[str] = []

    def hear() -> None:
        story.append("visible" if "one" in _committed_titles(store.url) else "invisible")

    store.hear = hear
    await store.database.write(add, "one")
    story.append("answered")
    assert story == ["visible", "answered"]


async def test_a_read_is_one_snapshot(store: Store) -> None:
    """Head and rows agree in every read, however many writers run meanwhile."""

    def look(tx: ReadTx) -> tuple[int, int]:
        before = len(titles(tx))
        offset = head_of(tx, PROJECT).offset
        return before, offset

    async def write_on() -> None:
        for n in range(40):
            await store.database.write(add, str(n))

    writers = [asyncio.create_task(write_on()) for _ in range(4)]
    seen = []
    while not all(writer.done() for writer in writers):
        seen.append(await store.database.read(look))
    await asyncio.gather(*writers)
    assert all(rows == offset for rows, offset in seen)
    assert await store.database.read(look) == (160, 160)


async def test_a_read_cannot_write(store: Store) -> None:
    """A function that writes in a read fails, and nothing is changed."""
    await store.database.write(add, "one")
    with pytest.raises(Exception, match=r"(?i)readonly|read-only"):
        await store.database.read(lambda tx: tx.one(_RENAME))
    assert await store.titles() == ["one"]


async def test_times_are_aware_both_ways(store: Store) -> None:
    """A time of any zone comes back as the same moment, in UTC, to the microsecond."""
    at = datetime(2026, 3, 29, 2, 30, 0, 123456, timezone(timedelta(hours=5, minutes=45)))
    back = (await store.database.read(lambda tx: tx.one(_ECHO, at=at))).at
    assert back == at
    assert back.utcoffset() == timedelta(0)
    assert (await store.database.read(lambda tx: tx.now)).tzinfo is UTC


async def test_naive_times_are_refused(store: Store) -> None:
    """A time without a zone is a mistake that does not reach the database."""
    with pytest.raises(ValueError, match="zone"):
        await store.database.read(lambda tx: tx.one(_ECHO, at=datetime(2026, 1, 1)))  # noqa: DTZ001  the mistake


async def test_a_unique_index_refuses(store: Store) -> None:
    """A row that is there already is told by an exception of the store's own."""
    with pytest.raises(UniqueError) as caught:
        await store.database.write(lambda tx: tx.run(_SAME_PROJECT, id=PROJECT, at=tx.now))
    assert "project" in caught.value.constraint
    await store.database.write(add, "later")


async def test_a_waiter_that_leaves_does_not_take_the_commit_along(store: Store) -> None:
    """A write whose waiter is cancelled while it runs is committed and announced all the same."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(tx: WriteTx) -> None:
        begun.set()
        go_on.wait(DEADLINE_S)
        add(tx, "kept")

    waiter = asyncio.create_task(store.database.write(slow))
    await until(begun.is_set, "the write to begin")
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    go_on.set()
    await until(lambda: len(store.announced) == 1, "the announcement")
    assert await store.titles() == ["kept"]
    await until(lambda: store.database.busy() == 0, "the store to be idle")


async def test_even_a_stop_iteration_is_answered(store: Store) -> None:
    """The one exception that futures do not take reaches the waiter as a RuntimeError, and neighbours are served."""

    def stop(tx: WriteTx) -> None:
        raise StopIteration

    stopped, neighbour = await asyncio.gather(
        store.database.write(stop), store.database.write(add, "one"), return_exceptions=True
    )
    assert isinstance(stopped, RuntimeError)
    assert not isinstance(neighbour, BaseException)


async def test_a_listener_that_fails_keeps_nobody_waiting(store: Store) -> None:
    """What is committed is answered, also when the one who should hear of it raises."""
    loop, told = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: told.append(context))

    def hear() -> None:
        raise RefusedError

    store.hear = hear
    async with asyncio.timeout(DEADLINE_S):
        await store.database.write(add, "one")
    assert len(told) == 1
    assert await store.titles() == ["one"]
