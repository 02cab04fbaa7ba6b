"""Giving slots to the sessions that started without one, everywhere, once `single_session_enabled` is on again."""

import structlog

from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.sessions.meter import Meter
from sessioncast_server.sessions.occupants import settle_some

_log = structlog.get_logger(__name__)

_TASKS = 50  # in one transaction: so long others may have to wait


async def settle_all(database: Database, meter: Meter) -> int:
    """Settle all places of projects for which the flag is on; how many sessions were replaced by newer ones.

    What cannot be settled now is settled by the next start in its place, or when a node starts.
    """
    after: str | None = ""
    replaced = 0
    while after is not None:
        try:
            after, count = (await database.write(settle_some, after, _TASKS)).value
        except DatabaseError as error:
            _log.warning("places are left to be settled by their next start", error=str(error))
            break
        if count:
            meter.replaced("single_session_enabled", count)
        replaced += count
    return replaced
