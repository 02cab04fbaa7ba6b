"""Turns that this node itself has, while it works in them."""

import asyncio
from collections.abc import Callable, Coroutine
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
        self._renewing: asyncio.Task[None] | None = None
        self._leaving: dict[str, tuple[End, asyncio.Task[None]]] = {}

    @property
    def held(self) -> int:
        """Turns that are held here."""
        return len(self._held)

    def hold(self, place_id: str) -> None:
        """Renew a turn from now on."""
        self._held.add(place_id)
        if self._renewing is None:
            self._renewing = _task(self._renew_for_ever(), "turns held")

    def let_go(self, place_id: str) -> None:
        """Renew it no more: it was ended."""
        self._held.discard(place_id)

    def give_up(self, place_id: str, end: End = leave) -> None:
        """End it as soon as the database takes it."""
        self._held.discard(place_id)
        # Apart from the renewals, and each for itself: an end may wait for a row, for longer than a lease lasts.
        self._leaving[place_id] = end, _task(self._give_up_for_ever(place_id, end), "turn given up")

    async def close(self) -> None:
        """Stop; what is held lapses, what was given up is tried once more."""
        leaving = dict(self._leaving)
        tasks = [task for _, task in leaving.values()]
        if self._renewing is not None:
            tasks.append(self._renewing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for place_id, (end, _) in leaving.items():
            if place_id in self._leaving:
                await self._end(place_id, end)

    async def _renew_for_ever(self) -> None:
        while self._held:
            try:
                await self._database.write(renew_turns, sorted(self._held))
            except DatabaseError as error:
                _log.warning("turns cannot be kept", error=str(error))
            await asyncio.sleep(self._renew_s)
        self._renewing = None

    async def _give_up_for_ever(self, place_id: str, end: End) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + self._give_up_s
        while clock() < until:
            if await self._end(place_id, end):
                return
            await asyncio.sleep(self._renew_s)
        del self._leaving[place_id]

    async def _end(self, place_id: str, end: End) -> bool:
        try:
            value = (await self._database.write(end, place_id)).value
        except (DatabaseError, Problem) as error:
            _log.warning("a turn cannot be given up", error=str(error))
            return False
        self._leaving.pop(place_id, None)
        self._gave_up(value)
        return True


def _task(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    # With a context of its own: its log lines are not of the request that began it.
    return asyncio.create_task(work, name=name, context=Context())
