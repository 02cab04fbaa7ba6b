"""How long to wait before trying again."""

import random
from collections.abc import Callable

from sessioncast.limits import Limits


class Backoff:
    """Exponential backoff with full jitter (M. Brooker, «Exponential Backoff And Jitter», AWS 2015).

    Clients that lost the same server spread over the whole interval instead of coming back together.
    """

    def __init__(self, limits: Limits, *, jitter: Callable[[], float] = random.random) -> None:
        """`jitter` gives a number from 0 up to 1."""
        self._limits = limits
        self._jitter = jitter
        self._tries = 0

    def next_s(self, asked_s: float | None = None) -> float:
        """Seconds to wait now.

        Args:
            asked_s: what the server asked for (`Retry-After`, `retry`, goodbye). It is a floor: the jitter comes on
                top, so that clients told the same number do not return in the same instant.
        """
        # The exponent is bounded so that a client that has tried for days does not overflow a float.
        ceiling = min(self._limits.backoff_cap_s, self._limits.backoff_base_s * 2.0 ** min(self._tries, 32))
        self._tries += 1
        floor = 0.0 if asked_s is None else min(max(asked_s, 0.0), self._limits.retry_after_cap_s)
        return floor + self._jitter() * ceiling

    def reset(self) -> None:
        """The server was heard: the next wait is a first one again."""
        self._tries = 0
