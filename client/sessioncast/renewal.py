"""Signs of life, for what is given up by the server when there are none."""

import asyncio
from collections.abc import Awaitable, Callable

from sessioncast.errors import ConnectionLost, ProblemError, ProtocolError

_PAUSE_S = 1.0
"""Between signs that were not heard; the lease is running out, so this is short."""


async def renewed(sign: Callable[[float], Awaitable[bool]], lease_s: float) -> ProblemError | None:
    """Give a sign three times as often as the lease runs out, until there is nothing left to renew.

    Args:
        sign: gives one, in at most the seconds it is told; whether there is still something to renew.

    Returns:
        Why the server will not have it any more; None: there was nothing left, which is no refusal.
    """
    every_s = lease_s / 3
    pause_s = every_s
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(_PAUSE_S, every_s)
        try:
            alive = await sign(every_s)
        except (ConnectionLost, ProtocolError):
            continue
        except ProblemError as error:
            if passes(error):
                continue
            return error
        if not alive:
            return None
        pause_s = every_s


def passes(error: ProblemError) -> bool:
    """Whether the same may be said again later."""
    return error.retryable or error.status >= 500
