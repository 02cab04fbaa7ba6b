"""A commit group of SQLite whose transaction is undone half-way, or whose COMMIT fails."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sessioncast_server.db.errors import CommitUnknownError, DatabaseError, UnavailableError
from sessioncast_server.db.migrate import migrate
from sessioncast_server.db.sqlite import lock, path_of
from sessioncast_server.db.sqlite_link import SqliteLink
from sessioncast_server.db.sqlite_writer import GroupLimits
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import WriteTx
from support.gate import Gate
from support.store import Store, add, opened
from support.waiting import until

_BIG = Text(sqlite="UPDATE task SET metadata = :text")
_ENDLESS = Text(
    sqlite="INSERT INTO log_life (id, commits) "
    "WITH RECURSIVE n(i) AS (SELECT 9 UNION ALL SELECT i + 1 FROM n) SELECT i, 0 FROM n"
)
_CONFLICT = Text(sqlite="INSERT OR ROLLBACK INTO project (id, created_at) VALUES ('p', '')")


def fill_the_file(tx: WriteTx) -> None:
    """SQLITE_FULL from the limit of pages, for which SQLite takes back the statement only."""
    connection: sqlite3.Connection = tx._cursor.connection  # type: ignore[attr-defined]  # sqlite3's cursor has it
    connection.execute("PRAGMA max_page_count = 1")  # which means: as many as there are
    try:
        tx.run(_BIG, text="x" * 1_000_000)
    finally:
        connection.execute("PRAGMA max_page_count = 1000000")


def fill_the_disk(tx: WriteTx) -> None:
    """SQLITE_FULL from the disk, in the middle of the transaction because the page cache is small."""
    connection: sqlite3.Connection = tx._cursor.connection  # type: ignore[attr-defined]  # sqlite3's cursor has it
    connection.execute("PRAGMA cache_size = 10")
    tx.run(_BIG, text="x" * 4_000_000)


def be_interrupted(tx: WriteTx) -> None:
    """SQLITE_INTERRUPT in a statement that writes."""
    connection: sqlite3.Connection = tx._cursor.connection  # type: ignore[attr-defined]  # sqlite3's cursor has it
    timer = threading.Timer(0.1, connection.interrupt)
    timer.start()
    try:
        tx.run(_ENDLESS)
    finally:
        timer.join()


def conflict(tx: WriteTx) -> None:
    """ON CONFLICT ROLLBACK."""
    tx.run(_CONFLICT)


KILLERS: list[tuple[Callable[[WriteTx], None], str]] = [
    (be_interrupted, "deadline"),
    (conflict, "project.id"),
]


async def the_log_is_whole(store: Store) -> None:
    """Head, events and rows say the same."""
    offset = (await store.head()).offset
    entries = await store.entries()
    assert [entry.offset for entry in entries] == list(range(1, offset + 1))
    bodies = b"\n".join(entry.body for entry in entries)
    titles = await store.titles()
    assert len(titles) == offset
    assert all(f'"title":"{title}"'.encode() in bodies for title in titles)


async def only_the_killer_fails(
    url: str, killer: Callable[[WriteTx], None], reason: str, *, swallows: bool, runs: int = 2
) -> None:
    """Run a group with a killer in it; its neighbours are to run so often."""
    ran: Counter[str] = Counter()

    def good(tx: WriteTx, title: str) -> None:
        ran[title] += 1
        add(tx, title)

    def refused(tx: WriteTx) -> None:
        ran["refused"] += 1
        add(tx, "refused")
        raise LookupError

    def kills(tx: WriteTx) -> str:
        ran["killer"] += 1
        add(tx, "killer")
        if not swallows:
            killer(tx)
            return "unreachable"
        with suppress(DatabaseError):
            killer(tx)
        with suppress(Exception):
            add(tx, "stray")  # in autocommit this would be committed by itself
        return "as if nothing had been"

    gate = Gate()
    async with opened(url, limits=GroupLimits(seconds=60)) as store:
        await store.database.write(add, "before")
        async with asyncio.timeout(30):
            held = asyncio.create_task(store.database.write(gate))
            await until(gate.entered.is_set, "the group to begin")
            calls = [
                *(store.database.write(good, title) for title in ("a", "b")),
                store.database.write(refused),
                store.database.write(kills),
                store.database.write(good, "after"),
            ]
            waiters = [asyncio.ensure_future(call) for call in calls]
            await until(lambda: store.database.busy() == 6, "the group to be complete")
            gate.open()
            outcomes = await asyncio.gather(*waiters, return_exceptions=True)
            await held
        assert [type(outcome).__name__ for outcome in outcomes[:3]] == ["Written", "Written", "LookupError"]
        assert isinstance(outcomes[3], DatabaseError)
        assert reason in str(outcomes[3])
        assert ran == {"a": runs, "b": runs, "refused": runs, "killer": 1, "after": 1}
        assert await store.titles() == ["before", "a", "b", "after"]
        await store.database.write(add, "later")
        await the_log_is_whole(store)
        assert [a.first for a in store.announced] == [1, 2, 3, 4, 5]
        assert store.doubts == 0


@pytest.mark.parametrize(("killer", "reason"), KILLERS)
@pytest.mark.parametrize("swallows", [False, True], ids=["raises", "swallows"])
async def test_only_the_killer_of_a_group_fails(
    sqlite_url: str, killer: Callable[[WriteTx], None], reason: str, *, swallows: bool
) -> None:
    """All others of a group that was undone run again, refused ones too, and nothing of the killer is committed."""
    await only_the_killer_fails(sqlite_url, killer, reason, swallows=swallows)


async def test_a_file_at_its_limit_disturbs_no_neighbour(sqlite_url: str) -> None:
    """A write that the file has no room for fails alone, and nobody has to run again."""
    await only_the_killer_fails(sqlite_url, fill_the_file, "full", swallows=False, runs=1)


@pytest.mark.root
@pytest.mark.parametrize("swallows", [False, True], ids=["raises", "swallows"])
async def test_a_write_that_fills_the_disk_fails_alone(small_disk: Path, *, swallows: bool) -> None:
    """A write that the disk has no room for undoes its group; all others run again and are committed."""
    url = f"sqlite:///{small_disk}/store.db"
    migrate(url)
    await only_the_killer_fails(url, fill_the_disk, "full", swallows=swallows)


async def test_who_was_in_time_before_the_killer_is_so_again(sqlite_url: str) -> None:
    """A write that spends its whole deadline takes it from nobody who shared its group."""
    gate = Gate()
    async with opened(sqlite_url, limits=GroupLimits(seconds=60), write_deadline_s=0.5) as store:
        held = asyncio.create_task(store.database.write(gate))
        await until(gate.entered.is_set, "the group to begin")
        early = asyncio.create_task(store.database.write(add, "early"))
        killer = asyncio.create_task(store.database.write(lambda tx: tx.run(_ENDLESS)))
        await until(lambda: store.database.busy() == 3, "the group to be complete")
        gate.open()
        with pytest.raises(UnavailableError) as caught:
            await killer
        assert caught.value.reason == "deadline"
        await asyncio.gather(held, early)
        assert await store.titles() == ["early"]


class _Rollback(SqliteLink):
    """A link to a file without WAL: there, and only there, a stranger's read makes COMMIT itself busy."""

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)


async def test_a_busy_commit_is_repeated_and_then_given_up(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stranger reads, COMMIT is busy: it waits, then the whole group is `busy` and nothing of it remains."""
    monkeypatch.setattr("sessioncast_server.db.sqlite.SqliteLink", _Rollback)
    with closing(sqlite3.connect(path_of(sqlite_url))) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    async with opened(sqlite_url, busy_s=0.01) as store:
        with closing(sqlite3.connect(path_of(sqlite_url), isolation_level=None)) as stranger:
            stranger.execute("BEGIN")
            stranger.execute("SELECT count(*) FROM task").fetchall()
            outcomes = await asyncio.gather(
                *(store.database.write(add, title) for title in "ab"), return_exceptions=True
            )
            assert [getattr(outcome, "reason", None) for outcome in outcomes] == ["busy", "busy"]
            late = asyncio.create_task(store.database.write(add, "waited"))
            await until(lambda: (path_of(sqlite_url).with_name("store.db-journal")).exists(), "COMMIT to be tried")
            stranger.execute("COMMIT")
            await late
        assert await store.titles() == ["waited"]
        await the_log_is_whole(store)


@pytest.mark.root
async def test_a_full_disk_keeps_what_was_acknowledged(small_disk: Path) -> None:
    """On a disk that runs full every acknowledged write stays; given room, the same store goes on."""
    url = f"sqlite:///{small_disk}/store.db"
    migrate(url)
    async with opened(url) as store:
        acknowledged: list[str] = []
        failures: list[BaseException] = []

        async def write_until_full(name: int) -> None:
            for turn in range(200):
                try:
                    await store.database.write(_add_big, f"{name}/{turn}")
                except DatabaseError as error:
                    failures.append(error)
                    return
                acknowledged.append(f"{name}/{turn}")

        async with asyncio.timeout(60):
            await asyncio.gather(*map(write_until_full, range(8)))
        assert len(failures) == 8
        assert all(isinstance(error, (UnavailableError, CommitUnknownError)) for error in failures)
        await asyncio.to_thread(_enlarge, small_disk)
        await store.database.write(add, "later")
        titles = set(await store.titles())
        assert titles >= {*acknowledged, "later"}
        await the_log_is_whole(store)


def _enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)


def _add_big(tx: WriteTx, title: str) -> Any:
    tx.run(_BIG, text="x" * 2000)
    return add(tx, title)


async def test_one_process_has_the_file(sqlite_url: str) -> None:
    """While a server has the file neither another one nor a migration gets it; afterwards both do."""
    async with opened(sqlite_url):
        for second in (lambda: migrate(sqlite_url), lambda: lock(path_of(sqlite_url))):
            with pytest.raises(UnavailableError, match="another") as caught:
                second()
            assert caught.value.reason == "locked"
        with pytest.raises(UnavailableError, match="another"):
            async with opened(sqlite_url):
                pass
    migrate(sqlite_url)
    async with opened(sqlite_url):
        pass


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    """Database, log, shared memory, lock and life file are made with mode 600 whatever the umask."""
    before = os.umask(0)
    try:
        url = f"sqlite:///{tmp_path}/fresh.db"
        migrate(url)
        async with opened(url) as store:
            await store.database.write(add, "one")
            modes = _modes(tmp_path)
    finally:
        os.umask(before)
    assert modes == {f"fresh.db{suffix}": 0o600 for suffix in ("", "-wal", "-shm", ".lock", ".life")}
