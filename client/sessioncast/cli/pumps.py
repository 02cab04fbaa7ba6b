"""A command's output on its way: to where it would have gone, and to the recorder."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from sessioncast.cli.lines import LineCutter
from sessioncast.cli.recorder import Recorder

_LINGER_S = 2.0


class Source(Protocol):
    """The reading end of an output.

    Attributes:
        reads: rises with each piece; tells silence from a reader that is held back.
        waiting: whether a reader waits for a piece.
        terminal: whether its lines end as a terminal's do.
    """

    reads: int
    waiting: bool
    terminal: bool

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""

    def close(self) -> None:
        """Read no more."""


async def pump(source: Source, echo: BinaryIO, recorder: Recorder) -> None:
    """Pass everything on until the end."""
    cutter = LineCutter()
    heard = True
    try:
        while data := await source.read():
            if heard:
                # In a thread: whoever reads our output may be slow, and signals must get through.
                heard = await asyncio.to_thread(_write, echo, data)
            for text in cutter.feed(data):
                await recorder.put(_plain(text) if source.terminal else text)
    finally:
        for text in cutter.finish():
            await recorder.put(text)


async def drain(pumps: Sequence[asyncio.Task[None]], sources: Sequence[Source]) -> None:
    """Wait for the rest of the output.

    A process that the command left behind may hold the pipes open for ever: after a while of silence it is left alone.
    """
    while True:
        before = sum(source.reads for source in sources)
        _, pending = await asyncio.wait(pumps, timeout=_LINGER_S)
        if not pending:
            break
        silent = sum(source.reads for source in sources) == before
        if silent and all(pump.done() or source.waiting for pump, source in zip(pumps, sources, strict=True)):
            for pump in pending:
                pump.cancel()
    for pump in pumps:
        with contextlib.suppress(asyncio.CancelledError):
            await pump


def _plain(text: str) -> str:
    # The carriage return is the terminal's, not the command's.
    return f"{text[:-2]}\n" if text.endswith("\r\n") else text


def _write(echo: BinaryIO, data: bytes) -> bool:
    try:
        echo.write(data)
        echo.flush()
    except OSError:
        return False  # nobody listens any more; the session still does
    return True
