"""Bytes of a command's output become lines of text. No I/O."""

import codecs

LINE_BYTES = 32 * 1024


class LineCutter:
    """Cuts a stream of bytes after each newline; the pieces, joined, are the whole text.

    A line longer than `line_bytes` comes in several pieces. What is not UTF-8, and NUL, which no database keeps,
    becomes U+FFFD.
    """

    def __init__(self, *, line_bytes: int = LINE_BYTES) -> None:
        self._line_bytes = line_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The pieces that these bytes complete."""
        pieces: list[str] = []
        *lines, tail = data.split(b"\n")
        for line in lines:
            self._tail += line + b"\n"
            self._cut(pieces)
            self._emit(pieces, bytes(self._tail))
            self._tail.clear()
        self._tail += tail
        self._cut(pieces)
        return pieces

    def finish(self) -> list[str]:
        """What is left when the stream has ended."""
        text = self._decoder.decode(bytes(self._tail), final=True)
        self._tail.clear()
        return [_clean(text)] if text else []

    def _cut(self, pieces: list[str]) -> None:
        while len(self._tail) > self._line_bytes:
            self._emit(pieces, bytes(self._tail[: self._line_bytes]))
            del self._tail[: self._line_bytes]

    def _emit(self, pieces: list[str], data: bytes) -> None:
        # The decoder keeps the bytes of a character that a cut has split.
        text = self._decoder.decode(data)
        if text:
            pieces.append(_clean(text))


def _clean(text: str) -> str:
    return text.replace("\0", "�")
