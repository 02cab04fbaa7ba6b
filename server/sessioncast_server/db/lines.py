"""Lines of callers who wait for the same lock of the database: first come, first served, within this process."""

import asyncio
from collections import deque
from collections.abc import Hashable

from sessioncast_server.db.errors import UnavailableError


class Lines:
    """One line for each lock that somebody waits for; it is there for as long as somebody stands in it.

    Args:
        waiting_max: callers in all lines together.

    Attributes:
        waiting: how many there are.
    """

    def __init__(self, waiting_max: int) -> None:
        self._lines: dict[Hashable, deque[Place]] = {}
        self._waiting_max = waiting_max
        self.waiting = 0

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    def _join(self, key: Hashable, place: "Place") -> bool:
        """Whether it is the first."""
        if self.waiting >= self._waiting_max:
            raise UnavailableError("queue", f"{self._waiting_max} calls wait for locks already")
        self.waiting += 1
        line = self._lines.setdefault(key, deque())
        line.append(place)
        return len(line) == 1

    def _leave(self, key: Hashable, place: "Place") -> "Place | None":
        """Who is the first now and was not before."""
        self.waiting -= 1
        line = self._lines[key]
        was_first = line[0] is place
        line.remove(place)
        if not line:
            del self._lines[key]
            return None
        return line[0] if was_first else None


class Place:
    """Where one caller stands: in one line at most. Leave it in the end, however that comes.

    Attributes:
        key: of the line; None: it stands in none.
    """

    __slots__ = ("_lines", "_turn", "key")

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._turn = asyncio.Event()
        self.key: Hashable | None = None

    def move(self, key: Hashable | None) -> bool:
        """Go to the end of a line, or to none; who stands in it already keeps the place. Whether it moved.

        Raises:
            UnavailableError: `queue`, too many stand in lines; it stands in none then.
        """
        if key == self.key:
            return False
        self.leave()
        if key is not None:
            first = self._lines._join(key, self)
            self.key, self._turn = key, asyncio.Event()
            if first:
                self._turn.set()
        return True

    async def first(self, timeout_s: float) -> bool:
        """Wait until nobody stands before it; whether that was so in time. In no line it is."""
        if self.key is None or self._turn.is_set():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._turn.wait()
        except TimeoutError:
            return False
        return True

    def leave(self) -> None:
        """Stand in no line any more; whoever is the first now is told."""
        if self.key is not None:
            key, self.key = self.key, None
            following = self._lines._leave(key, self)
            if following is not None:
                following._turn.set()
