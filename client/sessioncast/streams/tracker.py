"""Frames in, items out: joins snapshots, drops repeated events, knows where to resume. No I/O."""

from typing import Any, Literal, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict

from sessioncast.decode import validated
from sessioncast.errors import ProtocolError
from sessioncast.streams.frames import Events, Frame, Goodbye, Moved, Ready, ResyncNotice, SnapshotPage
from sessioncast.streams.items import Delta, Item, Opened, OpenState, OtherResource, Resync, Shown, Snapshot
from sessioncast_shared.events import MESSAGE_DELTA, Event
from sessioncast_shared.position import BadPositionError, Position
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

SnapshotWish = Literal["auto", "always", "never"]

Step = tuple[Item | None, str | None]
"""An item, if any, and the position that a program which has it may resume from."""


class _Piece(BaseModel):
    model_config = ConfigDict(frozen=True)

    message_id: str
    index: int
    text: str


class _Whispered(BaseModel):
    """An ephemeral event as the server words it."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    thread_id: str
    data: _Piece


class Tracker:
    """One subscription's place in its channel, over all its connections.

    The place moves only over what was received whole. Between «a snapshot follows» and the snapshot's last page it
    stays where it was: a connection that breaks there has to be told of the gap again.

    Attributes:
        position: what a reconnect resumes from; None: from nothing.
    """

    def __init__(self, url: str, position: str | None, snapshot: SnapshotWish) -> None:
        """Start at `position`.

        Raises:
            BadPositionError: it is not of the form of a position.
        """
        self.position = position
        self._url = url
        self._place = None if position is None else Position.parse(position)
        self._wish: SnapshotWish = snapshot
        self._awaiting = False
        self._pages: list[dict[str, Any]] = []

    @property
    def wish(self) -> SnapshotWish:
        """What to ask the server for when the stream is opened now.

        «Always» is for the first time: a reconnect that can resume need not send everything again.
        """
        return "auto" if self._wish == "always" and self.position is not None else self._wish

    def connecting(self) -> None:
        """A connection begins: what was half received of the last one is void."""
        self._awaiting = False
        self._pages.clear()

    def take(self, frame: Frame) -> list[Step]:
        """The items that a frame makes, each with the position it leads to.

        Raises:
            ProtocolError: the frame makes no sense here.
        """
        match frame:
            case Ready():
                return [self._opened(frame)]
            case ResyncNotice(reason):
                self._await_snapshot()
                return [(Resync(reason), self.position)]
            case SnapshotPage():
                return self._page(frame)
            case Events(events):
                return [step for event in events if (step := self._event(event)) is not None]
            case Moved(position):
                # While a snapshot is on its way, its position is not ours yet.
                if not self._awaiting:
                    self._move(position)
                return [(None, self.position)]
            case Goodbye():
                return []

    def _opened(self, frame: Ready) -> Step:
        if frame.state != "resumed":
            self._await_snapshot()
        # Without a snapshot, and without a place of our own, the stream goes on from the head.
        if frame.position is not None and not self._awaiting and (frame.state != "resumed" or self.position is None):
            self._move(frame.position)
        opened = Opened(cast("OpenState", frame.state), frame.reason, frame.from_, frame.to, frame.position)
        return opened, self.position

    def _await_snapshot(self) -> None:
        self._awaiting = self._wish != "never"
        self._pages.clear()

    def _page(self, frame: SnapshotPage) -> list[Step]:
        self._pages += frame.resources
        if frame.more:
            return []
        if frame.position is None:
            raise ProtocolError(self._url, "a snapshot without a position")
        resources = tuple(map(self._resource, self._pages))
        self._awaiting = False
        self._pages.clear()
        self._move(frame.position)
        snapshot = Snapshot(resources, frame.position, frame.read is not None, frame.read or ())
        return [(snapshot, frame.position)]

    def _resource(self, page: Any) -> Shown:
        match page:
            case {"kind": "task", "data": data}:
                return validated(Task, data, self._url)
            case {"kind": "session", "data": data}:
                return validated(Session, data, self._url)
            case {"kind": "provider", "data": data}:
                return validated(ProviderSession, data, self._url)
            case {"kind": "thread", "data": data}:
                return validated(Thread, data, self._url)
            case {"kind": "message", "data": data}:
                return validated(Message, data, self._url)
            case {"kind": str(kind), "data": dict(data)}:
                return OtherResource(kind, data)
        raise ProtocolError(self._url, "a snapshot of something that is no resource")

    def _event(self, body: Any) -> Step | None:
        if isinstance(body, dict) and "position" not in body and isinstance(body.get("type"), str):
            return self._ephemeral(body)
        if self._awaiting:
            raise ProtocolError(self._url, "an event where a snapshot was due")
        event = validated(Event, body, self._url)
        place = self._parsed(event.position)
        # Within an epoch offsets only rise, so what is not above the last one was seen. Another epoch
        # says nothing about ours; the server announces one before it uses it.
        if self._place is not None and place.epoch == self._place.epoch and place.offset <= self._place.offset:
            return None
        self._place, self.position = place, event.position
        return event, event.position

    def _ephemeral(self, body: dict[str, Any]) -> Step | None:
        """It moves nothing. One that nobody can place, before its snapshot or of a newer server, is passed over."""
        if self._awaiting or body["type"] != MESSAGE_DELTA:
            return None
        said = validated(_Whispered, body, self._url)
        piece = said.data
        return Delta(said.thread_id, piece.message_id, piece.index, piece.text, said.at), self.position

    def _move(self, position: str) -> None:
        self._place, self.position = self._parsed(position), position

    def _parsed(self, position: str) -> Position:
        try:
            return Position.parse(position)
        except (BadPositionError, TypeError) as error:
            raise ProtocolError(self._url, f"not a position: {str(position)[:60]!r}") from error
