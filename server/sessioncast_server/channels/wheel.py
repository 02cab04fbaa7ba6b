"""One timer for all that has to be looked at now and then: groups, connections."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Ticking(Protocol):
    """What stands in a wheel.

    Attributes:
        due: the wheel's own note of where.
    """

    due: int


_T = TypeVar("_T", bound=Ticking)


class Wheel(Generic[_T]):
    """Items by the tick at which they are due. Adding, moving and discarding cost the same for any number of them.

    Args:
        resolution_s: length of a tick; an item comes at most so much late.
    """

    def __init__(self, resolution_s: float) -> None:
        self.resolution_s = resolution_s
        self._buckets: dict[int, set[_T]] = {}
        self._next = 0

    def add(self, item: _T, at: float) -> None:
        """Put in an item that is in no wheel; `at` in seconds of the clock that `due` is asked with."""
        item.due = max(self._next, int(at / self.resolution_s) + 1)
        self._buckets.setdefault(item.due, set()).add(item)

    def discard(self, item: _T) -> None:
        """Take an item out; harmless when it is not in."""
        bucket = self._buckets.get(item.due)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                del self._buckets[item.due]

    def items(self) -> list[_T]:
        """All that is in it."""
        return [item for bucket in self._buckets.values() for item in bucket]

    def due(self, now: float) -> Iterator[_T]:
        """Take out all that is due. Whoever asks may add and discard while it goes on."""
        self._next = int(now / self.resolution_s) + 1
        for tick in sorted(tick for tick in self._buckets if tick < self._next):
            bucket = self._buckets.get(tick)
            while bucket:
                yield bucket.pop()
            self._buckets.pop(tick, None)
