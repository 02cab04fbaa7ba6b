"""What Redis sends, from bytes to replies."""

from typing import Any, Protocol

import hiredis
import redis


class BadReplyError(Exception):
    """What arrived cannot be gone on from: no RESP, a reply without end, or an error that Redis answered with."""


class Parser(Protocol):
    """What is used of `hiredis.Reader`."""

    def feed(self, data: bytes, /) -> object:
        """Take bytes in."""

    def gets(self) -> Any:
        """The next whole reply, or the object that stands for none; raises on what is no RESP."""


class Replies:
    """Takes bytes in any pieces, and gives each reply once it is whole, in order; pushes are replies too."""

    def __init__(self, parser: Parser, *, nothing: object, max_bytes: int) -> None:
        """Begin with what the parser already holds.

        Args:
            parser: makes replies of bytes.
            nothing: what the parser gives when it holds no whole reply.
            max_bytes: a reply that is not whole after so many bytes is given up; measured to within one `feed`.
        """
        self._parser = parser
        self._nothing = nothing
        self._max_bytes = max_bytes
        self._unfinished = 0
        self._fault: BadReplyError | None = None

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._parser.feed(data)
        self._unfinished += len(data)

    def take(self) -> list[Any]:
        """All replies that are whole, each once; an empty list when there is none.

        Raises:
            BadReplyError: now and from now on, once all that came before it was taken.
        """
        replies: list[Any] = []
        if self._fault is None:
            try:
                self._collect(replies)
            except BadReplyError as error:
                self._fault = error
        if self._fault is not None and not replies:
            raise self._fault
        return replies

    def _collect(self, replies: list[Any]) -> None:
        gets, nothing = self._parser.gets, self._nothing
        try:
            while (reply := gets()) is not nothing:
                if isinstance(reply, Exception):
                    raise BadReplyError(f"the server answered with an error: {reply}")
                replies.append(reply)
        # Besides its own: what a map with a list for a key, and a length that no memory holds, end in.
        except (hiredis.HiredisError, redis.RedisError, TypeError, ValueError, MemoryError) as error:
            raise BadReplyError(f"not understood: {error!r}") from error
        if replies:
            self._unfinished = 0
        elif self._unfinished > self._max_bytes:
            raise BadReplyError(f"a reply of more than {self._max_bytes} bytes")
