"""What comes down a stream, taken apart without I/O: chunks, server-sent events, WebSocket frames."""

import re
from dataclasses import dataclass
from typing import Protocol

_HEAD_END = b"\r\n\r\n"
_EVENT_END = re.compile(rb"\r?\n\r?\n")
_FIN, _CONTINUATION, _TEXT, _CLOSE = 0x80, 0x0, 0x1, 0x8


class BrokenStreamError(Exception):
    """The bytes are not what the protocol allows."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message: `name` is an SSE event's, empty for an unnamed one and for WebSocket messages."""

    name: bytes
    data: bytes


class Parser(Protocol):
    """Bytes in, whole messages out."""

    def feed(self, data: bytes) -> list[Message]:
        """Messages that these bytes complete."""
        ...


class SseParser:
    """An HTTP/1.1 answer that is an event stream (WHATWG HTML 9.2), in chunks (RFC 9112 7.1) or not."""

    def __init__(self) -> None:
        self._raw = b""
        self._text = b""
        self._chunked: bool | None = None  # None: the head is not there yet
        self._missing = 0  # bytes of the chunk that has begun, with the CRLF after it

    def feed(self, data: bytes) -> list[Message]:
        """Messages that these bytes complete; comments are none.

        Raises:
            BrokenStreamError: the answer is no 200, or a chunk is malformed.
        """
        self._raw += data
        if self._chunked is None:
            head, found, rest = self._raw.partition(_HEAD_END)
            if not found:
                return []
            if not head.startswith(b"HTTP/1.1 200"):
                raise BrokenStreamError(f"not a stream: {head[:60]!r}")
            self._chunked = b"transfer-encoding: chunked" in head.lower()
            self._raw = rest
        self._text += self._dechunk() if self._chunked else self._all()
        *whole, self._text = _EVENT_END.split(self._text)
        return [message for message in map(_event, whole) if message.data]

    def _all(self) -> bytes:
        taken, self._raw = self._raw, b""
        return taken

    def _dechunk(self) -> bytes:
        raw, at, parts = self._raw, 0, list[bytes]()
        while at < len(raw):
            if not self._missing:
                end = raw.find(b"\r\n", at)
                if end < 0:
                    break
                try:
                    self._missing = int(raw[at:end].partition(b";")[0], 16) + 2
                except ValueError as error:
                    raise BrokenStreamError(f"not a chunk's size: {raw[at:end][:40]!r}") from error
                at = end + 2
            taken = raw[at : at + self._missing]
            ends = self._missing - 2  # where the chunk's own bytes end
            parts.append(taken[: max(0, ends)])
            at += len(taken)
            self._missing -= len(taken)
        self._raw = raw[at:]
        return b"".join(parts)


def _event(block: bytes) -> Message:
    name, data = b"", list[bytes]()
    for line in block.splitlines():
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.removeprefix(b" ")
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return Message(name, b"\n".join(data))


class WsParser:
    """The server's side of a WebSocket (RFC 6455 5.2) without extensions."""

    def __init__(self) -> None:
        self._raw = b""
        self._upgraded = False
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[Message]:
        """Text and binary messages that these bytes complete; pings and pongs are none.

        Raises:
            BrokenStreamError: the upgrade was refused, a frame has bits that it must not have, or the server closes.
        """
        self._raw += data
        if not self._upgraded:
            head, found, rest = self._raw.partition(_HEAD_END)
            if not found:
                return []
            if not head.startswith(b"HTTP/1.1 101"):
                raise BrokenStreamError(f"no upgrade: {head[:60]!r}")
            self._upgraded, self._raw = True, rest
        raw, at, made = self._raw, 0, list[Message]()
        while len(raw) - at >= 2:
            first, size, body = raw[at], raw[at + 1], at + 2
            if first & 0x70 or size & 0x80:
                raise BrokenStreamError(f"reserved bits or a mask: {first:#x} {size:#x}")
            if size >= 126:
                body += 2 if size == 126 else 8
                size = int.from_bytes(raw[at + 2 : body]) if len(raw) >= body else len(raw)
            if len(raw) < body + size:
                break
            self._frame(first, raw[body : body + size], made)
            at = body + size
        self._raw = raw[at:]
        return made

    def _frame(self, first: int, payload: bytes, made: list[Message]) -> None:
        opcode = first & 0x0F
        if opcode == _CLOSE:
            raise BrokenStreamError(f"closed: {int.from_bytes(payload[:2])}")
        if opcode > _CLOSE:
            return
        if (opcode == _CONTINUATION) != bool(self._parts):
            raise BrokenStreamError("a fragment out of its place")
        self._parts.append(payload)
        if first & _FIN:
            made.append(Message(b"", b"".join(self._parts)))
            self._parts.clear()


def masked(text: bytes) -> bytes:
    """A client's text frame, by the mask of zeros that RFC 6455 does not forbid."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([_FIN | _TEXT]) + length + bytes(4) + text
