"""A subscription's connection over server-sent events."""

from typing import TYPE_CHECKING

from sessioncast.answer import parsed
from sessioncast.errors import ConnectionLost, ProtocolError
from sessioncast.streams.frames import Events, Frame, Goodbye, Moved, control_frame
from sessioncast.streams.sse import EventTooLongError, ServerSentEvent, SSEParser
from sessioncast.streams.tracker import SnapshotWish
from sessioncast_shared.filters import Filter

if TYPE_CHECKING:  # it loads the HTTP library, and this
    from sessioncast.transport import ByteStream, Transport


class SSEStream:
    """Reads frames from an open event stream."""

    def __init__(self, stream: "ByteStream", *, max_bytes: int) -> None:
        self._stream = stream
        self._parser = SSEParser(max_bytes=max_bytes)

    async def receive(self) -> list[Frame]:
        """The frames of the next read; possibly none.

        Raises:
            ConnectionLost: there are no more.
            ProtocolError: these are no frames.
        """
        known = self._parser.last_event_id
        try:
            events = self._parser.feed(await self._stream.read())
        except EventTooLongError as error:
            raise ProtocolError(self._stream.url, str(error)) from error
        except ConnectionLost as error:
            if self._parser.retry_ms is None:
                raise
            return [Goodbye(self._parser.retry_ms / 1000, error.reason)]
        frames: list[Frame] = []
        carried = known
        for event in events:
            frame = self._frame(event)
            if frame is not None:
                frames.append(frame)
            if not _moves_nothing(frame):
                carried = event.last_event_id
        # An id that no event carries (the end of a replay) counts, too.
        last = self._parser.last_event_id
        if last not in ("", carried):
            frames.append(Moved(last))
        return frames

    def _frame(self, event: ServerSentEvent) -> Frame | None:
        body = parsed(event.data, self._stream.url, f"a {event.type} frame")
        match event.type:
            case "message":
                return Events([body])
            case "heartbeat":
                return Moved(event.last_event_id) if event.last_event_id else None
            case "snapshot" if isinstance(body, dict):
                # The position stands in the id of the last frame; in the data it is a courtesy.
                return control_frame("snapshot", {"position": event.last_event_id, **body}, self._stream.url)
            case name:
                return control_frame(name, body, self._stream.url)

    async def aclose(self) -> None:
        """Give the connection up."""
        await self._stream.aclose()


def _moves_nothing(frame: Frame | None) -> bool:
    """Whether it is an event without a position: the id beside it is one of before, told or not."""
    return isinstance(frame, Events) and all(isinstance(body, dict) and "position" not in body for body in frame.events)


async def open_sse(
    transport: "Transport", path: str, wanted: Filter, *, position: str | None, snapshot: SnapshotWish
) -> SSEStream:
    """Open an event stream.

    Raises:
        ConnectionLost, ProblemError: it does not open.
    """
    query = [*wanted.query(), ("snapshot", snapshot)]
    headers = {} if position is None else {"Last-Event-ID": position}
    stream = await transport.stream(path, query=query, headers=headers)
    return SSEStream(stream, max_bytes=transport.limits.frame_bytes)
