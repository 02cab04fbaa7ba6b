"""Server-sent events: bytes in, events out, no I/O.

WHATWG HTML, section «Server-sent events», «Interpreting an event stream».
"""

from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One dispatched event.

    Attributes:
        type: the `event` field, `message` when there was none.
        data: the `data` fields, joined by newlines.
        last_event_id: the last `id` seen up to and including this event; empty when there was none.
    """

    type: str
    data: str
    last_event_id: str


class EventTooLongError(ValueError):
    """An event outgrew the bound of the parser.

    Attributes:
        limit: the bound, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of more than {limit} bytes")
        self.limit = limit


class SSEParser:
    """Turns the bytes of an event stream, however they are cut, into events.

    An unfinished event at the end of the stream is dropped by never being fed its blank line.

    Attributes:
        last_event_id: what a reconnect sends as `Last-Event-ID`. It moves at the blank line that ends an event,
            also of one without data, which is not dispatched.
        retry_ms: the last valid `retry`, None when there was none.
    """

    def __init__(self, *, max_bytes: int = 64 * 2**20) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._max_bytes = max_bytes
        self._head: bytes | None = b""  # the first bytes of the stream until it is known whether they are a BOM
        self._tail = bytearray()  # a line whose end has not come yet
        self._after_cr = False
        self._type = ""
        self._id = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that these bytes complete.

        Raises:
            EventTooLongError: an event, finished or not, is over `max_bytes`.
        """
        if self._head is not None:
            chunk = self._head + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._head = chunk
                return []
            self._head = None
            chunk = chunk.removeprefix(_BOM)
        if self._after_cr and chunk:
            # The line ended at CR already; waiting to see whether LF follows would hold an event back.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        events: list[ServerSentEvent] = []
        for line in chunk.splitlines(keepends=True):  # of bytes: cuts at CR, LF and CRLF only
            if not line.endswith((b"\n", b"\r")):
                self._tail += line
                self._grow(0)
                continue
            self._after_cr = line.endswith(b"\r")
            content = line.rstrip(b"\r\n")
            if self._tail:
                content = bytes(self._tail) + content
                self._tail.clear()
            if content:
                self._field(content)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        # Only a CR that ends the chunk can be half of a CRLF; within the chunk splitlines has seen both.
        self._after_cr = self._after_cr and chunk.endswith(b"\r")
        return events

    def _field(self, line: bytes) -> None:
        name, _, raw = line.partition(b":")
        value = raw.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value.decode(errors="replace"))
                self._grow(len(line))
            case b"event":
                self._type = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if value.isdigit() and len(value) < 16:
                self.retry_ms = int(value)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size + len(self._tail) > self._max_bytes:
            raise EventTooLongError(self._max_bytes)

    def _dispatch(self) -> ServerSentEvent | None:
        self.last_event_id = self._id
        event = None
        if self._data:
            event = ServerSentEvent(self._type or "message", "\n".join(self._data), self._id)
        self._type = ""
        self._data = []
        self._size = 0
        return event
