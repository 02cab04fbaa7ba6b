"""Somebody else on the same server: how long a request that needs nothing waits for the event loop."""

from crowd.link import Link, request
from crowd.reactor import Reactor, clock

_EVERY_S = 0.05
_ASK = request("GET", "/health/live")


class Probe:
    """Asks every 50 ms, when the last one was answered.

    Attributes:
        worst: seconds, the longest that an answer took.
    """

    def __init__(self, reactor: Reactor, port: int) -> None:
        self._reactor = reactor
        self._link = Link(reactor, port)
        self._over = False
        self.worst = 0.0
        self._ask()

    def close(self) -> float:
        """Ask no more; the longest, with what is unanswered now."""
        self._over = True
        if self._link.busy:
            self.worst = max(self.worst, clock() - self._asked)
        self._link.close()
        return self.worst

    def _ask(self) -> None:
        if not self._over:
            self._asked = clock()
            self._link.send(_ASK, self._told)

    def _told(self, _status: int, _answer: bytes, seconds: float) -> None:
        self.worst = max(self.worst, seconds)
        self._reactor.at(clock() + _EVERY_S, self._ask)
