"""A database as the server opens it, with the real log, and plain functions to run in it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sessioncast_server.broker.base import Announcement
from sessioncast_server.channels.audience import EVERYBODY, Audience
from sessioncast_server.channels.log import Entry, Head, Log, head_of
from sessioncast_server.db.database import CommitListener, Database
from sessioncast_server.db.postgres import PostgresDatabase
from sessioncast_server.db.sqlite import SqliteDatabase, path_of
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.projects.service import put_project
from sessioncast_server.sessions.output import fill_output
from sessioncast_server.tasks.service import create_task

PROJECT = "p"
_PATIENT_S = 60.0  # a machine that stalls for some seconds ends no wait that is to succeed

TITLES = Text(
    sqlite="SELECT title FROM task ORDER BY created_at, id",
    postgresql="SELECT title FROM task ORDER BY created_at, id",
    columns={"title": None},
)


@dataclass
class Store:
    """An open database and what its listener heard.

    Attributes:
        announced: in the order the loop heard of it.
        doubts: how often the store lost sight of its commits.
        groups: functions in each commit that appended something.
    """

    url: str
    log: Log
    database: Database = field(init=False)
    announced: list[Announcement] = field(default_factory=list)
    doubts: int = 0
    groups: list[int] = field(default_factory=list)
    hear: Callable[[], None] | None = None

    def committed(self, announcements: list[Announcement]) -> None:
        """Remember what was appended, then call `hear` if there is one."""
        self.announced += announcements
        if self.hear is not None:
            self.hear()

    def doubtful(self) -> None:
        """Remember the doubt."""
        self.doubts += 1

    def timed(self, seconds: float, functions: int) -> None:
        """Remember the group."""
        self.groups.append(functions)

    async def titles(self) -> list[str]:
        """Titles of all tasks, oldest first."""
        return await self.database.read(titles)

    async def head(self) -> Head:
        """Where the project's log ends."""
        return await self.database.read(head_of, PROJECT)

    async def entries(self, audience: Audience = EVERYBODY, *, after: int = 0) -> list[Entry]:
        """All events for an audience after an offset."""
        stretch = await self.database.read(self.log.read, PROJECT, audience, after=after, limit=100_000, size=1 << 30)
        assert not stretch.more
        return stretch.entries

    @property
    def is_sqlite(self) -> bool:
        """Which of the two it is."""
        return self.url.startswith("sqlite:")


def make_database(url: str, log: Log, **limits: Any) -> Database:
    """A database of a URL, not connected; `limits` as its class takes them, waits are long where nothing is said."""
    patient = {"write_deadline_s": _PATIENT_S, "pool_wait_s": _PATIENT_S}
    if url.startswith("sqlite:"):
        return SqliteDatabase(path_of(url), log, **patient | limits)
    return PostgresDatabase(url, log, **patient | {"lock_timeout_s": _PATIENT_S} | limits)


@asynccontextmanager
async def opened(url: str, *, project: bool = True, **limits: Any) -> AsyncIterator[Store]:
    """A migrated database, open, with the project `p` in it unless nothing is to be written."""
    store = Store(url, Log(fill_output))
    store.database = make_database(url, store.log, **limits)
    await store.database.open(CommitListener(store.committed, store.doubtful, store.timed))
    try:
        if project:
            await store.database.write(put_project, PROJECT)
        yield store
    finally:
        await store.database.close()


def add(tx: WriteTx, title: str) -> str:
    """Make a task, which emits one event; its id."""
    return str(create_task(tx, PROJECT, title, None, {}).id)


def titles(tx: ReadTx) -> list[str]:
    """Titles of all tasks, oldest first."""
    return [row.title for row in tx.all(TITLES)]
