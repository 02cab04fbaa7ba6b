"""Requests of this node that wait for their turn."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

import structlog

from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.problems import Problem
from sessioncast_server.turns.service import leave, places_ahead, renew_places
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_log = structlog.get_logger(__name__)

_QUICK_S = 0.02
"""How soon it is looked again when something has changed: then more is about to. Pauses grow from here to `look_s`.

Measured, 50 short turns of one thread in turns on two nodes: 2.9 s at 0.25 s between looks, 0.9 s so.
"""

_SLOWER = 1.5

_RENEWALS_LOST = 3
"""Renewals without which a place is lost."""

_LISTEN_S = 1.0
"""How often it is looked whether who waits is still there."""


@dataclass(eq=False, slots=True)
class _Waiter:
    place_id: str
    ahead: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class WaitingRoom:
    """One look at the database serves all who wait here, and one renewal keeps all their places.

    A turn that ends on this node is told by `nudge`; one that ends elsewhere is found at the next look.

    Args:
        look_s: seconds between two looks, while nothing changes.
        renew_s: seconds between two renewals.
        limit: requests that may wait at once.
        waiting: hears how many wait.
    """

    def __init__(
        self,
        database: Database,
        *,
        look_s: float,
        renew_s: float,
        limit: int,
        waiting: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._look_s = look_s
        self._renew_s = renew_s
        self._limit = limit
        self._waiting = waiting
        self._waiters: set[_Waiter] = set()
        self._nudged = asyncio.Event()
        self._looker: asyncio.Task[None] | None = None
        self._closed = False
        self._pause_s = look_s
        self._away: tuple[DatabaseError, float] | None = None

    async def wait(
        self, place_id: str, ahead: int, wait_s: float, *, gone: Callable[[], Awaitable[bool]] | None = None
    ) -> int | None:
        """Wait until nobody is before a place; how many are at the end of the waiting, None when the place is lost.

        Args:
            ahead: how many are before it now.
            wait_s: longest wait.
            gone: whether who waits has gone away; then waiting ends.

        Raises:
            Problem: 503, when too many wait, or the node stops.
            DatabaseError: it has been away for so long that the place is lost, or still is at the end of the wait.
        """
        if self._closed or len(self._waiters) >= self._limit:
            raise Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=1)
        waiter = _Waiter(place_id, ahead)
        self._waiters.add(waiter)
        self._waiting(len(self._waiters))
        self._pause_s = min(_QUICK_S, self._look_s)
        if self._looker is None:
            # With a context of its own: its log lines are not of the request that began it.
            self._looker = asyncio.create_task(self._look_for_ever(), name="turns", context=Context())
        loop = asyncio.get_running_loop()
        ends = loop.time() + wait_s
        try:
            while waiter.ahead > 0 and (left := ends - loop.time()) > 0:
                try:
                    async with asyncio.timeout(min(left, _LISTEN_S)):
                        await waiter.woken.wait()
                except TimeoutError:
                    self._check(lost_s=_RENEWALS_LOST * self._renew_s)
                    if gone is not None and await gone():
                        break
                if self._closed:
                    raise Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=1)
        finally:
            self._waiters.discard(waiter)
            self._waiting(len(self._waiters))
        if waiter.ahead > 0:
            self._check(lost_s=0)
        return None if waiter.ahead < 0 else waiter.ahead

    def _check(self, *, lost_s: float) -> None:
        """Go on unless the database has been away for so long."""
        if self._away is not None and asyncio.get_running_loop().time() - self._away[1] >= lost_s:
            raise self._away[0]

    async def leave(self, place_id: str) -> None:
        """Give up a place that nothing was begun with.

        Raises:
            DatabaseError: it cannot be given up now; it lapses.
        """
        await self._database.write(leave, place_id)
        self.nudge()

    def nudge(self) -> None:
        """A turn may have ended: look now."""
        self._nudged.set()

    def drain(self) -> None:
        """The node stops: nobody waits any longer."""
        self._closed = True
        for waiter in self._waiters:
            waiter.woken.set()

    async def close(self) -> None:
        """Stop looking."""
        self.drain()
        looker, self._looker = self._looker, None
        if looker is not None:
            looker.cancel()
            await asyncio.gather(looker, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self._renew_s
        self._away = None
        while self._waiters:
            try:
                async with asyncio.timeout(self._pause_s):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            try:
                changed = await self._look()
                self._pause_s = min(_QUICK_S if changed else self._pause_s * _SLOWER, self._look_s)
                if loop.time() >= renew_at and self._waiters:
                    renew_at = loop.time() + self._renew_s
                    await self._database.write(renew_places, [waiter.place_id for waiter in self._waiters])
                self._away = None
            except DatabaseError as error:
                if self._away is None:
                    _log.warning("turns cannot be looked at", error=str(error))
                self._away = error, loop.time() if self._away is None else self._away[1]
                await asyncio.sleep(self._look_s)
        self._looker = None

    async def _look(self) -> bool:
        """Whether anything has changed."""
        waiters = list(self._waiters)
        changed = False
        found: dict[str, Any] = await self._database.observe(places_ahead, [waiter.place_id for waiter in waiters])
        for waiter in waiters:
            ahead = found.get(waiter.place_id, -1)
            changed = changed or ahead != waiter.ahead
            waiter.ahead = ahead
            if waiter.ahead <= 0:
                waiter.woken.set()
        return changed
