"""A thread as a plain Python model: what a server should have, written a second time and simply."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Line:
    """A message as it should be.

    Attributes:
        calls: names that it shares with what belongs to it.
        leads: whether it belongs to the message after it.
    """

    seq: int
    content: Any
    calls: frozenset[str] = frozenset()
    leads: bool = False
    id: str | None = None


@dataclass
class ThreadModel:
    """A thread as it should be.

    Attributes:
        lines: oldest first.
        changes: its events so far, as (type, seqs that came or went).
        run: whether somebody has it to himself.
    """

    limit: int
    lines: list[Line] = field(default_factory=list)
    seq: int = 0
    version: int = 1
    changes: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)

    def append(self, content: Any, calls: Iterable[str] = (), *, leads: bool = False, id_: str | None = None) -> Line:
        """A new message, unless one of this id is there."""
        for line in self.lines:
            if id_ is not None and line.id == id_:
                return line
        self.seq += 1
        line = Line(self.seq, content, frozenset(calls), leads, id_)
        self.lines.append(line)
        self._changed("message.created", [line])
        return line

    def pop(self) -> Line | None:
        """The newest, taken away."""
        if not self.lines:
            return None
        line = self.lines.pop()
        self._changed("message.popped", [line])
        return line

    def clear(self) -> None:
        """All taken away."""
        if self.lines:
            gone, self.lines = self.lines, []
            self._changed("thread.pruned", gone)

    def prune(self) -> int:
        """What is over the limit taken away, with what belongs to it; how many went."""
        excess = len(self.lines) - self.limit
        if excess <= 0:
            return 0
        gone = self._with_theirs(self.lines[:excess])
        self.lines = [line for line in self.lines if line not in gone]
        self._changed("thread.pruned", gone)
        return len(gone)

    def _with_theirs(self, first: list[Line]) -> list[Line]:
        """Until nothing is left that belongs to what goes: each round asks every message that stays."""
        gone = list(first)

        def belongs(line: Line, place: int) -> bool:
            before = self.lines[place - 1] if place else None
            after = self.lines[place + 1] if place + 1 < len(self.lines) else None
            return (
                any(line.calls & other.calls for other in gone)
                or (before is not None and before.leads and before in gone)
                or (line.leads and after is not None and after in gone)
            )

        while True:
            more = self._staying(gone, belongs)
            if not more:
                return sorted(gone, key=lambda line: line.seq)
            gone += more

    def _staying(self, gone: list[Line], belongs: Callable[[Line, int], bool]) -> list[Line]:
        return [line for place, line in enumerate(self.lines) if line not in gone and belongs(line, place)]

    def _changed(self, what: str, lines: list[Line]) -> None:
        self.version += 1
        self.changes.append((what, tuple(line.seq for line in lines)))
