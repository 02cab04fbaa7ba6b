"""Reads of the store that many ask for at once, done for all of them together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

WOKEN_AT_ONCE = 32
"""Sharers that one loop turn tells the outcome: each of them goes on to open a stream."""


class SharedReads(Generic[K, V]):
    """Reads by key; who comes while one is under way shares the next one with all others who do.

    Not the one under way: it may have begun before what is asked for was committed. A read begins after everybody
    who shares it has come, so whatever they could know of then is in it.

    Bounds: two reads of a key at once never, one waiting list per key; who waits is bounded by the caller.
    """

    def __init__(self) -> None:
        self._waiting: dict[K, list[asyncio.Future[V]]] = {}  # by key of a read under way
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def keys(self) -> int:
        """Keys whose reads are under way."""
        return len(self._waiting)

    async def get(self, key: K, read: Callable[[], Awaitable[V]]) -> V:
        """What `read` answers for the key, or somebody else's `read` that begins after this call.

        Raises:
            Exception: what the read raised, to each who shared it.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            # The usual case: nobody else is there, so no task is made. Its cancellation is nobody else's business.
            self._waiting[key] = []
            try:
                return await read()
            finally:
                self._go_on(key, read)
        sharer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        waiting.append(sharer)
        return await sharer

    def _go_on(self, key: K, read: Callable[[], Awaitable[V]]) -> None:
        if self._waiting[key]:
            task = asyncio.get_running_loop().create_task(self._read_on(key, read))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            del self._waiting[key]

    async def _read_on(self, key: K, read: Callable[[], Awaitable[V]]) -> None:
        """Read for those who wait, for as long as there are any. A task of its own, which no sharer cancels."""
        sharers: list[asyncio.Future[V]] = []
        try:
            while self._waiting[key]:
                sharers, self._waiting[key] = self._waiting[key], []
                if all(sharer.done() for sharer in sharers):
                    continue  # all of them left
                try:
                    value = await read()
                except Exception as error:  # noqa: BLE001  whatever it was is each sharer's to raise
                    _hand_out(deque(sharers), _fail_with(error))
                else:
                    _hand_out(deque(sharers), _answer_with(value))
        except BaseException:  # the loop ends: nobody is left waiting
            for sharer in [*sharers, *self._waiting[key]]:
                sharer.cancel()
            raise
        finally:
            del self._waiting[key]


def _answer_with(value: V) -> Callable[["asyncio.Future[V]"], None]:
    return lambda sharer: sharer.set_result(value)


def _fail_with(error: Exception) -> Callable[["asyncio.Future[V]"], None]:
    return lambda sharer: sharer.set_exception(error)


def _hand_out(sharers: "deque[asyncio.Future[V]]", settle: Callable[["asyncio.Future[V]"], None]) -> None:
    """Tell so many sharers, and the others in the turns to come."""
    told = 0
    while sharers and told < WOKEN_AT_ONCE:
        sharer = sharers.popleft()
        if not sharer.done():  # else it was cancelled
            settle(sharer)
            told += 1
    if sharers:
        asyncio.get_running_loop().call_soon(_hand_out, sharers, settle)
