"""So many a minute of each user, counted in this process."""

from collections import OrderedDict, deque
from collections.abc import Callable

_USERS_MAX = 10_000
"""Users remembered; beyond it who was quiet for longest is forgotten, and begins anew."""


class Limiter:
    """Allows each user so many in any period of that length.

    Args:
        limit: how many.
        period_s: seconds.
        clock: seconds, rising.
    """

    def __init__(self, limit: int, period_s: float, *, clock: Callable[[], float], users: int = _USERS_MAX) -> None:
        self._limit = limit
        self._period_s = period_s
        self._clock = clock
        self._users = users
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()  # who was allowed one last stands last

    @property
    def users(self) -> int:
        """How many are remembered."""
        return len(self._taken)

    def take(self, user: str) -> float:
        """0 when one more is allowed, and is counted; else seconds until one will be."""
        now = self._clock()
        self._forget(now - self._period_s)
        taken = self._taken.get(user)
        if taken is None:
            taken = self._taken[user] = deque(maxlen=self._limit)
            if len(self._taken) > self._users:
                self._taken.popitem(last=False)
        elif len(taken) == self._limit and taken[0] > now - self._period_s:
            return taken[0] + self._period_s - now
        taken.append(now)  # the oldest, which no longer counts, makes room
        self._taken.move_to_end(user)
        return 0.0

    def _forget(self, since: float) -> None:
        """Let go of who was allowed nothing since then."""
        while self._taken and next(iter(self._taken.values()))[-1] <= since:
            self._taken.popitem(last=False)
