"""Work that goes on for as long as the node does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

_log = structlog.get_logger(__name__)


async def endlessly(work: Callable[[], Awaitable[None]], *, pause_s: float = 1.0) -> NoReturn:
    """Run it until cancelled. What it raises is logged, and after a pause it is begun again."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  whatever it was, the work must not end in silence
            task = asyncio.current_task()
            _log.exception("work in the background failed", work=None if task is None else task.get_name())
        await asyncio.sleep(pause_s)
