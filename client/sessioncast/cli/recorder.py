"""Output on its way to the server: in order, in batches, each recorded once."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sessioncast.errors import SessioncastError

Append = Callable[[Sequence[str]], Awaitable[int]]
"""Records a batch, however often that must be tried, and tells the last `seq`."""


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """Bounds of what waits to be recorded.

    Attributes:
        buffer_bytes: when so much waits, `put` waits too: the command's pipe fills and the command is held back.
        batch_bytes, batch_texts: one request carries no more. JSON may make six bytes of one (control characters),
            and the server takes 1 MiB.
    """

    buffer_bytes: int = 4 * 2**20
    batch_bytes: int = 128 * 1024
    batch_texts: int = 200


class Recorder:
    """Sends one batch after the other; while one is on its way the next one gathers.

    Attributes:
        recorded: `seq` of the last text the server has confirmed.
        failure: why recording has ended before its time; from then on texts are dropped, and nothing waits.
    """

    def __init__(
        self, append: Append, limits: RecorderLimits | None = None, *, failed: Callable[[SessioncastError], None]
    ) -> None:
        """`failed` is called once, when recording ends before its time."""
        self.recorded = 0
        self.failure: SessioncastError | None = None
        self._append = append
        self._limits = limits or RecorderLimits()
        self._failed = failed
        self._texts: deque[str] = deque()
        self._bytes = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def put(self, text: str) -> None:
        """Take a text, once there is room for it."""
        while self._bytes >= self._limits.buffer_bytes and self.failure is None:
            self._room.clear()
            await self._room.wait()
        if self.failure is None:
            self._texts.append(text)
            self._bytes += _size(text)
            self._filled.set()

    async def finish(self) -> None:
        """No more is coming: returns when all is recorded, or nothing more will be."""
        self._closed = True
        self._filled.set()
        await asyncio.wait({self._task})

    def give_up(self, reason: SessioncastError) -> None:
        """Record no more. A batch on its way may or may not arrive."""
        if not self._task.done() and self.failure is None:
            self._task.cancel()
            self._fail(reason)

    async def _run(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self._room.set()
                try:
                    self.recorded = await self._append(batch)
                except SessioncastError as error:
                    self._fail(error)
                    return
            elif self._closed:
                return
            else:
                self._filled.clear()
                await self._filled.wait()

    def _fail(self, error: SessioncastError) -> None:
        self.failure = error
        self._texts.clear()
        self._room.set()
        self._failed(error)

    def _take(self) -> list[str]:
        batch: list[str] = []
        size = 0
        while self._texts and len(batch) < self._limits.batch_texts:
            size += _size(self._texts[0])
            if batch and size > self._limits.batch_bytes:
                break
            text = self._texts.popleft()
            self._bytes -= _size(text)
            batch.append(text)
        return batch


def _size(text: str) -> int:
    # Characters count as three bytes at most, which is what a replaced byte becomes; exact would mean encoding twice.
    return len(text) if text.isascii() else 3 * len(text)
