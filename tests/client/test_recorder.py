"""Output on its way to the server."""

import asyncio
from pathlib import Path

import pytest

from sessioncast import ConnectionLost, Fenced, Limits, ProblemError, SessioncastError
from sessioncast.cli.recorder import Recorder, RecorderLimits, passes
from sessioncast.cli.spool import Record, Spool
from support.waiting import until

QUICK = Limits(backoff_base_s=0.0, backoff_cap_s=0.0)
AWAY = ConnectionLost("url", "gone")
LONG_S = 60.0


class Store:
    """Takes batches while it is open, each key once; counts texts as the server's `seq` does."""

    def __init__(self) -> None:
        self.batches: dict[str, list[str]] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.broken: SessioncastError | None = None
        self.lose_answers = 0
        self.asked = 0

    @property
    def texts(self) -> list[str]:
        """All that was recorded, in order."""
        return [text for batch in self.batches.values() for text in batch]

    async def append(self, record: Record) -> int:
        """Record a batch."""
        self.asked += 1
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        self.batches.setdefault(record.key, list(record.texts))
        if self.lose_answers:
            self.lose_answers -= 1
            raise AWAY
        return len(self.texts)


def not_expected(error: SessioncastError) -> None:
    """Nothing is given up here."""
    pytest.fail(str(error))


def spool(folder: Path, limit_bytes: int = 2**20) -> Spool:
    """An empty spool, which makes its folder itself."""
    return Spool(folder / "state" / "spool", session="s", fence=3, limit_bytes=limit_bytes)


async def test_what_gathers_goes_together_and_in_order() -> None:
    """Texts that come while a batch is on its way are the next one, up to the bounds of a request."""
    store, failures = Store(), list[SessioncastError]()
    recorder = Recorder(store.append, RecorderLimits(batch_bytes=8, batch_texts=3), failed=failures.append)
    for text in ["aaaa", "bbbb", "c", "d", "e", "f", "much too long for it", "g"]:
        await recorder.put(text)
    await recorder.finish()
    batches = [["aaaa", "bbbb"], ["c", "d", "e"], ["f"], ["much too long for it"], ["g"]]
    assert list(store.batches.values()) == batches
    assert (recorder.recorded, recorder.failure, recorder.left, failures) == (8, None, False, [])


async def test_without_a_spool_a_full_buffer_holds_the_command_back() -> None:
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
    assert store.texts == [str(number % 10) for number in range(20)]


async def test_what_memory_does_not_hold_waits_on_disk(tmp_path: Path) -> None:
    """A server that is away holds nobody back; what it gets when it is back is in order, each text once."""
    store, disk = Store(), spool(tmp_path)
    store.broken = AWAY
    recorder = Recorder(
        store.append, RecorderLimits(buffer_bytes=40, batch_bytes=16), failed=not_expected, spool=disk, pauses=QUICK
    )
    texts = [f"{number:04d}\n" for number in range(500)]
    for text in texts[:300]:
        await recorder.put(text)
    assert disk.path is not None
    assert not disk.empty
    assert (disk.path.stat().st_mode & 0o777, disk.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    store.broken, store.lose_answers = None, 3
    for text in texts[300:]:
        await recorder.put(text)
    await recorder.finish()
    assert store.texts == texts
    assert (recorder.recorded, recorder.left, disk.empty) == (500, False, True)
    disk.close()
    assert not disk.path.exists()


async def test_a_full_spool_holds_the_command_back_until_there_is_room(tmp_path: Path) -> None:
    """The file does not grow beyond its bound, and nothing is lost for that."""
    store, disk = Store(), spool(tmp_path, 2000)
    store.broken = AWAY
    limits = RecorderLimits(buffer_bytes=40, batch_bytes=40)
    recorder = Recorder(store.append, limits, failed=not_expected, spool=disk, pauses=QUICK, give_up_after_s=LONG_S)
    texts, put = [f"{number:04d}\n" for number in range(500)], 0

    async def command() -> None:
        nonlocal put
        for text in texts:
            await recorder.put(text)
            put += 1

    running = asyncio.create_task(command())
    await until(lambda: disk.room < 200, "the spool to be full")
    asked = store.asked
    await until(lambda: store.asked > asked + 10, "some more tries")
    assert put < 400
    assert disk.path is not None
    assert disk.path.stat().st_size <= 2000
    store.broken = None
    await running
    await recorder.finish()
    assert store.texts == texts
    disk.close()


async def test_a_server_that_stays_away_lets_the_command_go_on(tmp_path: Path) -> None:
    """Held back for too long, the command runs on unrecorded; what was kept up to there is not lost."""
    store, disk, told = Store(), spool(tmp_path, 1000), list[SessioncastError]()
    store.broken = AWAY
    limits = RecorderLimits(buffer_bytes=40, batch_bytes=40)
    recorder = Recorder(store.append, limits, failed=told.append, spool=disk, pauses=QUICK, give_up_after_s=0.1)
    texts = [f"{number:04d}\n" for number in range(500)]
    for text in texts:
        await recorder.put(text)
    await recorder.finish()
    disk.close()
    assert told == [AWAY]
    assert recorder.lost_from is not None
    assert recorder.left
    assert disk.path is not None
    kept: list[str] = []
    found = Spool.open(disk.path)
    while (record := found.first()) is not None:
        kept += record.texts
        found.sent()
    assert kept == texts[: recorder.lost_from - 1]
    found.close()
    assert not disk.path.exists()


async def test_at_the_end_what_is_left_is_kept_with_its_keys(tmp_path: Path) -> None:
    """A batch whose answer was lost is kept under the key it was sent with: sent again, it is not recorded twice."""
    store, disk = Store(), spool(tmp_path)
    recorder = Recorder(store.append, failed=not_expected, spool=disk, pauses=QUICK, give_up_after_s=0)
    await recorder.put("a")
    await until(lambda: recorder.recorded == 1, "the first text")
    store.lose_answers = 10**6
    await recorder.put("b")
    await until(lambda: store.asked > 2, "another try")
    await recorder.put("c")
    store.open.clear()
    recorder.give_up()
    await recorder.finish()
    assert recorder.left
    disk.close()
    assert disk.path is not None
    found = Spool.open(disk.path)
    records = []
    while (record := found.first()) is not None:
        records.append(record)
        found.sent()
    found.close()
    store.open.set()
    store.lose_answers = 0
    for record in records:
        await store.append(record)
    assert store.texts == ["a", "b", "c"]


@pytest.mark.parametrize("stopped", [False, True])
async def test_after_the_end_of_recording_the_command_is_not_held_back(stopped: bool) -> None:
    """When the server says no for good, or the person will not wait, whoever waits for room goes on; told once."""
    store, failures = Store(), list[SessioncastError]()
    no = Fenced(409, {"code": "fenced"})
    recorder = Recorder(store.append, RecorderLimits(buffer_bytes=1, batch_bytes=1), failed=failures.append)
    await recorder.put("a")
    await until(lambda: recorder.recorded == 1, "the first text")
    store.open.clear()
    await recorder.put("b")
    waiting = asyncio.gather(*[recorder.put("c") for _ in range(3)])
    await until(lambda: store.asked == 2, "the second request")
    for _ in range(10):
        await asyncio.sleep(0)
    if stopped:
        recorder.give_up()
        recorder.give_up()
    else:
        store.broken = no
        store.open.set()
    await waiting
    await recorder.put("d")
    await recorder.finish()
    assert store.texts == ["a"]
    assert recorder.recorded == 1
    assert len(failures) == 1
    assert recorder.failure is not None
    assert recorder.lost_from == 2


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (AWAY, True),
        (ProblemError(503, {"code": "unavailable", "retryable": True}), True),
        (ProblemError(404, {}), True),  # a proxy's
        (ProblemError(401, {"code": "unauthenticated"}), True),
        (ProblemError(404, {"code": "not_found"}), False),
        (ProblemError(409, {"code": "session_replaced"}), False),
        (SessioncastError("what else"), False),
    ],
)
def test_only_our_servers_own_no_is_for_good(error: SessioncastError, may_pass: bool) -> None:
    """Whatever may be otherwise later is waited for: output is not thrown away for a proxy's page."""
    assert passes(error) is may_pass
