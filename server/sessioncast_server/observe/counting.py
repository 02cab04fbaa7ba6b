"""What the hub counts, as metrics."""

from sessioncast_server.observe.metrics import Metrics


class HubCounters:
    """The hub's counters on the node's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def delivered(self, count: int) -> None:
        """Events were handed to sinks."""
        self._metrics.deliveries.inc(count)

    def hushed(self, reason: str, count: int) -> None:
        """Whispers were dropped."""
        self._metrics.whispers_dropped.labels(reason).inc(count)

    def replayed(self, count: int) -> None:  # noqa: ARG002  how long a replay was is not a metric yet
        """A stream resumed."""
        self._metrics.replays.inc()

    def snapshot(self) -> None:
        """The database was asked for a snapshot."""
        self._metrics.snapshots.inc()

    def lost(self, how: str, reason: str) -> None:
        """A stream was told that it lost its place."""
        self._metrics.resyncs.labels(how, reason).inc()

    def hole(self, count: int, *, healed: bool) -> None:
        """Events had not been announced in time, or were read from the log for it."""
        (self._metrics.gaps_healed if healed else self._metrics.gaps_found).inc(count)

    def rotated(self) -> None:
        """A log that went back got a new epoch."""
        self._metrics.epoch_rotations.inc()

    def lag(self, events: int) -> None:
        """How far behind the furthest channel is."""
        self._metrics.channel_lag.set(events)
