"""The client for programs that are not async."""

import asyncio
from collections.abc import Awaitable
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sessioncast.blocking import Blocking
from sessioncast.client import Client
from sessioncast.onloop import OnLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sessioncast.backend import Backend
    from sessioncast.credentials import TokenSource
    from sessioncast.limits import Limits
    from sessioncast.sender import OnRetry
    from sessioncast.stats import Stats
    from sessioncast.streams.items import StreamState
    from sessioncast.streams.subscription import WhenFull
    from sessioncast.streams.tracker import SnapshotWish
    from sessioncast.streams.ways import TransportWish
    from sessioncast.syncviews import SyncCached, SyncLive, SyncSubscription
    from sessioncast_shared.events import Kind


class SyncClient:
    """`Client`, to be used by `with`, from any number of threads: all that is async there blocks here.

    Methods return when they are done, `async with` is `with`, `async for` is `for`. The requests are made by the async
    client, on an event loop in a thread of its own. Functions that are handed in (`attempt.run(fn)`) are called in the
    thread that waits for them, those of background work (`keep_fresh`) in another; what they are given blocks, too.
    `on_retry`, `on_state` and a function for `token` are called in the loop's thread and must not block.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        token: "TokenSource | None" = None,
        *,
        user: str | None = None,
        limits: "Limits | None" = None,
        on_retry: "OnRetry | None" = None,
        backend: "Backend | None" = None,
    ) -> None:
        """As for `Client`."""
        self._make = partial(Client, url, token, user=user, limits=limits, on_retry=on_retry, backend=backend)
        self._stack: ExitStack | None = None
        self._on: OnLoop | None = None
        self._client: Any = None

    if TYPE_CHECKING:  # what `__getattr__` gives, for who reads types

        @property
        def cached(self) -> SyncCached: ...

        def subscribe(
            self,
            project: str,
            *,
            task: str | Iterable[str] = (),
            session: str | Iterable[str] = (),
            thread: str | Iterable[str] = (),
            kinds: Iterable[Kind | str] | None = None,
            position: str | None = None,
            snapshot: SnapshotWish = "auto",
            transport: TransportWish = "auto",
            when_full: WhenFull = "error",
            on_state: Callable[[StreamState], None] | None = None,
        ) -> SyncSubscription: ...

        def live(
            self,
            project: str,
            *,
            task: str | Iterable[str] = (),
            session: str | Iterable[str] = (),
            thread: str | Iterable[str] = (),
            kinds: Iterable[Kind | str] | None = None,
            transport: TransportWish = "auto",
            on_state: Callable[[StreamState], None] | None = None,
            check_s: float = 60.0,
        ) -> SyncLive: ...

        def stats(self) -> Stats: ...

    def __enter__(self) -> Self:
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415  only what is used is loaded

        if self._stack is not None:
            raise RuntimeError("it is open already")
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio"))
            self._on = OnLoop(portal.call(_running_loop))
            self._client = stack.enter_context(Blocking(self._on.do(self._make), self._on))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack, self._client, self._on = self._stack, None, None, None
        if stack is not None:
            stack.close()

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        """What an awaitable of this client's gives, where one came along in an answer."""
        if self._on is None:
            raise RuntimeError("use it by «with»")
        return self._on.do(lambda: awaitable)

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            raise RuntimeError("use it by «with»")
        return getattr(self._client, name)


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
