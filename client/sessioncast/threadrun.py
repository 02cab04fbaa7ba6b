"""The run of a thread: a stretch of work that has it to itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from sessioncast.afterwards import Afterwards
from sessioncast.errors import Fenced, SessioncastError
from sessioncast.identity import id_of
from sessioncast.limits import Limits
from sessioncast.messages import Item
from sessioncast.renewal import renewed
from sessioncast_shared.threads import Message, Thread, ThreadRun

if TYPE_CHECKING:  # the two need each other
    from sessioncast.threads import Threads

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunCalls:
    """What a run asks the server for.

    Attributes:
        begin: wait for the turn.
        renew: give a sign of life, in at most so many seconds.
        end: let the next one go on.
    """

    begin: Callable[[], Awaitable[ThreadRun]]
    renew: Callable[[str, float], Awaitable[None]]
    end: Callable[[str], Awaitable[None]]


class Run:
    """`async with client.threads.run(project, thread) as run:` waits for its turn, and ends it however it is left.

    Its lease is renewed in the background. When it is left because the task was cancelled, the server is told in the
    background, too. If it cannot be told, the run ends with its lease: nothing is raised for that, only logged.

    Attributes:
        over: it was left.
        project: of the thread.
        thread_id: of the thread.
        lost: `Fenced`, once the server has said that it is over before its time: the lease ran out, or the thread was
            deleted. None while it has not. The next change raises it.
    """

    def __init__(
        self,
        threads: "Threads",
        calls: RunCalls,
        limits: Limits,
        afterwards: Afterwards,
        project: str,
        thread: Thread | str,
    ) -> None:
        self.project = project
        self.thread_id = id_of(thread)
        self.lost: SessioncastError | None = None
        self.over = False
        self._threads = threads
        self._calls = calls
        self._limits = limits
        self._afterwards = afterwards
        self._run: ThreadRun | None = None
        self._renewal: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """What changes carry to be made in it.

        Raises:
            RuntimeError: it has not begun.
        """
        if self._run is None:
            raise RuntimeError("a run has no id before it has begun")
        return self._run.id

    async def append(self, items: Item | Iterable[Item]) -> Sequence[Message]:
        """Append messages, as `client.threads.append` does, without waiting; old ones go when the run ends.

        Raises:
            Fenced: the run was lost.
        """
        return await self._change(lambda: self._threads.append(self.project, self.thread_id, items, run=self.id))

    async def say(self, role: str, text: str) -> Message:
        """Append a plain text that somebody says."""
        return await self._change(lambda: self._threads.say(self.project, self.thread_id, role, text, run=self.id))

    async def pop(self) -> Message | None:
        """Take the newest message away; None: there is none."""
        return await self._change(lambda: self._threads.pop(self.project, self.thread_id, run=self.id))

    async def clear(self) -> Thread:
        """Take all messages away."""
        return await self._change(lambda: self._threads.clear(self.project, self.thread_id, run=self.id))

    async def messages(self, *, last: int | None = None, after: int | None = None) -> Sequence[Message]:
        """The thread's messages, oldest first, as `client.threads.messages` reads them."""
        return await self._threads.messages(self.project, self.thread_id, last=last, after=after)

    async def __aenter__(self) -> Self:
        if self._run is not None:
            raise RuntimeError("a run is entered once")
        self._run = await self._calls.begin()
        self._renewal = asyncio.create_task(self._renew(self._run))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is None or self._renewal is None:
            return
        self.over = True
        self._renewal.cancel()
        ending = asyncio.create_task(self._end(self._run))
        if isinstance(error, asyncio.CancelledError):
            self._afterwards.add(_done(ending), within_s=self._limits.give_up_s)
            return
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            self._afterwards.add(_done(ending), within_s=self._limits.give_up_s)
            raise

    def __repr__(self) -> str:
        return f"<run of thread {self.thread_id}>"

    async def _change(self, make: "Callable[[], Awaitable[T]]") -> T:
        if self.over:
            raise RuntimeError("the run is over")
        if self.lost is not None:
            raise self.lost
        try:
            return await make()
        except Fenced as error:
            self.lost = error
            raise

    async def _renew(self, run: ThreadRun) -> None:
        async def sign(within_s: float) -> bool:
            await self._calls.renew(run.id, within_s)
            return self.lost is None

        self.lost = await renewed(sign, run.lease_s) or self.lost

    async def _end(self, run: ThreadRun) -> None:
        try:
            await self._calls.end(run.id)
        except SessioncastError as error:
            _log.warning("A run could not be ended, and ends with its lease of %s s: %s", run.lease_s, error)


async def _done(ending: "asyncio.Task[None]") -> None:
    await ending
