"""What a node counts of provider sessions, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_AGES = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 48 * 3600, 7 * 24 * 3600)
_WAITS = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60)


class ProviderMetrics:
    """Part of a node's metrics, on its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"sessioncast_{name}", meaning, labels, registry=registry)

        def gauge(name: str, meaning: str) -> Gauge:
            return Gauge(f"sessioncast_{name}", meaning, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"sessioncast_{name}", meaning, buckets=buckets, registry=registry)

        self.started = counter("provider_sessions_started", "Provider sessions begun.")
        self.ended = counter("provider_sessions_ended", "Provider sessions closed, by how.", "state")
        self.open = gauge("provider_sessions_open", "Provider sessions in use, of all nodes.")
        self.id_updates = counter("provider_id_updates", "New ids that providers gave out.")
        self.decisions = counter("resume_decisions", "What operations were told to do.", "decision", "reason")
        self.attempts = counter(
            "resume_attempts", "Ids that providers were asked to resume, by what became of it.", "outcome", "reason"
        )
        self.age_seconds = histogram(
            "resume_age_seconds", "Age of the id that was decided about, since its last use.", _AGES
        )
        self.saved_cost_usd = gauge(
            "resume_saved_cost_usd", "US dollars that resuming saved against fresh runs, as clients reckon."
        )
        self.saved_seconds = gauge("resume_saved_seconds", "The same in seconds.")
        self.turns_waiting = gauge("turns_waiting", "Requests that wait for their turn.")
        self.turn_wait_seconds = histogram("turn_wait_seconds", "Time that updates waited for their turn.", _WAITS)
