"""Output on its way to the server: in order, in batches, each recorded once."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sessioncast.backoff import Backoff
from sessioncast.cli.spool import BadSpoolError, Record, Spool
from sessioncast.errors import ConnectionLost, ProblemError, SessioncastError
from sessioncast.limits import Limits
from sessioncast.shielding import to_the_end

Append = Callable[[Record], Awaitable[int]]
"""Records a batch and tells the last `seq`. What it raises may pass: then it is called again with the same."""

_LEAST_S = 0.5  # to wait for an answer, however little patience there is


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """Bounds of what waits to be recorded.

    Attributes:
        buffer_bytes: when so much waits in memory it goes to the spool; where that takes no more, `put` waits: the
            command's pipe fills and the command is held back.
        batch_bytes, batch_texts: one request carries no more. JSON may make six bytes of one (control characters),
            and the server takes 1 MiB.
    """

    buffer_bytes: int = 2**20
    batch_bytes: int = 128 * 1024
    batch_texts: int = 200


class Recorder:
    """Sends one batch after the other; while one is on its way the next one gathers.

    What is in the spool is older than what is in memory, and the batch on its way is older than both.

    Attributes:
        recorded: `seq` of the last text the server has confirmed.
        failure: why recording has ended before its time; from then on texts are dropped, and nothing waits.
        reason: why the last try to record failed, None once one has not.
        lost_from: `seq` of the first text that is dropped, None where none is.
        left: whether there is something that was not recorded, and is not going to be by us, but is in the spool.
    """

    def __init__(
        self,
        append: Append,
        limits: RecorderLimits | None = None,
        *,
        failed: Callable[[SessioncastError], None],
        spool: Spool | None = None,
        after: int = 0,
        give_up_after_s: float = 300.0,
        pauses: Limits | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            failed: called once, when recording ends before its time.
            after: `seq` of what the session said before.
            give_up_after_s: so long the server may be away while somebody waits for it: a command that is held back,
                or `finish`.
            pauses: between tries.
        """
        self.recorded = after
        self.failure: SessioncastError | None = None
        self.reason: SessioncastError | None = None
        self.lost_from: int | None = None
        self.left = False
        self._append = append
        self._limits = limits or RecorderLimits()
        self._failed = failed
        self._spool = spool
        self._give_up_after_s = max(give_up_after_s, _LEAST_S)
        self._backoff = Backoff(pauses or Limits())
        self._texts: deque[str] = deque()
        self._bytes = 0
        self._taken = after
        self._steps = 0
        self._flight: Record | None = None
        self._flight_spooled = False
        self._order = asyncio.Lock()
        self._closed = False
        self._hurry = asyncio.Event()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def put(self, text: str) -> None:
        """Take a text, once there is room for it."""
        while self._bytes >= self._limits.buffer_bytes and self.lost_from is None:
            # Meanwhile there may be room: what waited is on its way.
            if not await self._spill() and self._bytes >= self._limits.buffer_bytes:
                await self._wait_for_room()
        if self.lost_from is None:
            self._taken += 1
            self._texts.append(text)
            self._bytes += _size(text)
            self._filled.set()

    async def finish(self) -> None:
        """No more is coming: returns when all is recorded, or nothing more will be, or it is left in the spool.

        A server that is away is waited for; as long as it takes something, nothing is given up.
        """
        self._closed = True
        self._filled.set()
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            steps = -1
            while not self._task.done() and not self._hurry.is_set() and steps != self._steps:
                steps = self._steps
                waiting = {self._task, hurry}
                await asyncio.wait(waiting, timeout=self._give_up_after_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if self.failure is None and (self._flight is not None or self._texts or not self._spool_empty):
            await self._leave(self.reason or SessioncastError("no answer in time"))

    def give_up(self) -> None:
        """Wait for the server no longer. A batch on its way may or may not arrive."""
        self._hurry.set()
        if self._bytes >= self._limits.buffer_bytes:
            self._drop_from(self._taken + 1, self.reason or SessioncastError("stopped"))

    @property
    def _spool_empty(self) -> bool:
        return self._spool is None or self._spool.empty

    async def _run(self) -> None:
        try:
            await self._send_all()
        except (BadSpoolError, OSError) as error:  # what was written cannot be read
            self._fail(SessioncastError(f"the spool is lost: {error}"))

    async def _send_all(self) -> None:
        while (record := await self._next()) is not None:
            try:
                self.recorded = await self._append(record)
            except SessioncastError as error:
                if not passes(error):
                    self._fail(error)
                    return
                self.reason = error
                # Safe from now on, also if it is us who end next.
                await self._spill()
                asked_s = error.retry_after if isinstance(error, ProblemError) else None
                await asyncio.sleep(self._backoff.next_s(asked_s))
                continue
            self.reason = None
            self._backoff.reset()
            await self._done()

    async def _next(self) -> Record | None:
        """The oldest that is left; None: nothing is, and nothing is coming."""
        while self._flight is None:
            async with self._order:
                if self._spool is not None and not self._spool.empty:
                    self._flight, self._flight_spooled = await to_the_end(asyncio.to_thread(self._spool.first)), True
                elif self._texts:
                    self._flight, self._flight_spooled = self._take(), False
                    self._room.set()
            if self._flight is None:
                if self._closed:
                    return None
                self._filled.clear()
                await self._filled.wait()
        return self._flight

    async def _done(self) -> None:
        async with self._order:
            self._flight = None
            if self._flight_spooled and self._spool is not None:
                await to_the_end(asyncio.to_thread(self._spool.sent))
        self._steps += 1
        self._room.set()

    async def _spill(self, *, last: bool = False) -> bool:
        """Move what waits in memory to the disk; whether anything was moved."""
        spool = self._spool
        # Most times there is room for all or for nothing; the latter is found out before anything is moved about.
        if spool is None or not (last or spool.room >= min(self._bytes, self._limits.batch_bytes)):
            return False
        return await to_the_end(self._move(spool, last=last))

    async def _move(self, spool: Spool, *, last: bool) -> bool:
        async with self._order:
            # What is on its way comes first, lest it be lost with us.
            behind = self._flight is not None and not self._flight_spooled
            records = [self._flight] if behind and self._flight is not None else []
            while self._texts:
                records.append(self._take())
            taken = 0
            if records:
                with contextlib.suppress(OSError):  # a disk that is full holds the command back, as a full spool does
                    taken = await asyncio.to_thread(spool.add, records, last=last)
            self._flight_spooled = self._flight_spooled or (behind and taken > 0)
            for record in reversed(records[max(taken, int(behind)) :]):
                self._texts.extendleft(reversed(record.texts))
                self._bytes += sum(map(_size, record.texts))
            return taken > int(behind)

    async def _wait_for_room(self) -> None:
        """Until something was recorded; held back for too long by a server that is away, the rest is dropped."""
        self._room.clear()
        steps = self._steps
        try:
            async with asyncio.timeout(self._give_up_after_s):
                await self._room.wait()
        except TimeoutError:
            if self._steps == steps:
                # What was taken so far is sent all the same, should that be possible before the end.
                self._drop_from(self._taken + 1, self.reason or SessioncastError("the server takes nothing"))

    async def _leave(self, reason: SessioncastError) -> None:
        """What is not recorded by now is left in the spool, or lost."""
        self.reason = reason
        await self._spill(last=True)
        self.left = self._spool is not None and not self._spool.empty and not self._texts
        if not self.left:
            self._fail(reason)

    def _fail(self, error: SessioncastError) -> None:
        self.failure = error
        self._texts.clear()
        self._bytes = 0
        self._drop_from(self.recorded + 1, error)

    def _drop_from(self, seq: int, reason: SessioncastError) -> None:
        told, self.lost_from = self.lost_from, min(seq, self.lost_from or seq)
        self._room.set()
        if told is None:
            self._failed(reason)

    def _take(self) -> Record:
        batch: list[str] = []
        size = 0
        while self._texts and len(batch) < self._limits.batch_texts:
            size += _size(self._texts[0])
            if batch and size > self._limits.batch_bytes:
                break
            text = self._texts.popleft()
            self._bytes -= _size(text)
            batch.append(text)
        return Record(tuple(batch))


def passes(error: SessioncastError) -> bool:
    """Whether the same may be recorded later: all but our server's own «no» to it.

    A token that is no longer accepted may be followed by another.
    """
    match error:
        case ConnectionLost():
            return True
        case ProblemError(code=code, status=status):
            return error.retryable or not code or status >= 500 or status == 401
    return False


def _size(text: str) -> int:
    # Characters count as three bytes at most, which is what a replaced byte becomes; exact would mean encoding twice.
    return len(text) if text.isascii() else 3 * len(text)
