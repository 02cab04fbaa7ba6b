"""Keeps logs and kept answers from growing for ever, a little at a time."""

import asyncio

import structlog

from sessioncast_server.channels.janitor import long_channels, trim
from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.exchange.once import expire

_log = structlog.get_logger(__name__)

_BATCH = 500


class Retention:
    """A sweep about once a minute. Several nodes may sweep at once: each deletion is its own small commit.

    Args:
        keep_s, keep_events: what stays in a channel's log.
        answers_s: how long answers to an `Idempotency-Key` are kept.
    """

    def __init__(
        self, database: Database, *, keep_s: float, keep_events: int, answers_s: float, period_s: float = 60.0
    ) -> None:
        self._database = database
        self._keep_s = keep_s
        self._keep_events = keep_events
        self._answers_s = answers_s
        self._period_s = period_s

    async def run_for_ever(self) -> None:
        """Sweep, again and again; run it as a task and cancel it."""
        while True:
            await asyncio.sleep(self._period_s)
            try:
                await self.sweep()
            except DatabaseError as error:
                _log.warning("retention put off", error=str(error))

    async def sweep(self) -> int:
        """Delete all that may go; how many events went."""
        gone = 0
        for channel in await self._database.observe(long_channels, events=self._keep_events):
            deleted = _BATCH
            while deleted:
                written = await self._database.write(
                    trim, channel, keep_s=self._keep_s, keep_events=self._keep_events, batch=_BATCH
                )
                deleted = written.value
                gone += deleted
        while (await self._database.write(expire, self._answers_s, _BATCH)).value == _BATCH:
            pass
        return gone
