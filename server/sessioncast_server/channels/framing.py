"""How a transport words what the hub says. Bytes are made once per group and shared by all its subscribers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sessioncast_server.channels.log import Entry
from sessioncast_shared.position import Position


@dataclass(frozen=True, slots=True)
class Opening:
    """The first thing every stream says.

    Attributes:
        state: `resumed` (everything after `start` follows), `snapshot` or `gap` (a snapshot follows).
        position: where the stream is once what it announces was read.
        start, end: the positions a replay or a gap spans.
        reason: why it is not `resumed`, where a position was given.
    """

    state: str
    position: Position
    start: Position | None = None
    end: Position | None = None
    reason: str | None = None


class Framing(Protocol):
    """Words for one kind of stream.

    Attributes:
        key: equal for framings that make equal bytes.
    """

    key: str

    def events(self, entries: Sequence[Entry]) -> bytes:
        """Events and whispers, in order. Nothing that is said of a whisper may move the client's position."""

    def replayed(self, position: Position) -> bytes:
        """The end of a replay: the position the stream has reached."""

    def snapshot(self, page: bytes, position: Position | None) -> bytes:
        """A page of a snapshot (members of a JSON object); the position stands on the last one."""

    def heartbeat(self, position: Position, head: Position) -> bytes:
        """A sign of life, with the stream's own position and the head of the log."""

    def resync(self, reason: str) -> bytes:
        """The stream lost its place; a snapshot follows."""


class Sink(Protocol):
    """Where a subscriber's bytes go. It tells its subscriber `drained()` when it can take more after it could not.

    Attributes:
        full: nothing is to be fed now, for what shares the way out has filled it.
    """

    @property
    def full(self) -> bool: ...

    def opening(self, opening: Opening) -> bytes:
        """Words for the stream's first frame; this one stream's own, unlike those of a framing."""

    def feed(self, data: bytes) -> bool:
        """Take these bytes; whether more can be taken at once."""

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        """Take these bytes, one after another; whether more can be taken at once."""

    def stalled_since(self) -> float:
        """Loop time when a full sink last got rid of something; 0 where that cannot be known."""

    def end(self, reason: str) -> None:
        """Say goodbye (`draining`, `expired`, `too_slow`, `overloaded`), then close."""
