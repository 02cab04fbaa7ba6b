"""What pools of connections tell of themselves, as metrics."""

from collections.abc import Callable
from typing import Protocol

from sessioncast_server.observe.metrics import Metrics

_REASONS = ("connection", "io", "pool", "deadline", "queue")


class Figures(Protocol):
    """Connections of a pool, now."""

    @property
    def active(self) -> int:
        """In use."""

    @property
    def idle(self) -> int:
        """Open, and not in use."""

    @property
    def maximum(self) -> int:
        """As many as there may be."""


class PoolMetrics:
    """One pool's part of the node's metrics. Its threads call it for each call: nothing is looked up then."""

    def __init__(self, metrics: Metrics, pool: str) -> None:
        self._pool = pool
        self._connections = metrics.pool_connections
        self._waited = metrics.pool_wait_seconds.labels(pool)
        self._failures = metrics.pool_failures
        for reason in _REASONS:  # so that each is there, at 0, before the first one
            self._failures.labels(pool, reason)

    def watch(self, figures: Callable[[], Figures]) -> None:
        """Ask the pool whenever somebody asks for the metrics."""
        self._connections.labels(self._pool, "active").set_function(lambda: figures().active)
        self._connections.labels(self._pool, "idle").set_function(lambda: figures().idle)
        self._connections.labels(self._pool, "max").set_function(lambda: figures().maximum)

    def waited(self, seconds: float) -> None:
        """A call was taken, or given up."""
        self._waited.observe(seconds)

    def failed(self, reason: str) -> None:
        """A call failed."""
        self._failures.labels(self._pool, reason).inc()
