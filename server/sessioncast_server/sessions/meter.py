"""What starts and replacements took, as metrics."""

from sessioncast_server.db.database import Effort
from sessioncast_server.db.errors import ConflictError, DatabaseError, LockTimeoutError, UniqueError
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.sessions.start import Outcome


class Meter:
    """Counts on the node's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        strategies = ("pessimistic", "optimistic")
        self._acquired = {name: metrics.lock_acquisitions.labels(name) for name in strategies}
        self._waited = {name: metrics.lock_wait_seconds.labels(name) for name in strategies}
        self._contended = {name: metrics.lock_contention.labels(name) for name in strategies}
        self._replaced = {name: metrics.session_replacement_seconds.labels(name) for name in strategies}

    def started(self, outcome: Outcome, effort: Effort, seconds: float) -> None:
        """A start was committed `seconds` after it came."""
        self._acquired[outcome.strategy].inc()
        self._waited[outcome.strategy].observe(effort.waited_s)
        if effort.contended:
            self._contended[outcome.strategy].inc()
        self.decided(outcome)
        if outcome.reason is not None:
            self._replaced[outcome.strategy].observe(seconds)

    def decided(self, outcome: Outcome) -> None:
        """A start was committed, alone or with others."""
        if outcome.reason is not None:
            self.replaced(outcome.reason)
        if outcome.settled:
            self.replaced("single_session_enabled", outcome.settled)

    def replaced(self, reason: str, count: int = 1) -> None:
        """Sessions were replaced."""
        self._metrics.session_replacements.labels(reason).inc(count)

    def failed(self, error: DatabaseError, *, locks: bool | None = True) -> None:
        """A start was given up.

        Args:
            locks: whether tasks were locked; where that depends on the project, the error tells.
        """
        match error:
            case LockTimeoutError(of="row"):
                self._metrics.lock_timeouts.labels("optimistic" if locks is False else "pessimistic").inc()
            case ConflictError() | UniqueError():
                self._metrics.lock_timeouts.labels("pessimistic" if locks else "optimistic").inc()
