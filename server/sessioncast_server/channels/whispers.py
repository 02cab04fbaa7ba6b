"""Whispers on their way to followers: each knows the newest event that is before it, and none has a place in the log.

They are joined to the events when the bytes of a pass are made, so nothing that counts offsets ever meets one.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from sessioncast_server.channels.log import Entry


class Aside(NamedTuple):
    """A whisper and its place among the events.

    Attributes:
        after: offset of the newest event before it.
        entry: what is sent; its own offset is 0.
    """

    after: int
    entry: Entry


class Asides:
    """Whispers in the order in which they were said, the newest of them.

    Args:
        most, size: bounds in number and bytes; over either the oldest are dropped. The newest always stays.
    """

    __slots__ = ("_held", "_held_bytes", "_most", "_size")

    def __init__(self, *, most: int, size: int) -> None:
        self._held: deque[Aside] = deque()
        self._held_bytes = 0
        self._most = most
        self._size = size

    def __len__(self) -> int:
        return len(self._held)

    def add(self, aside: Aside) -> int:
        """Take one in; how many were dropped for it."""
        held = self._held
        held.append(aside)
        self._held_bytes += len(aside.entry.body)
        before = len(held)
        while len(held) > 1 and (len(held) > self._most or self._held_bytes > self._size):
            self._held_bytes -= len(held.popleft().entry.body)
        return before - len(held)

    def upto(self, offset: int) -> list[Aside]:
        """Give away those after which no event up to an offset comes, oldest first."""
        given: list[Aside] = []
        while self._held and self._held[0].after <= offset:
            given.append(self._held.popleft())
            self._held_bytes -= len(given[-1].entry.body)
        return given

    def among(self, entries: Sequence[Entry], upto: int) -> list[Entry]:
        """Events with the whispers that belong among them, or behind them up to an offset; these are given away."""
        joined: list[Entry] = []
        for entry in entries:
            joined += [aside.entry for aside in self.upto(entry.offset - 1)]
            joined.append(entry)
        joined += [aside.entry for aside in self.upto(upto)]
        return joined
