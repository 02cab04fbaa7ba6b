"""Work that is done once a day."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from sessioncast_server.db.errors import DatabaseError

_log = structlog.get_logger(__name__)

_LOOK_S = 60.0
"""Longest sleep: a clock that jumps, or a machine that slept, is noticed by then."""
_AGAIN_S = 300.0


def next_time(now: datetime, hour: int) -> datetime:
    """The next time that a clock in UTC shows the full hour."""
    today = now.astimezone(UTC).replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


async def daily(
    name: str,
    hour: int,
    work: Callable[[], Awaitable[object]],
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Do it every day at this hour in UTC; where the database is away, again after five minutes.

    Args:
        name: for the log.
    """
    due = next_time(clock(), hour)
    while True:
        left_s = (due - clock()).total_seconds()
        if left_s > 0:
            await sleep(min(left_s, _LOOK_S))
            continue
        try:
            await work()
        except DatabaseError as error:
            _log.warning("a daily job is put off", job=name, error=str(error))
            due = clock() + timedelta(seconds=_AGAIN_S)
        else:
            due = next_time(clock(), hour)
