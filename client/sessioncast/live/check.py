"""The full check: is what a mirror shows what the server has?"""

import asyncio
from collections.abc import Callable

from sessioncast.live.change import Change
from sessioncast.live.comparison import mismatches
from sessioncast.live.mirror import Mirror
from sessioncast.live.reading import Reading
from sessioncast.reports import Reports
from sessioncast.stats import Counters

CATCH_UP_S = 5.0
"""What is told of on the stream has so long to arrive, when a read beside it has seen it already."""
_LOOK_S = 0.1
_SMALL = 500
"""Resources that are read at each check. The `ETag` is the log's: of what changed in the database or here without an
event it knows nothing, so more than these are asked for by it, to save their reading,"""
_TRUSTED = 10
"""but not more often than this in a row."""


class Check:
    """Compares a mirror with the server, and makes it right where it is not."""

    def __init__(
        self, reading: Reading, counters: Counters, reports: Reports, *, catch_up_s: float = CATCH_UP_S
    ) -> None:
        self._reading = reading
        self._counters = counters
        self._reports = reports
        self._catch_up_s = catch_up_s
        self._etag: str | None = None
        self._trusted = 0

    async def run(self, mirror: Mirror, reached: Callable[[str], bool], *, whole: bool = True) -> list[Change]:
        """What was wrong and is right now.

        Args:
            whole: read all there is, however much, though no event was told of since the last check.
            reached: whether the stream stands at a position, or after it.

        Raises:
            ConnectionLost, ProblemError: the server's state cannot be read now.
        """
        known = None if whole or self._trusted >= _TRUSTED else self._etag
        snapshot, etag = await self._reading.changed(known)
        self._trusted = self._trusted + 1 if snapshot is None else 0
        self._counters.checks += 1
        if snapshot is None or snapshot.too_large:
            return []
        # A stream that is quiet does not say how far it is: what differs gets the time to arrive, then it is wrong.
        found = mismatches(mirror, snapshot)
        looks = 0
        while found and looks * _LOOK_S < self._catch_up_s and not reached(snapshot.position):
            await asyncio.sleep(_LOOK_S)
            looks += 1
            found = mismatches(mirror, snapshot)
        if not found:
            self._etag = etag if len(snapshot.resources) > _SMALL else None
            return []
        self._etag = None  # the next one looks again, whatever has changed
        self._counters.mismatches += len(found)
        what = ", ".join(f"{kind} {id_}" for kind, id_ in found[:10])
        self._reports.mismatch(self._reading.project, self._reading.wanted, f"{len(found)} differed: {what}")
        return mirror.correct(snapshot)
