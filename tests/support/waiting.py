"""Waiting for a condition, never for a time."""

import asyncio
import time
from collections.abc import Callable

PERIOD_S = 0.01
DEADLINE_S = 30.0
"""Generous: it is reached by failures only, and the machine may be busy."""
STALL_S = 6.0
"""What must not run out for a test to pass takes at least this long: a busy machine may stand still for seconds."""
RENEWED_S = 9.0
"""The same for what is renewed each third of it."""


def wait_until(
    condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S, period_s: float = PERIOD_S
) -> None:
    """Return as soon as the condition holds; a condition that costs something is asked for in longer periods.

    Raises:
        TimeoutError: it did not within the deadline; the text says `what` was waited for.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:g} s for {what}")
        time.sleep(period_s)


async def until(condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """`wait_until` for tests on an event loop: others run meanwhile.

    Raises:
        TimeoutError: the condition did not hold within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:g} s for {what}")
        await asyncio.sleep(PERIOD_S)
