"""What the hub counts. The metrics of the server implement it; by itself it counts nothing."""

from typing import Protocol


class Counters(Protocol):
    """Told of everything worth a metric, on the event loop."""

    def delivered(self, count: int) -> None:
        """Events were handed to sinks: their number times the subscribers'."""

    def hushed(self, reason: str, count: int) -> None:
        """So many whispers were dropped before they reached any follower of a group."""

    def replayed(self, count: int) -> None:
        """A stream resumed with so many events."""

    def snapshot(self) -> None:
        """The database was asked for a snapshot."""

    def lost(self, how: str, reason: str) -> None:
        """A stream was told of a `gap` when it opened, or of a `resync` later."""

    def hole(self, count: int, *, healed: bool) -> None:
        """So many events had not been announced in time; `healed` once they were read from the log."""

    def rotated(self) -> None:
        """A log that went back got a new epoch."""

    def lag(self, events: int) -> None:
        """How far behind the log's head the channel that is furthest behind is."""
