"""Sets aside what readers found to be corrupt: they themselves must not write."""

import asyncio
from collections.abc import Iterable

import structlog

from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.threads.messages import set_aside
from sessioncast_server.threads.meter import Meter
from sessioncast_server.threads.rules import Owned, Terms
from sessioncast_server.threads.service import lock_thread
from sessioncast_server.threads.telling import Told, told

_log = structlog.get_logger(__name__)

_SUSPECTS_MAX = 1000
"""Threads that wait to be looked at; what is over that is found again by the next reader."""


class Warden:
    """Readers tell it of suspects, from whatever thread; it looks at them again in a transaction of its own."""

    def __init__(self, database: Database, terms: Terms, meter: Meter) -> None:
        self._database = database
        self._terms = terms
        self._meter = meter
        self._suspects: dict[Owned, set[int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, on this loop."""
        self._loop = asyncio.get_running_loop()

    def suspect(self, name: Owned, seqs: Iterable[int]) -> None:
        """These messages of a thread are not what was written."""
        found = tuple(seqs)
        if found and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, name, found)

    async def close(self) -> None:
        """Stop; what was not looked at is found again."""
        self._loop = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _note(self, name: Owned, seqs: tuple[int, ...]) -> None:
        if self._loop is None or (name not in self._suspects and len(self._suspects) >= _SUSPECTS_MAX):
            return
        self._suspects.setdefault(name, set()).update(seqs)
        if self._task is None:
            self._task = asyncio.create_task(self._look(), name="quarantine")

    async def _look(self) -> None:
        while self._suspects:
            name, seqs = self._suspects.popitem()
            try:
                written = await self._database.write(_set_aside, name, sorted(seqs), self._terms)
                self._meter.told(written.value)
            except (DatabaseError, Problem) as error:
                # The thread is gone, or the next reader finds them again.
                _log.warning("corrupt messages could not be set aside", thread=name.id, error=str(error))
        self._task = None


def _set_aside(tx: WriteTx, name: Owned, seqs: list[int], terms: Terms) -> list[Told]:
    set_aside(tx, lock_thread(tx, name), seqs, terms)
    return told(tx)
