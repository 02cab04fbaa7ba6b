"""Reads through a cache of this client's own."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from sessioncast.cache import Cache, Fetched
from sessioncast.cachevalues import Key, parsed
from sessioncast.errors import ConnectionLost, ProblemError
from sessioncast.sender import Sender
from sessioncast.stats import Counters
from sessioncast_shared.position import Position
from sessioncast_shared.resources import Session, TaskDetail

T = TypeVar("T")

_ASKS = 4
"""A read asks so often for an answer that is not older than what was seen: one is under way, one is of our own, and
one waits for the node that it meets."""


@dataclass(frozen=True, slots=True)
class Cached(Generic[T]):
    """What a read through the cache gives.

    Attributes:
        value: the resource.
        stale: it is older than it should be; the server is being asked.
        age_s: seconds since the server confirmed it.
    """

    value: T
    stale: bool
    age_s: float


class CachedReads:
    """`client.cached`: reads that mostly need no request.

    What was read is given for 10 seconds (give or take a tenth) without asking; who reads in the last fifth of them has
    it read again in the background. For a minute more it is given at once, marked as stale, while the server is asked.
    One question per resource at a time, however many want it, and one that names what is known: nothing new, nothing
    sent.

    Never is anything given that is older than what this client had seen of it when it was asked for, by whatever way:
    events and snapshots of its subscriptions and mirrors, its own writes, its other reads. From the first use of
    `client.cached` on, that is: who never uses it pays nothing.
    """

    def __init__(
        self,
        sender: Sender,
        counters: Counters,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is known.

        Args:
            clock: seconds, of whatever beginning.
            jitter: gives a number from 0 up to 1.
        """
        self._sender = sender
        self._counters = counters
        self._clock = clock
        self._cache = sender.witness = Cache(clock=clock, jitter=jitter)
        self._asking: dict[Key, asyncio.Task[Fetched]] = {}

    @property
    def cache(self) -> Cache:
        """What it knows."""
        return self._cache

    async def session(self, session: str) -> Cached[Session]:
        """A session, also a deleted one.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return await self._read(Key("session", session))

    async def task(self, task: str) -> Cached[TaskDetail]:
        """A task with its live sessions by phase.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return await self._read(Key("task", task))

    async def sessions(self, task: str) -> Cached[tuple[Session, ...]]:
        """The live sessions of a task, newest first."""
        return await self._read(Key("sessions", task))

    async def aclose(self) -> None:
        """Ask no more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, key: Key) -> Cached[Any]:
        found = self._cache.look(key)
        if found is None:
            self._counters.cache_misses += 1
            return Cached(await self._fetched(key), False, 0.0)
        if found.stale:
            self._counters.cache_stale += 1
        else:
            self._counters.cache_hits += 1
        if found.due:
            self._ask(key)
        return Cached(found.value, found.stale, found.age_s)

    async def _fetched(self, key: Key) -> Any:
        """What the server has, not older than what was seen when this was called."""
        called, floor = self._cache.now, self._cache.floor(key)
        at_least: Position | None = None
        for _ in range(_ASKS):
            answer = await self._answered_by(self._ask(key, at_least))
            if self._cache.is_current(key, answer) or (answer.began >= called and answer.reaches(floor)):
                return answer.value
            if not answer.reaches(floor):
                at_least = floor
        raise ConnectionLost(_path(key), "the server's answers are older than what was seen of it")

    async def _answered_by(self, asking: "asyncio.Task[Fetched]") -> Fetched:
        """Its answer. Others may wait for the same: who leaves does not end it."""
        await asyncio.wait({asking})
        if asking.cancelled():
            raise ConnectionLost("cached", "the client was closed")
        return asking.result()

    def _ask(self, key: Key, at_least: Position | None = None) -> "asyncio.Task[Fetched]":
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._answer(key, at_least))
            asking.add_done_callback(lambda task: self._answered(key, task))
        return asking

    def _answered(self, key: Key, asking: "asyncio.Task[Fetched]") -> None:
        del self._asking[key]
        if not asking.cancelled():
            asking.exception()  # seen: of one in the background nobody asks for it

    async def _answer(self, key: Key, at_least: Position | None) -> Fetched:
        began, known = self._cache.now, self._cache.known(key)
        headers = {} if known is None or at_least is not None else {"If-None-Match": known.etag}
        query = [] if at_least is None else [("min_position", str(at_least))]
        try:
            answer = await self._sender.send("GET", _path(key), query=query, headers=headers)
        except ProblemError as error:
            if not error.retryable:
                self._cache.drop(key)  # it is not there any more, or not for us
            raise
        unchanged = known if answer.status == 304 else None
        value = parsed(key, answer) if unchanged is None else unchanged.value
        etag = answer.headers.get("etag") if unchanged is None else unchanged.etag
        place = None if answer.position is None else Position.parse(answer.position)
        fetched = Fetched(value, etag, place, began)
        self._cache.store(key, fetched)
        return fetched


def _path(key: Key) -> str:
    id_ = quote(key.id, safe="")
    return {"session": f"/v1/sessions/{id_}", "task": f"/v1/tasks/{id_}", "sessions": f"/v1/tasks/{id_}/sessions"}[
        key.kind
    ]
