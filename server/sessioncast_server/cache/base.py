"""What is kept of an answer, and where."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sessioncast_shared.position import Position


class Key(NamedTuple):
    """What was asked: a task, and which view of it (`[a-z.*]+`)."""

    task_id: str
    view: str


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that is given to whoever asks the same and may see the project.

    Attributes:
        at: position of the project's channel that it was read at.
        etag: entity tag.
        body: JSON.
        cost: statements that reading it took; not told to other nodes.
    """

    project: str
    at: Position
    etag: str
    body: bytes
    cost: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer in a cache.

    Attributes:
        left_s: seconds until it goes.
    """

    kept: Kept
    left_s: float


class Cache(Protocol):
    """Keeps answers for a while. It may forget any of them at any time, and never fails: then it has nothing."""

    async def get(self, key: Key) -> Found | None:
        """The answer that was put last, unless it was forgotten."""

    async def put(self, key: Key, kept: Kept, life_s: float) -> None:
        """Keep an answer for at most so many seconds."""

    async def close(self) -> None:
        """Let go of everything."""
