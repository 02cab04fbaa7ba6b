"""How late the event loop is."""

import asyncio
import time

from sessioncast_server.observe.metrics import Metrics


async def watch_loop(metrics: Metrics, period_s: float = 0.25) -> None:
    """Time a timer for ever; run it as a task and cancel it."""
    while True:
        due = time.perf_counter() + period_s
        await asyncio.sleep(period_s)
        metrics.loop_lag_seconds.observe(max(0.0, time.perf_counter() - due))
