"""Closes what nobody holds any more: provider sessions and turns whose leases have run out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.providers.meter import Meter
from sessioncast_server.providers.service import abandon, open_leases
from sessioncast_server.turns.rules import Lapses, Lease
from sessioncast_server.turns.service import held_places, lapse

_log = structlog.get_logger(__name__)

_PAGE = 500
_AT_ONCE = 50
"""Leases that are ended together: the store makes one commit of them where it can."""


class Keeper:
    """Every node looks, and of several that find the same one ends it: the database says which.

    Args:
        look_s: seconds between two looks.
        ended: called when turns may have become free.
        lapse: ends a place whose lease has run out; what it returns is true if it did.
        lapsed: hears what that returned.
    """

    def __init__(
        self,
        database: Database,
        meter: Meter,
        *,
        look_s: float,
        ended: Callable[[], None],
        lapse: Callable[[WriteTx, Lease], object] = lapse,
        lapsed: Callable[[Any], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._meter = meter
        self._look_s = look_s
        self._ended = ended
        self._lapse = lapse
        self._lapsed = lapsed
        self._uses = Lapses(clock)
        self._places = Lapses(clock)
        self._away = False

    async def run_for_ever(self) -> None:
        """Look, again and again; run it as a task and cancel it."""
        while True:
            await asyncio.sleep(self._look_s)
            try:
                await self.look()
                self._away = False
            except DatabaseError as error:
                if not self._away:
                    _log.warning("leases cannot be looked at", error=str(error))
                self._away = True

    async def look(self) -> int:
        """End what has run out; how many provider sessions were closed."""
        uses = await self._leases(open_leases)
        self._meter.in_use(len(uses))
        abandoned = await self._end(abandon, self._uses.look(uses))
        self._meter.abandoned(abandoned)
        lost = await self._end(self._lapse, self._places.look(await self._leases(held_places)), self._lapsed)
        if abandoned or lost:
            self._ended()
        return abandoned

    async def _leases(self, page: Callable[[ReadTx, str, int], list[Lease]]) -> list[Lease]:
        leases: list[Lease] = []
        after = ""
        while True:
            found = await self._database.observe(page, after, _PAGE)
            leases += found
            if len(found) < _PAGE:
                return leases
            after = found[-1].id

    async def _end(
        self, end: Callable[[WriteTx, Lease], object], lapsed: list[Lease], hear: Callable[[Any], None] = lambda _: None
    ) -> int:
        ended = 0
        for start in range(0, len(lapsed), _AT_ONCE):
            writes: list[Awaitable[object]] = [self._one(end, lease) for lease in lapsed[start : start + _AT_ONCE]]
            for outcome in await asyncio.gather(*writes):
                if outcome:
                    ended += 1
                    hear(outcome)
        return ended

    async def _one(self, end: Callable[[WriteTx, Lease], object], lease: Lease) -> object:
        try:
            return (await self._database.write(end, lease)).value
        except DatabaseError as error:
            # Found again at the next look.
            _log.warning("a lease that has run out could not be ended", id=lease.id, error=str(error))
        except Exception:  # noqa: BLE001  one damaged row must not keep all other leases from ending
            _log.exception("a lease that has run out could not be ended", id=lease.id)
        return None
