"""What a client has done so far, in numbers."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_log = logging.getLogger("sessioncast")

LARGE = 1_000_000
"""Bytes of one answer or frame that are warned of: what is larger comes in pages, or should."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Numbers since the client was made.

    Attributes:
        transports: streams that are open now, by transport.
        sockets: WebSockets that are open now; a hundred streams share one.
        opened: streams that were opened, by transport.
        reconnects: times that a stream was opened again, after one of the same subscription had ended.
        gaps, resyncs: times that events were missed, by the beginning of a stream, and in the middle of one.
        polls: polls that were answered; `unchanged` of them said that there was nothing new.
        poll_intervals: polls by the seconds they had waited, as the pace was: 2, 3, 4.5, …
        cache_hits, cache_stale, cache_misses: reads answered by what was known, by what was known and may be old, and
            by the server.
        bytes_received: bodies and frames, without headers.
        largest_payload: bytes of the largest answer or frame.
        checks, mismatches: full checks of mirrors, and resources that were wrong in them.
        reports: what was reported to the server.
        stale_times: times that nothing was heard for too long.
        slow_times: times that a subscription's buffer was full.
    """

    transports: Mapping[str, int]
    sockets: int
    opened: Mapping[str, int]
    reconnects: int
    gaps: int
    resyncs: int
    polls: int
    unchanged: int
    poll_intervals: Mapping[float, int]
    cache_hits: int
    cache_stale: int
    cache_misses: int
    bytes_received: int
    largest_payload: int
    checks: int
    mismatches: int
    reports: int
    stale_times: int
    slow_times: int

    @property
    def cache_hit_rate(self) -> float | None:
        """Share of cached reads that no answer was waited for, 0 to 1; None: nothing was read."""
        known = self.cache_hits + self.cache_stale
        return known / (known + self.cache_misses) if known + self.cache_misses else None


@dataclass(slots=True)
class Counters:
    """The same, being counted."""

    transports: Counter[str] = field(default_factory=Counter)
    sockets: int = 0
    opened: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    gaps: int = 0
    resyncs: int = 0
    polls: int = 0
    unchanged: int = 0
    poll_intervals: Counter[float] = field(default_factory=Counter)
    cache_hits: int = 0
    cache_stale: int = 0
    cache_misses: int = 0
    bytes_received: int = 0
    largest_payload: int = 0
    checks: int = 0
    mismatches: int = 0
    reports: int = 0
    stale_times: int = 0
    slow_times: int = 0

    def received(self, size: int, url: str) -> None:
        """An answer, or a frame."""
        self.bytes_received += size
        if size > self.largest_payload:
            self.largest_payload = size
            if size > LARGE:
                _log.warning("%s: %d bytes in one piece; narrow the filter, or read by pages", url, size)

    def now(self) -> Stats:
        """As it stands."""
        numbers = {name: getattr(self, name) for name in self.__slots__ if name not in _MAPPINGS}
        return Stats(
            transports=MappingProxyType({name: count for name, count in self.transports.items() if count}),
            opened=MappingProxyType(dict(self.opened)),
            poll_intervals=MappingProxyType(dict(self.poll_intervals)),
            **numbers,
        )


_MAPPINGS = frozenset({"transports", "opened", "poll_intervals"})
