"""What a node counts and times, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from sessioncast_server.observe.provider_metrics import ProviderMetrics
from sessioncast_server.observe.thread_metrics import ThreadMetrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_STATEMENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 512, 2048)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})


class Metrics:
    """One per node, with a registry of its own, so that two nodes in one process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"sessioncast_{name}", meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"sessioncast_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"sessioncast_{name}", meaning, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Requests answered.", "method", "route", "status")
        self.request_seconds = histogram(
            "request_seconds", "From a request's arrival to the head of its answer.", _SECONDS, "method", "route"
        )
        self.request_statements = histogram(
            "request_statements", "Statements that an answer took.", _STATEMENTS, "method", "route"
        )
        self.mutations = counter("mutations", "Changes asked for, by what became of them.", "outcome")
        self.commit_seconds = histogram("commit_seconds", "Time a commit took.", _SECONDS)
        self.commit_group_size = histogram("commit_group_size", "Changes in one commit.", _SIZES)
        self.write_queue = gauge("write_queue", "Changes waiting for the store.")
        self.announce_failures = counter("announce_failures", "Announcements that could not be carried.")
        self.whispers_dropped = counter("whispers_dropped", "Ephemeral events dropped by this node, by why.", "reason")
        self.broker_deaf = gauge("broker_deaf", "1 while announcements of other nodes may be missed.")
        self.channels = gauge("channels", "Open channels.")
        self.channel_lag = gauge("channel_lag", "Most events that a channel was found behind its log at a head check.")
        self.ring_bytes = gauge("ring_bytes", "Recent events kept in memory.")
        self.gaps_found = counter("gaps_found", "Missing announcements noticed.")
        self.gaps_healed = counter("gaps_healed", "Missing events read from the log.")
        self.epoch_rotations = counter("epoch_rotations", "Channels whose log was found to have gone back.")
        self.subscribers = gauge("subscribers", "Open subscriptions.", "transport")
        self.streams_refused = counter(
            "streams_refused", "Streams refused, by whose bound was reached, or `push_disabled`.", "reason"
        )
        self.streams_opening = gauge("streams_opening", "Streams waiting to be opened.")
        self.deliveries = counter("deliveries", "Events handed to subscribers, times the subscribers.")
        self.resyncs = counter(
            "resyncs", "Streams told that they lost their place, at the start (gap) or later.", "how", "reason"
        )
        self.snapshots = counter("snapshots", "Snapshots read from the store.")
        self.replays = counter("replays", "Subscribers resumed by replay.")
        self.loop_lag_seconds = histogram("loop_lag_seconds", "How late the event loop ran a timer.", _SECONDS)
        self.session_replacements = counter("session_replacements", "Sessions replaced, by why.", "reason")
        self.session_replacement_seconds = histogram(
            "session_replacement_seconds", "From a confirmed replacement's arrival to its commit.", _SECONDS, "strategy"
        )
        self.lock_acquisitions = counter("lock_acquisitions", "Starts that got through to their task.", "strategy")
        self.lock_wait_seconds = histogram(
            "lock_wait_seconds", "Time a start waited for others at its task or for its turn.", _SECONDS, "strategy"
        )
        self.lock_contention = counter("lock_contention", "Starts that met others at their task.", "strategy")
        self.lock_timeouts = counter("lock_timeouts", "Starts given up because others were in the way.", "strategy")
        self.flag_changes = counter("flag_changes", "Changes of flags made through this node.", "flag")
        self.client_reports = counter("client_reports", "Reports of clients, by what went wrong there.", "kind")
        self.push_ended = counter("push_ended", "Streams ended because push was switched off for their project.")
        self.pool_connections = gauge("pool_connections", "Connections to the store.", "pool", "state")
        self.pool_wait_seconds = histogram(
            "pool_wait_seconds", "How long calls waited for one of a pool's connections.", _SECONDS, "pool"
        )
        self.pool_failures = counter("pool_failures", "Calls that a pool could not serve, by why.", "pool", "reason")
        self.database_bytes = gauge("database_bytes", "Size of the store.")
        self.session_lookup_seconds = histogram(
            "session_lookup_seconds", "Time a lookup of a task's live sessions took.", _SECONDS, "source"
        )
        self.lookup_cache = counter("lookup_cache", "Lookups, by what the cache made of them.", "outcome")
        self.lookup_cache_entries = gauge("lookup_cache_entries", "Answers to lookups kept in memory.")
        self.providers = ProviderMetrics(registry)
        self.threads = ThreadMetrics(registry)
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._statements_by_request: dict[tuple[str, str], Histogram] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is a template, so that there are few of them."""
        key = (method, route, status)
        children = self._by_request.get(key)
        if children is None:
            known = method if method in _METHODS else "OTHER"
            children = (self.requests.labels(known, route, str(status)), self.request_seconds.labels(known, route))
            if known is method:  # made-up methods are not remembered
                self._by_request[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def statements(self, method: str, route: str, count: int) -> None:
        """Count the statements that an answer took; of known methods only, for no other ones are served."""
        child = self._statements_by_request.get((method, route))
        if child is None:
            child = self._statements_by_request[method, route] = self.request_statements.labels(method, route)
        child.observe(count)

    def render(self) -> bytes:
        """All of it in Prometheus' text format, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)
