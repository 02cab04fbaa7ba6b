"""What one watcher of a whole project must hear: every event once, in order, and soon after the commit.

A project's events are numbered without holes, so the next one has the next offset, or something was lost. A control
frame never names a position whose event the watcher has not had.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import datetime

_REMEMBERED = 1_000
"""Arrivals kept until the answer to the request comes, which may be later than its event."""

Delivered = Callable[[float], None]
"""Told seconds from the change to its delivery."""


class Ledger:
    """The account of one stream.

    Attributes:
        offset: of the last event; None until the stream has its state.
        events: how many came.
        lost: how many did not, as far as is known.
        faults: what was wrong, by kind.
    """

    def __init__(self, delivered: Delivered) -> None:
        self.offset: int | None = None
        self.events = 0
        self.lost = 0
        self.faults: Counter[str] = Counter()
        self._delivered = delivered
        self._epoch = ""
        self._arrivals: OrderedDict[int, float] = OrderedDict()
        self._awaited: set[int] = set()

    def opened(self, position: str) -> None:
        """The stream has the state at a position: events after it must follow."""
        self._epoch, _, offset = position.partition(":")
        self.offset = int(offset)

    def heard(self, position: str, at: str, now: float) -> None:
        """An event came.

        Args:
            at: its time, RFC 3339, taken on this machine before its commit.
            now: Unix time.
        """
        offset = self._offset(position)
        if offset is None or self.offset is None:
            return
        if offset <= self.offset:
            self.faults["doubled or out of order"] += 1
            return
        if offset > self.offset + 1:
            self.faults["hole"] += 1
            self.lost += offset - self.offset - 1
        self.offset = offset
        self.events += 1
        took = now - datetime.fromisoformat(at).timestamp()
        if offset in self._awaited:
            self._awaited.discard(offset)
            self._delivered(took)
            return
        self._arrivals[offset] = took
        if len(self._arrivals) > _REMEMBERED:
            self._arrivals.popitem(last=False)

    def stands(self, position: str) -> None:
        """A control frame says that the stream has come to a position."""
        offset = self._offset(position)
        if offset is not None and self.offset is not None and offset > self.offset:
            self.faults["position ahead of the events"] += 1
            self.lost += offset - self.offset
            self.offset = offset

    def changed(self, position: str) -> None:
        """An own request was answered with the position of its last event."""
        if self.offset is None:
            return  # the state that the stream is about to get has it
        offset = self._offset(position)
        if offset is None:
            return
        if offset > self.offset:
            self._awaited.add(offset)
        elif (took := self._arrivals.pop(offset, None)) is not None:
            self._delivered(took)

    def broke(self, fault: str) -> None:
        """The stream ended, or lost its place."""
        self.faults[fault] += 1

    def close(self, head: int) -> None:
        """Nothing more will come: what is missing up to the highest offset that anybody saw is lost."""
        if self.offset is None:
            self.faults["no state"] += 1
        elif head > self.offset:
            self.faults["missing at the end"] += 1
            self.lost += head - self.offset

    def _offset(self, position: str) -> int | None:
        epoch, _, offset = position.partition(":")
        if self.offset is None:
            self.faults["event before the state"] += 1
            return None
        if epoch != self._epoch:
            self.faults["another epoch"] += 1
            return None
        return int(offset)
