"""Many who want one row of PostgreSQL: all get it, in order, and those who want another row do not notice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import LiteralString

import orjson
import psycopg
import pytest
from sqlalchemy import bindparam, select

from sessioncast_server.db.errors import LockTimeoutError
from sessioncast_server.db.lines import Lines
from sessioncast_server.db.transaction import Lock, WriteTx
from sessioncast_server.tasks.tables import TaskRow
from support.store import Store, add, opened
from support.waiting import until

_TASK = TaskRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_LOCK = Lock(select(_TASK.c.id).where(_TASK.c.id == bindparam("task_id")))
_KEEP: LiteralString = "SELECT 1 FROM task WHERE id = ANY(%s) FOR NO KEY UPDATE"
_WAITING: LiteralString = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def change(tx: WriteTx, task: str, title: str) -> str:
    """A short transaction that begins with a task's lock and leaves an event."""
    tx.locked(_LOCK, task_id=task)
    add(tx, title)
    return title


def lines_of(store: Store) -> Lines:
    """Where callers stand."""
    return store.database._lines  # type: ignore[attr-defined, no-any-return]  # nobody outside has to know of them


@asynccontextmanager
async def kept(store: Store, *tasks: str) -> AsyncIterator[None]:
    """Tasks that a stranger has locked meanwhile."""
    async with await psycopg.AsyncConnection.connect(store.url) as stranger:
        await stranger.execute(_KEEP, [list(tasks)])
        yield


async def stand(store: Store, *titles: str, task: str) -> "list[asyncio.Task[object]]":
    """Callers who stand in line for a task that is kept, in this order."""
    lines, calls = lines_of(store), []
    for title in titles:
        before = lines.waiting
        calls.append(asyncio.create_task(store.database.write(change, task, title)))
        await until(lambda before=before: lines.waiting > before, "one more to stand in line")  # type: ignore[misc]  # a default
    return list(calls)


async def titles_in_order(store: Store) -> list[str]:
    """Titles of tasks in the order in which they were committed."""
    return [orjson.loads(entry.body)["data"]["title"] for entry in await store.entries()]


async def test_sixteen_who_wait_for_one_row_have_it_in_their_order(migrated_postgres_url: str) -> None:
    """Sixteen short transactions, each there before the next came, wait for a row that is kept: once it is free all
    succeed, and nobody is overtaken by anybody."""
    async with opened(migrated_postgres_url) as store:
        task = (await store.database.write(add, "row")).value
        names = [str(number) for number in range(16)]
        async with kept(store, task):
            calls = await stand(store, *names, task=task)
        await asyncio.gather(*calls)
        assert await titles_in_order(store) == ["row", *names]
        assert len(lines_of(store)) == 0


async def test_sixty_four_at_once_all_have_the_row(migrated_postgres_url: str) -> None:
    """However they come, each is served once, and no line is left."""
    async with opened(migrated_postgres_url) as store:
        task = (await store.database.write(add, "row")).value
        names = {str(number) for number in range(64)}
        async with kept(store, task):
            calls = [asyncio.create_task(store.database.write(change, task, name)) for name in names]
            await until(lambda: lines_of(store).waiting == 64, "all to stand in line")
        efforts = [(await call).effort for call in calls]
        assert all(effort.contended and effort.waited_s > 0 for effort in efforts)
        assert sorted(await titles_in_order(store)) == sorted({"row", *names})
        assert len(lines_of(store)) == 0


async def test_who_leaves_a_line_holds_up_nobody(migrated_postgres_url: str) -> None:
    """The first and one in the middle are cancelled: those who are left have the row in their order.

    What the first one had asked the database already may still be done.
    """
    async with opened(migrated_postgres_url) as store:
        task = (await store.database.write(add, "row")).value
        async with kept(store, task):
            calls = await stand(store, *"abcde", task=task)
            for number in (0, 2):
                calls[number].cancel()
            await until(lambda: lines_of(store).waiting == 3, "two to be gone")
        await asyncio.gather(*(calls[number] for number in (1, 3, 4)))
        assert [title for title in await titles_in_order(store) if title != "a"] == ["row", "b", "d", "e"]
        assert len(lines_of(store)) == 0


async def test_standing_in_line_counts_as_waiting(migrated_postgres_url: str) -> None:
    """Who has not got a row in time is told so wherever it stands, and leaves nothing behind."""
    async with opened(migrated_postgres_url, lock_timeout_s=0.3) as store:
        task = (await store.database.write(add, "row")).value
        async with kept(store, task):
            calls = [store.database.write(change, task, str(number)) for number in range(12)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {LockTimeoutError}
        assert (len(lines_of(store)), lines_of(store).waiting) == (0, 0)
        await store.database.write(change, task, "later")
        assert await titles_in_order(store) == ["row", "later"]


@pytest.mark.parametrize("threads", [1, 4])
async def test_lines_keep_no_more_than_half_of_the_connections(migrated_postgres_url: str, threads: int) -> None:
    """With more lines than connections at most half of these wait in the database; whoever wants another row is served
    meanwhile, and all have theirs in the end."""
    async with opened(migrated_postgres_url, write_threads=threads) as store:
        tasks = [(await store.database.write(add, str(number))).value for number in range(6)]
        other = (await store.database.write(add, "other")).value
        lines = lines_of(store)
        async with (
            kept(store, *tasks),
            await psycopg.AsyncConnection.connect(store.url, autocommit=True) as watcher,
        ):
            calls = [asyncio.create_task(store.database.write(change, task, "late")) for task in tasks * 3]
            await until(lambda: (len(lines), lines.waiting) == (6, 18), "all to stand in line")
            for number in range(30):
                found = await (await watcher.execute(_WAITING)).fetchone()
                assert found is not None
                assert found[0] <= threads // 2
                await store.database.write(partial(change, task=other, title=f"other {number}"))
            assert not any(call.done() for call in calls)
        await asyncio.gather(*calls)
        assert (await titles_in_order(store)).count("late") == 18
