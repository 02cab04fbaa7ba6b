"""What this node knows of the flags, for whoever has no transaction to ask in."""

import asyncio
from collections.abc import Callable

import structlog

from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.flags.rules import SHIPPED, Flag, FlagState, is_on
from sessioncast_server.flags.service import all_flags

_log = structlog.get_logger(__name__)


class FlagView:
    """The flags as they were at the last look; as they are shipped before the first one. Asking it never fails.

    It may be behind a change by one period: what must not be, asks `service.enabled` in its own transaction.

    Args:
        refresh_s: seconds between two looks.
    """

    def __init__(self, database: Database, refresh_s: float) -> None:
        self._database = database
        self._refresh_s = refresh_s
        self._known = {flag: FlagState(flag, SHIPPED) for flag in Flag}
        self._away = False
        self._looking = asyncio.Lock()
        self._listeners: list[tuple[Flag, Callable[[], None]]] = []

    def state(self, flag: Flag) -> FlagState:
        """How a flag is set."""
        return self._known[flag]

    def percentage(self, flag: Flag) -> float:
        """Share of projects, 0 to 100, that a flag is on for."""
        return self._known[flag].percentage

    def enabled(self, flag: Flag, project_id: str) -> bool:
        """Whether a flag is on for a project."""
        return is_on(flag, self.percentage(flag), project_id)

    def decided(self, flag: Flag) -> bool | None:
        """Whether a flag is on, where that is the same for all projects; None where it depends on the project."""
        return {0.0: False, 100.0: True}.get(self.percentage(flag))

    def listen(self, flag: Flag, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever this node learns that a flag is on for another share of projects.

        It is called after the view knows, in the same turn of the loop: what asks the view from then on is told the
        new, and what was done under the old is there to be found. It must neither wait nor raise.
        """
        self._listeners.append((flag, changed))

    async def refresh(self) -> None:
        """Look now. While the database is away what was known stays known."""
        # One look at a time: of two that overlap, the one that began first could end last and bring back the old.
        async with self._looking:
            try:
                states = await self._database.observe(all_flags)
            except DatabaseError as error:
                if not self._away:
                    _log.warning("flags cannot be read; they stay as they were last seen", error=str(error))
                self._away = True
                return
            before, self._known = self._known, {state.flag: state for state in states}
            self._away = False
            for flag, changed in self._listeners:
                if before[flag].percentage != self._known[flag].percentage:
                    changed()

    async def run_for_ever(self) -> None:
        """Look again and again; run it as a task and cancel it."""
        while True:
            await asyncio.sleep(self._refresh_s)
            await self.refresh()
