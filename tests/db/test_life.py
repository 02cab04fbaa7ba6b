"""The side file that tells a restored SQLite file from one that merely was closed or killed."""

import shutil
from pathlib import Path

import pytest

from sessioncast_server.channels import life
from sessioncast_server.db.sqlite import path_of
from support.store import add, opened


async def _write(url: str, *titles: str) -> None:
    async with opened(url) as store:
        for title in titles:
            await store.database.write(add, title)


async def _went_back(url: str) -> bool:
    async with opened(url, project=False) as store:
        return store.database.log_went_back


async def test_a_restart_is_no_restoration(sqlite_url: str) -> None:
    """A file that was closed and opened again has not gone back."""
    await _write(sqlite_url, "a", "b")
    assert not await _went_back(sqlite_url)


async def test_a_crash_is_no_restoration(sqlite_url: str, tmp_path: Path) -> None:
    """What a kill leaves, write-ahead log and all, has not gone back, and has every acknowledged row."""
    crashed = tmp_path / "crashed"
    async with opened(sqlite_url) as store:
        for title in "abc":
            await store.database.write(add, title)
        crashed.mkdir()
        for path in path_of(sqlite_url).parent.glob("store.db*"):
            shutil.copy(path, crashed)
    async with opened(f"sqlite:///{crashed}/store.db") as store:
        assert not store.database.log_went_back
        assert await store.titles() == ["a", "b", "c"]


async def test_an_older_copy_is_noticed_until_the_epochs_are_new(sqlite_url: str, tmp_path: Path) -> None:
    """A restored copy has gone back, also for who opens it after a crash before the rotation; then no more."""
    path = path_of(sqlite_url)
    await _write(sqlite_url, "a")
    shutil.copy(path, tmp_path / "backup.db")
    await _write(sqlite_url, "b", "c")
    shutil.copy(tmp_path / "backup.db", path)
    assert await _went_back(sqlite_url)
    assert await _went_back(sqlite_url)  # nobody rotated yet
    async with opened(sqlite_url, project=False) as store:
        old = (await store.head()).epoch
        await store.database.write(life.rotate_all)
        assert (await store.head()).epoch != old
    assert not await _went_back(sqlite_url)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"scast001", b"garbage of the right l" * 9, b"x" * 16],
    ids=["missing", "empty", "torn", "long garbage", "garbage of its size"],
)
async def test_a_side_file_that_says_nothing_raises_no_alarm(
    sqlite_url: str, tmp_path: Path, content: bytes | None
) -> None:
    """A missing or unreadable side file is no sign; it is written anew and notices the next restoration."""
    path = path_of(sqlite_url)
    await _write(sqlite_url, "a")
    shutil.copy(path, tmp_path / "backup.db")
    side = path.with_name("store.db.life")
    side.unlink()
    if content is not None:
        side.write_bytes(content)
    assert not await _went_back(sqlite_url)
    await _write(sqlite_url, "b")
    shutil.copy(tmp_path / "backup.db", path)
    assert await _went_back(sqlite_url)


async def test_a_side_file_that_is_behind_raises_no_alarm(sqlite_url: str, tmp_path: Path) -> None:
    """A count lower than the database's own, as after a power cut, is no sign."""
    side = path_of(sqlite_url).with_name("store.db.life")
    await _write(sqlite_url, "a")
    shutil.copy(side, tmp_path / "older")
    await _write(sqlite_url, "b")
    shutil.copy(tmp_path / "older", side)
    assert not await _went_back(sqlite_url)
