"""A job from the command line in a file that a server is serving."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessioncast_server.channels.log import Log
from sessioncast_server.db.errors import UnavailableError, UniqueError
from sessioncast_server.db.guest import SqliteGuest
from sessioncast_server.db.sqlite import path_of
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.exchange.once import Ticket, claim, keep
from sessioncast_server.projects.service import put_project
from sessioncast_server.sessions.output import fill_output
from sessioncast_server.web.answer import Answer
from support.store import PROJECT, add, opened, titles
from support.waiting import DEADLINE_S

_TWICE = Text(sqlite="INSERT INTO project SELECT * FROM project")


@pytest.fixture
def guest(sqlite_url: str) -> Iterator[SqliteGuest]:
    """Who waits long for the file."""
    found = SqliteGuest(path_of(sqlite_url), Log(fill_output), busy_s=60)
    yield found
    found.close()


async def test_it_writes_into_the_servers_logs(sqlite_url: str, guest: SqliteGuest) -> None:
    """What it appends has the next positions, and what the server appends afterwards those behind them: no hole."""
    async with opened(sqlite_url) as store:
        await store.database.write(add, "server's")
        written = await guest.write(add, "guest's")
        assert (written.value, written.position) == (written.value, None)
        assert written.effort.statements > 0
        await store.database.write(add, "server's again")
        assert await guest.read(titles) == await store.titles() == ["server's", "guest's", "server's again"]
        assert [entry.offset for entry in await store.entries()] == [1, 2, 3]


async def test_they_write_at_the_same_time(sqlite_url: str, guest: SqliteGuest) -> None:
    """Each waits for the other's commits: nothing of either is lost, and positions have no hole."""
    many = 40
    async with opened(sqlite_url) as store:

        def work() -> None:
            for number in range(many):
                asyncio.run(_add(guest, f"guest's {number}"))

        theirs = asyncio.to_thread(work)
        ours = (store.database.write(add, f"server's {number}") for number in range(many))
        await asyncio.gather(theirs, *ours)
        assert sorted(await store.titles()) == sorted(
            f"{who} {number}" for who in ("guest's", "server's") for number in range(many)
        )
        assert [entry.offset for entry in await store.entries()] == list(range(1, 2 * many + 1))


async def test_it_leaves_the_file_to_the_server_too(sqlite_url: str, guest: SqliteGuest) -> None:
    """One that writes on and on, commit after commit, does not keep the server from writing."""
    async with opened(sqlite_url) as store:
        enough = threading.Event()

        def work() -> None:
            while not enough.is_set():
                asyncio.run(_add(guest, "guest's"))

        working = asyncio.create_task(asyncio.to_thread(work))
        try:
            async with asyncio.timeout(DEADLINE_S):
                for _ in range(60):
                    await store.database.write(add, "server's")
        finally:
            enough.set()
            await working
        titles_now = await store.titles()
        assert titles_now.count("server's") == 60
        assert [entry.offset for entry in await store.entries()] == list(range(1, len(titles_now) + 1))


async def _add(guest: SqliteGuest, title: str) -> None:
    await guest.write(add, title)


async def test_what_is_said_at_the_close_is_done(guest: SqliteGuest) -> None:
    """Statements that a function leaves for the end see the positions of its events."""
    await guest.write(put_project, PROJECT)
    ticket = Ticket.of("k", user="u", method="POST", path="/", body=b"", ttl_s=3600)

    def once(tx: WriteTx) -> Answer | None:
        before = claim(tx, ticket)
        if before is None:
            add(tx, "once")
            keep(tx, ticket, Answer(201, b"{}"))
        return before

    assert (await guest.write(once)).value is None
    again = (await guest.write(once)).value
    assert again is not None
    assert again.headers["X-Position"].endswith(":1")
    assert await guest.read(titles) == ["once"]


async def test_a_failure_leaves_nothing(guest: SqliteGuest) -> None:
    """What a function raises is raised, errors of the database as the store's own; neither rows nor events remain, and
    the next one goes on."""
    await guest.write(put_project, PROJECT)

    def breaks(tx: WriteTx) -> None:
        add(tx, "lost")
        raise ValueError("of its own")

    def twice(tx: WriteTx) -> None:
        add(tx, "lost")
        tx.run(_TWICE)

    with pytest.raises(ValueError, match="of its own"):
        await guest.write(breaks)
    with pytest.raises(UniqueError):
        await guest.write(twice)
    await guest.write(add, "kept")
    assert await guest.read(titles) == ["kept"]


async def test_a_file_that_somebody_holds_is_unavailable(sqlite_url: str) -> None:
    """Who does not end his transaction makes it wait, and then give up; afterwards it works."""
    guest = SqliteGuest(path_of(sqlite_url), Log(fill_output), busy_s=0.05)
    holder = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError) as caught:
            await guest.write(put_project, PROJECT)
        assert caught.value.reason == "busy"
        assert await guest.read(titles) == []
        holder.execute("ROLLBACK")
        await guest.write(put_project, PROJECT)
    finally:
        holder.close()
        guest.close()


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """It is refused, for reading and for writing, and there is still none."""
    guest = SqliteGuest(tmp_path / "none.db", Log(fill_output), busy_s=1)
    for call in (guest.read(titles), guest.write(put_project, PROJECT)):
        with pytest.raises(UnavailableError, match=r"none\.db"):
            await call
    guest.close()
    assert not (tmp_path / "none.db").exists()


async def test_a_file_that_is_none_is_unavailable(tmp_path: Path) -> None:
    """Bytes that are no database are told as what they are."""
    path = tmp_path / "text.db"
    path.write_text("no database, " * 1000)
    guest = SqliteGuest(path, Log(fill_output), busy_s=1)
    with pytest.raises(UnavailableError) as caught:
        await guest.read(titles)
    assert caught.value.reason == "io"
    guest.close()
