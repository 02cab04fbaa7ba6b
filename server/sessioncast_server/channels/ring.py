"""The recent events of a channel, kept in memory."""

from collections.abc import Iterable, Iterator

from sessioncast_server.channels.log import Entry

_OVERHEAD = 200  # bytes of Python objects beside an event's own JSON


class Budget:
    """Bytes that all rings of a node may hold together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Ring:
    """A run of events without a hole, the oldest dropped when a bound is reached.

    Args:
        events, size: bounds in number and bytes.
        budget: the node's bytes; a ring over it gives up its own oldest.
    """

    def __init__(self, *, events: int, size: int, budget: Budget) -> None:
        self._max_events = events
        self._max_size = size
        self._budget = budget
        self._entries: list[Entry] = []
        self._start = 0
        self._size = 0
        self.first = 1
        """Offset of the oldest event held; one past the newest when empty."""

    @property
    def last(self) -> int:
        """Offset of the newest event held; one before `first` when empty."""
        return self.first + len(self) - 1

    def __len__(self) -> int:
        return len(self._entries) - self._start

    def restart(self, after: int) -> None:
        """Forget everything; the next event is the one after `after`."""
        self._budget.used -= self._size
        self._entries, self._start, self._size = [], 0, 0
        self.first = after + 1

    def extend(self, entries: Iterable[Entry]) -> None:
        """Append events; the first must be the one after `last`."""
        for entry in entries:
            if entry.offset != self.last + 1:
                raise ValueError(f"a hole in the ring: {entry.offset} after {self.last}")
            self._entries.append(entry)
            self._grow(len(entry.body) + _OVERHEAD)
        while len(self) > 1 and self._over():
            self._drop()

    def reaches(self, after: int) -> bool:
        """Whether every event after this offset is held."""
        return after >= self.first - 1

    def after(self, offset: int) -> Iterator[Entry]:
        """The events after an offset that the ring reaches, oldest first."""
        entries = self._entries
        for index in range(self._start + offset + 1 - self.first, len(entries)):
            yield entries[index]

    def _over(self) -> bool:
        return len(self) > self._max_events or self._size > self._max_size or self._budget.used > self._budget.limit

    def _drop(self) -> None:
        entry = self._entries[self._start]
        self._grow(-len(entry.body) - _OVERHEAD)
        self._start += 1
        self.first += 1
        if self._start > 64 and self._start * 2 > len(self._entries):
            del self._entries[: self._start]
            self._start = 0

    def _grow(self, size: int) -> None:
        self._size += size
        self._budget.used += size
