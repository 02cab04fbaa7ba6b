"""How large the store is, as a metric."""

import asyncio
from collections.abc import Awaitable, Callable

from sessioncast_server.observe.metrics import Metrics


async def watch_size(metrics: Metrics, measure: Callable[[], Awaitable[int | None]], period_s: float = 30.0) -> None:
    """Measure for ever; run it as a task and cancel it.

    Args:
        measure: bytes of the store; None while they cannot be had: the gauge stays where it is.
    """
    while True:
        size = await measure()
        if size is not None:
            metrics.database_bytes.set(size)
        await asyncio.sleep(period_s)
