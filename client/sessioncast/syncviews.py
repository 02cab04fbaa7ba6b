"""What objects of the client look like to a program that is not async. Types only: the objects are `Blocking` views."""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self

from sessioncast.cached import Cached
from sessioncast.errors import ConnectionLost, ProblemError
from sessioncast.live.change import Change
from sessioncast.streams.items import Item, StreamState
from sessioncast.streams.ways import TransportName
from sessioncast_shared.providers import ProviderSession, Totals
from sessioncast_shared.resources import Session, Task, TaskDetail
from sessioncast_shared.threads import Message, Thread


class _Block(Protocol):
    """Used by `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool: ...


class SyncSubscription(_Block, Protocol):
    """`Subscription`."""

    position: str | None
    state: StreamState
    transport: TransportName | None
    last_error: ConnectionLost | ProblemError | None
    heard_at: float | None

    def __iter__(self) -> Iterator[Item]: ...

    def __next__(self) -> Item: ...

    def aclose(self) -> None:
        """Give the connection up and end the iteration, also one that another thread is waiting in."""


class SyncLive(_Block, Protocol):
    """`Live`. Its mappings are as they were when they were asked for: the loop's thread goes on meanwhile."""

    tasks: Mapping[str, Task]
    sessions: Mapping[str, Session]
    provider_sessions: Mapping[str, ProviderSession]
    totals: Mapping[str, Totals]
    threads: list[Thread]
    position: str | None
    state: StreamState
    stale: bool
    transport: TransportName | None
    last_error: ConnectionLost | ProblemError | None
    heard_at: float | None

    def __iter__(self) -> Iterator[Change]: ...

    def __next__(self) -> Change: ...

    def messages(self, thread: str, user: str | None = None) -> list[Message]:
        """A thread's messages, oldest first."""

    def until(self, condition: Callable[[Session], bool], *, session: str | None = None) -> Session:
        """The first session that fulfils it. `condition` is called in the loop's thread."""

    def refresh(self) -> list[Change]:
        """Compare with the server now."""


class SyncCached(Protocol):
    """`CachedReads`."""

    def session(self, session: str) -> Cached[Session]: ...

    def task(self, task: str) -> Cached[TaskDetail]: ...

    def sessions(self, task: str) -> Cached[tuple[Session, ...]]: ...
