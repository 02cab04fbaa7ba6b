"""Turns that this node itself has, while it works in them."""

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context
from typing import Any

import structlog

from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.turns.service import leave, renew_turns

_log = structlog.get_logger(__name__)


End = Callable[[WriteTx, str], object]
"""Ends a turn, by its place, with whatever else is to be done then."""


class Holder:
    """Renews the turns that are held here, all by one write, and gives up those whose work has failed.

    Args:
        renew_s: seconds between two renewals.
        give_up_s: how long it is tried to give a turn up; by then its lease has run out.
        gave_up: called with what was returned by what ended a turn.
    """

    def __init__(
        self, database: Database, *, renew_s: float, give_up_s: float, gave_up: Callable[[Any], None] = lambda _: None
    ) -> None:
        self._database = database
        self._renew_s = renew_s
        self._give_up_s = give_up_s
        self._gave_up = gave_up
        self._held: set[str] = set()
        self._leaving: dict[str, tuple[float, End]] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Turns that are held here."""
        return len(self._held)

    def hold(self, place_id: str) -> None:
        """Renew a turn from now on."""
        self._held.add(place_id)
        self._start()

    def let_go(self, place_id: str) -> None:
        """Renew it no more: it was ended."""
        self._held.discard(place_id)

    def give_up(self, place_id: str, end: End = leave) -> None:
        """End it as soon as the database takes it."""
        self._held.discard(place_id)
        self._leaving[place_id] = asyncio.get_running_loop().time() + self._give_up_s, end
        self._woken.set()
        self._start()

    async def close(self) -> None:
        """Stop; what is held lapses, what was given up is tried once more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._leave()

    def _start(self) -> None:
        if self._task is None:
            # With a context of its own: its log lines are not of the request that began it.
            self._task = asyncio.create_task(self._hold_for_ever(), name="turns held", context=Context())

    async def _hold_for_ever(self) -> None:
        while self._held or self._leaving:
            self._woken.clear()
            await self._leave()
            try:
                if self._held:
                    await self._database.write(renew_turns, sorted(self._held))
            except DatabaseError as error:
                _log.warning("turns cannot be kept", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._renew_s):
                    await self._woken.wait()
        self._task = None

    async def _leave(self) -> None:
        now = asyncio.get_running_loop().time()
        for place_id, (until, end) in tuple(self._leaving.items()):
            if now < until:
                try:
                    self._gave_up((await self._database.write(end, place_id)).value)
                except (DatabaseError, Problem) as error:
                    _log.warning("a turn cannot be given up", error=str(error))
                    continue
            self._leaving.pop(place_id, None)
