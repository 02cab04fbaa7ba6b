"""Output on its way to the server."""

import asyncio
from collections.abc import Sequence

import pytest

from sessioncast import ConnectionLost, SessioncastError
from sessioncast.cli.recorder import Recorder, RecorderLimits
from support.waiting import until


class Store:
    """Takes batches while it is open; counts texts as the server's `seq` does."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken: SessioncastError | None = None

    async def append(self, texts: Sequence[str]) -> int:
        """Record a batch."""
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        self.batches.append(list(texts))
        return sum(map(len, self.batches))


async def test_what_gathers_goes_together_and_in_order() -> None:
    """Texts that come while a batch is on its way are the next one, up to the bounds of a request."""
    store, failures = Store(), list[SessioncastError]()
    recorder = Recorder(store.append, RecorderLimits(batch_bytes=8, batch_texts=3), failed=failures.append)
    for text in ["aaaa", "bbbb", "c", "d", "e", "f", "much too long for it", "g"]:
        await recorder.put(text)
    await recorder.finish()
    assert store.batches == [["aaaa", "bbbb"], ["c", "d", "e"], ["f"], ["much too long for it"], ["g"]]
    assert (recorder.recorded, recorder.failure, failures) == (8, None, [])


async def test_a_full_buffer_holds_the_command_back() -> None:
    """While the server takes nothing, `put` waits instead of taking memory; nothing is lost when it goes on."""
    store = Store()
    store.open.clear()
    recorder = Recorder(store.append, RecorderLimits(buffer_bytes=4, batch_bytes=1), failed=lambda _: None)
    put = 0

    async def command() -> None:
        nonlocal put
        for number in range(20):
            await recorder.put(str(number % 10))
            put += 1

    running = asyncio.create_task(command())
    await until(lambda: put == 5, "the buffer to be full")  # four wait, one is on its way
    for _ in range(100):
        await asyncio.sleep(0)
    assert put == 5
    store.open.set()
    await running
    await recorder.finish()
    assert [text for batch in store.batches for text in batch] == [str(number % 10) for number in range(20)]


@pytest.mark.parametrize("stopped", [False, True])
async def test_after_the_end_of_recording_the_command_is_not_held_back(stopped: bool) -> None:
    """When the server is given up, or the person will not wait, whoever waits for room goes on, and is told once."""
    store, failures = Store(), list[SessioncastError]()
    reason = ConnectionLost("url", "gone")
    recorder = Recorder(store.append, RecorderLimits(buffer_bytes=1, batch_bytes=1), failed=failures.append)
    await recorder.put("a")
    await until(lambda: recorder.recorded == 1, "the first text")
    store.open.clear()
    await recorder.put("b")
    waiting = asyncio.gather(*[recorder.put("c") for _ in range(3)])
    if stopped:
        recorder.give_up(reason)
        recorder.give_up(reason)
    else:
        store.broken = reason
        store.open.set()
    await waiting
    await recorder.put("d")
    await recorder.finish()
    assert store.batches == [["a"]]
    assert (recorder.recorded, recorder.failure, failures) == (1, reason, [reason])
