"""A mirror of the server's state that keeps itself."""

import asyncio
import contextlib
import inspect
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Self

from sessioncast.errors import ConnectionLost, ProblemError, SessioncastError
from sessioncast.live.change import Change, Changes
from sessioncast.live.check import Check
from sessioncast.live.large import Large
from sessioncast.live.mirror import Mirror
from sessioncast.live.reading import Reading
from sessioncast.reports import Reports
from sessioncast.sender import Sender
from sessioncast.stats import Counters
from sessioncast.streams.items import Item, Snapshot, StreamState
from sessioncast.streams.subscription import Subscription
from sessioncast.streams.ways import TransportName
from sessioncast_shared.filters import Filter
from sessioncast_shared.position import Position
from sessioncast_shared.providers import ProviderSession, Totals
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

_TURN = 256
"""Items that are taken in one go."""
_LEFT_MAX = 1000
"""Sessions that have left and are remembered."""
_RETRY_S = 5.0
"""What was too large and could not be read is read again after so long."""


class Live(AsyncIterator[Change]):
    """Objects that are always those of now: `async with` it, and look whenever you want.

    Entering waits for the first whole state, for as long as it takes, and raises what the server refuses with.
    Iterating gives what has changed since; of a resource that changed several times before it was asked for, one
    change from the first state to the last, so that who is slow is never behind, and needs no more memory.

    Attributes:
        last_error: why the connection is not open, None while it is.
    """

    def __init__(
        self, subscription: Subscription, mirror: Mirror, check: Check, large: Large, *, check_s: float
    ) -> None:
        self._subscription = subscription
        self._mirror = mirror
        self._check = check
        self._large = large
        self._check_s = check_s
        self._changes = Changes()
        self._news = asyncio.Event()
        self._left: OrderedDict[str, Session] = OrderedDict()
        self._waiting: dict[asyncio.Future[Session], Callable[[Session], None]] = {}
        self._loaded = False
        self._failure: Exception | None = None
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._filling: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Tasks by id."""
        return self._mirror.tasks

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Live sessions by id."""
        return self._mirror.sessions

    @property
    def provider_sessions(self) -> Mapping[str, ProviderSession]:
        """Heads of the live sessions' chains, and what was told of them since, by the id of their row."""
        return self._mirror.provider_sessions

    @property
    def totals(self) -> Mapping[str, Totals]:
        """Usage by task, of those that a provider session ended of since this was entered."""
        return self._mirror.totals

    @property
    def threads(self) -> list[Thread]:
        """The threads that the filter names."""
        return self._mirror.threads

    def messages(self, thread: str, user: str | None = None) -> list[Message]:
        """A thread's messages, oldest first. `user`: whose, where several users have a thread of that id."""
        return self._mirror.messages(thread, user)

    @property
    def position(self) -> str | None:
        """Where in the log this state is."""
        return self._mirror.position

    @property
    def state(self) -> StreamState:
        """Where the connection stands."""
        return self._subscription.state

    @property
    def stale(self) -> bool:
        """Whether nothing was heard for twice as long as it should take: what is shown may be old."""
        return self._subscription.overdue

    @property
    def transport(self) -> TransportName | None:
        """What carries it now."""
        return self._subscription.transport

    @property
    def heard_at(self) -> float | None:
        """When the server was last heard, by the event loop's clock."""
        return self._subscription.heard_at

    @property
    def last_error(self) -> ConnectionLost | ProblemError | None:
        """See the class."""
        return self._subscription.last_error

    async def refresh(self) -> list[Change]:
        """Compare with the server now, and take what it has where that differs: these changes are given.

        Raises:
            ConnectionLost, ProblemError: it cannot be asked.
        """
        return await self._compare(whole=True)

    async def until(self, condition: Callable[[Session], bool], *, session: str | None = None) -> Session:
        """The first session that fulfils it: of those there are now, then of each state that any of them gets into.

        One that leaves (replaced, deleted) is looked at in its last state, too. Bound it by `asyncio.timeout`.

        Args:
            session: only this one, also when it has left already.

        Raises:
            SessioncastError: the subscription has ended.
            TypeError: the condition is async, and so would be true at once.
        """
        if inspect.iscoroutinefunction(condition):
            raise TypeError("a condition is looked at between two events; it cannot be async")
        self._raise()
        left = None if session is None else self._left.get(session)
        for known in [*self.sessions.values(), *([] if left is None else [left])]:
            if session in (None, known.id) and condition(known):
                return known
        found: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

        def look(one: Session) -> None:
            if session in (None, one.id) and not found.done():
                try:
                    if condition(one):
                        found.set_result(one)
                except Exception as error:  # noqa: BLE001  whatever it is, it is the waiter's
                    found.set_exception(error)

        self._waiting[found] = look
        try:
            return await found
        finally:
            del self._waiting[found]

    async def __anext__(self) -> Change:
        """The next change; see the class.

        Raises:
            SessioncastError: the subscription has ended, and all changes before that were given.
        """
        while True:
            change = self._changes.take()
            if change is not None:
                return change
            if self._closed and self._failure is None:
                raise StopAsyncIteration
            self._raise()
            await self._wait()

    async def __aenter__(self) -> Self:
        if self._tasks or self._closed:
            raise RuntimeError("it can be entered once")
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look())]
        try:
            while not self._loaded:
                self._raise()
                await self._wait()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Follow no more. What was seen last can still be looked at."""
        self._closed = True
        await self._subscription.aclose()  # ends following by itself
        others = [*self._tasks[1:], *([] if self._filling is None else [self._filling])]
        for task in others:
            task.cancel()
        await asyncio.gather(*self._tasks, *others, return_exceptions=True)
        self._end(ConnectionLost("live", "it was closed"))

    async def _follow(self) -> None:
        count = 0
        try:
            async for item in self._subscription:
                self._take(item)
                count += 1
                if count % _TURN == 0:
                    await asyncio.sleep(0)  # what has come already is given without waiting: others want a turn, too
        except Exception as error:  # noqa: BLE001  whatever it is (a token's function may raise): who waits is told
            self._failure = error
            await self._subscription.aclose()  # what is shown is not kept up any more, and must not look as if it were
            self._end(error)
        else:
            self._closed = True  # by its client, if not by us
            self._end(ConnectionLost("live", "it was closed"))

    def _take(self, item: Item) -> None:
        self._tell(self._mirror.take(item))
        if isinstance(item, Snapshot):
            if self._filling is not None:
                self._filling.cancel()
                self._filling = None
            if item.too_large:
                self._filling = asyncio.create_task(self._fill())
            else:
                self._loaded = True
            self._news.set()

    async def _fill(self) -> None:
        """Read what was too large, part by part, while events go on."""
        while True:
            try:
                async for covered, part in self._large.parts():
                    self._tell(self._mirror.fill(part, covered))
            except Exception as error:  # noqa: BLE001  whatever it is: who waits is told
                passes = isinstance(error, ConnectionLost) or (isinstance(error, ProblemError) and error.retryable)
                if not passes:
                    self._failure = error
                    self._end(error)
                    return
                await asyncio.sleep(_RETRY_S)
            else:
                self._loaded = True
                self._news.set()
                return

    async def _look(self) -> None:
        """The full check, now and then; over polls, too: they tell of events, and what no event told of is to be found.

        When all has ended nothing is polled for, and nothing compared.
        """
        while True:
            await asyncio.sleep(self._check_s)
            if self.state is StreamState.OPEN and self._loaded and not self._subscription.asleep:
                with contextlib.suppress(SessioncastError):  # it is looked again
                    await self._compare(whole=False)

    async def _compare(self, *, whole: bool) -> list[Change]:
        changes = await self._check.run(self._mirror, self._reached, whole=whole)
        self._tell(changes)
        return changes

    def _reached(self, position: str) -> bool:
        here = self._subscription.position
        if here is None:
            return False
        mine, theirs = Position.parse(here), Position.parse(position)
        return mine.epoch == theirs.epoch and mine.offset >= theirs.offset

    def _tell(self, changes: list[Change]) -> None:
        if not changes:
            return
        for change in changes:
            self._changes.add(change)
            state = change.after or change.last
            if isinstance(state, Session):
                self._keep(state, left=change.after is None)
                for look in list(self._waiting.values()):
                    look(state)
        self._news.set()

    def _keep(self, session: Session, *, left: bool) -> None:
        """Remember the last states of those that left lately, for who asks for one of them later."""
        self._left.pop(session.id, None)
        if left:
            self._left[session.id] = session
            if len(self._left) > _LEFT_MAX:
                self._left.popitem(last=False)

    def _end(self, error: Exception) -> None:
        for found in self._waiting:
            if not found.done():
                found.set_exception(error)
        self._news.set()

    def _raise(self) -> None:
        if not self._tasks:
            raise RuntimeError("use it by «async with»")
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise ConnectionLost("live", "it was closed")

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


def live(
    subscription: Subscription,
    sender: Sender,
    counters: Counters,
    reports: Reports,
    project: str,
    wanted: Filter,
    *,
    check_s: float,
) -> Live:
    """A mirror of what a subscription covers, with all that it is made of."""
    reading = Reading(sender, project, wanted)
    check = Check(reading, counters, reports)
    return Live(subscription, Mirror(kinds=wanted.kinds), check, Large(sender, reading), check_s=check_s)
