"""Frames that came for one subscription and were not read yet."""

import asyncio
from collections import deque

from sessioncast.errors import SessioncastError
from sessioncast.streams.frames import Frame

_CROWDED = 2**18
"""Bytes that wait for one reader when it is given a turn before more is read."""


class Mailbox:
    """Bounded. Who fills it is never held up: when it is full it takes no more, and says so.

    Attributes:
        full: it was too much; what it has is still read, and then there is no more.
    """

    def __init__(self, *, max_bytes: int, max_frames: int) -> None:
        """Bounds of the JSON text, in bytes, and of frames; one frame it takes however large."""
        self.full = False
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._end: SessioncastError | None = None
        self._news = asyncio.Event()

    @property
    def crowded(self) -> bool:
        """Whether so much waits that its reader should have a turn before more comes."""
        return self._bytes > _CROWDED

    def put(self, frame: Frame, size: int) -> None:
        """A frame of so many bytes."""
        if self.full or self._end is not None:
            return
        if self._frames and (self._bytes + size > self._max_bytes or len(self._frames) >= self._max_frames):
            self.full = True
        else:
            self._frames.append(frame)
            self._bytes += size
        self._news.set()

    def end(self, error: SessioncastError) -> None:
        """No more comes: who has read all is told why. The first word counts."""
        if self._end is None:
            self._end = error
        self._news.set()

    async def take(self) -> list[Frame]:
        """All frames; waits for one. Empty: it was full.

        Raises:
            SessioncastError: all were read, and why no more come.
        """
        while not self._frames and not self.full and self._end is None:
            self._news.clear()
            await self._news.wait()
        if self._frames:
            frames, self._bytes = list(self._frames), 0
            self._frames.clear()
            return frames
        if not self.full and self._end is not None:
            raise self._end
        return []
