"""Between nodes: an announcement is a hint that a channel's log grew. The log is the truth.

A whisper is an event that no log holds: who does not hear it when it is said never will.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Route(NamedTuple):
    """What decides who is to get an event.

    A named tuple, for every node makes one for every event that it hears: it costs 40 % of a frozen dataclass.

    Attributes:
        kind: kind of the event, as a filter names it.
        owner: user that a thread or message event belongs to, else None.
    """

    kind: str
    task_id: str | None = None
    session_id: str | None = None
    thread_id: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """Events of one commit in one channel, in order and without a hole.

    Attributes:
        channel: project id.
        epoch: life of the log they belong to.
        first: offset of the first of them.
        routes: one per event.
        bodies: one per event: its JSON, encoded once for everybody.
    """

    channel: str
    epoch: str
    first: int
    routes: tuple[Route, ...]
    bodies: tuple[bytes, ...]

    @property
    def last(self) -> int:
        """Offset of the last of them."""
        return self.first + len(self.bodies) - 1


@dataclass(frozen=True, slots=True)
class Whisper:
    """An ephemeral event: it has no position, is never read again, and is the first to be dropped.

    Attributes:
        channel: project id.
        route: who is to get it.
        body: its JSON, on one line, without `position`.
    """

    channel: str
    route: Route
    body: bytes


@dataclass(frozen=True, slots=True)
class Listener:
    """What a broker calls, always on the event loop.

    Attributes:
        announced: another node (or this one) committed these events.
        doubtful: announcements of this channel may have been lost; read its log. None: of every channel.
        whispered: another node said this. It comes after what that node announced before, unless that was lost.
    """

    announced: Callable[[Announcement], None]
    doubtful: Callable[[str | None], None]
    whispered: Callable[[Whisper], None]


class Broker(Protocol):
    """Carries announcements between nodes. Losing, doubling, delaying or reordering them costs latency only."""

    async def start(self, listener: Listener) -> None:
        """Begin to carry. Returns at once, whether or not the far side can be reached."""

    def announce(self, announcement: Announcement) -> None:
        """Tell the other nodes. Never waits and never raises; what cannot be carried is dropped and counted."""

    def whisper(self, whisper: Whisper) -> None:
        """Say it to the other nodes. Never waits and never raises; it is the first to be dropped, and counted."""

    def listen(self, channel: str) -> None:
        """Want this channel's announcements; `doubtful` is called once they are flowing."""

    def unlisten(self, channel: str) -> None:
        """Want them no more."""

    def deaf_since(self) -> float | None:
        """Monotonic seconds since when announcements may be missed, None while all is well."""

    async def close(self) -> None:
        """Stop. Nothing is called afterwards."""
