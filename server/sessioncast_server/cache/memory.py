"""Answers kept in this process."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sessioncast_server.cache.base import Found, Kept, Key

_OVERHEAD = 1000  # bytes of Python objects beside an answer's body


@dataclass(frozen=True, slots=True)
class _Slot:
    kept: Kept
    until: float

    @property
    def size(self) -> int:
        return len(self.kept.body) + _OVERHEAD


class MemoryCache:
    """The answers asked for last, within a bound in number and one in bytes.

    Args:
        entries, size: the bounds; the answer not asked for longest goes first, and one larger than `size` is not kept.
        clock: seconds that never go back.
    """

    def __init__(self, *, entries: int, size: int, clock: Callable[[], float]) -> None:
        self._max_entries = entries
        self._max_size = size
        self._clock = clock
        self._slots: OrderedDict[Key, _Slot] = OrderedDict()
        self.size = 0
        """Bytes held."""

    def __len__(self) -> int:
        return len(self._slots)

    async def get(self, key: Key) -> Found | None:
        """The answer that was put last; never waits."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        left_s = slot.until - self._clock()
        if left_s <= 0:
            self._drop(key)
            return None
        self._slots.move_to_end(key)
        return Found(slot.kept, left_s)

    async def put(self, key: Key, kept: Kept, life_s: float) -> None:
        """Keep an answer, in place of the one before; never waits."""
        if key in self._slots:
            self._drop(key)
        slot = self._slots[key] = _Slot(kept, self._clock() + life_s)
        self.size += slot.size
        while len(self._slots) > self._max_entries or self.size > self._max_size:
            self._drop(next(iter(self._slots)))

    def sweep(self) -> None:
        """Drop what is past its time and was not asked for since; what is left has been asked for in its time."""
        now = self._clock()
        while self._slots:
            key, slot = next(iter(self._slots.items()))
            if slot.until > now:
                return
            self._drop(key)

    async def close(self) -> None:
        """Let go of everything."""
        self._slots.clear()
        self.size = 0

    def _drop(self, key: Key) -> None:
        self.size -= self._slots.pop(key).size
