"""What becomes of resumes, as metrics."""

from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.requests import Saved
from sessioncast_server.providers.resume import Failure, Resumption
from sessioncast_server.providers.service import Changed


class Meter:
    """Counts on the node's metrics, after the commit."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics.providers

    def decided(self, decided: Resumption, *, waited_s: float | None = None) -> None:
        """A decision was told, after so long in the queue; None: it did not queue."""
        verdict = decided.verdict
        self._metrics.decisions.labels(verdict.decision.value, verdict.reason or "").inc()
        if verdict.age_s is not None:
            self._metrics.age_seconds.observe(verdict.age_s)
        if waited_s is not None:
            self._metrics.turn_wait_seconds.observe(waited_s)

    def opened(self, use: Use) -> None:
        """A provider session began."""
        self._metrics.started.inc()
        if use.proved:
            self._metrics.id_updates.inc()
            if use.resumed_from is not None:
                self._metrics.attempts.labels("succeeded", "").inc()

    def changed(self, done: Changed, saved: Saved | None) -> None:
        """A provider session was changed."""
        if done.new_id:
            self._metrics.id_updates.inc()
        if done.resumed:
            self._metrics.attempts.labels("succeeded", "").inc()
        if done.closed:
            self._metrics.ended.labels(done.after.state).inc()
        if saved is not None:
            self._metrics.saved_cost_usd.inc(saved.cost_usd or 0)
            self._metrics.saved_seconds.inc(saved.seconds or 0)

    def failed(self, failure: Failure) -> None:
        """A provider did not resume an id."""
        self._metrics.attempts.labels("failed", failure.reason.value).inc()
        self.decided(failure.next)

    def abandoned(self, count: int) -> None:
        """Leases ran out."""
        self._metrics.ended.labels("abandoned").inc(count)

    def in_use(self, count: int) -> None:
        """So many provider sessions are open, on all nodes."""
        self._metrics.open.set(count)

    def waiting(self, count: int) -> None:
        """So many requests of this node wait for their turn."""
        self._metrics.turns_waiting.set(count)
