"""Cache-aside: look in the caches, else load, and keep what was loaded. No I/O of its own.

Why it never gives what the one who asks knows to be old. An answer from a cache, or from a load that was begun before
the question, is given only while it is vouched for (`channels.watch`), which is by position and at that moment. A load
that was begun after the question needs nobody's word: it has all that was committed before. So no event has to find
and drop anything here, and a load that an event overtook does no harm: it is not vouched for, and is loaded again.

Early refresh: an answer near its end is given, and loaded anew in the background by the first who meets it, so that
no question waits for it (as `refreshAfterWrite` of Caffeine does). That one load at a time is begun for a key makes
the dice of «Optimal Probabilistic Cache Stampede Prevention» (Vattani, Chierichetti, Lowenstein, VLDB 2015)
unnecessary within a node; between nodes the lives are spread.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from sessioncast_server.cache.base import Cache, Kept, Key
from sessioncast_shared.position import Position

_log = structlog.get_logger(__name__)

Source = Literal["memory", "redis", "store"]
Outcome = Literal["hit", "joined", "miss", "stale", "refresh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsideLimits:
    """Bounds of what is kept.

    Attributes:
        ttl_s: life of an answer.
        spread: share by which a life is longer or shorter, at random: what came at once does not go at once.
        early: share of the life at whose end an answer is loaded anew before it is missed.
        body_max: bytes of a body; a larger one is not kept.
        background: loads ahead of time, and writes to the far cache, at a time (each); more are left undone.
    """

    ttl_s: float = 10.0
    spread: float = 0.1
    early: float = 0.2
    body_max: int = 256 * 1024
    background: int = 8


@dataclass(frozen=True, slots=True)
class Given:
    """An answer.

    Attributes:
        upto: position up to which it is true; not below the one it was read at.
        source: where it came from.
        joined: whether it was loaded for another question.
    """

    kept: Kept
    upto: Position
    source: Source
    joined: bool = False


class Aside:
    """A near cache, perhaps a far one, and what is behind them.

    Args:
        load: reads an answer from the store; None when there is nothing to answer, which is not kept.
        vouch: up to where an answer is known to be still true; None when it is not known to be.
        count: hears what became of each question, and of each refresh.
        dice: a number from 0 to 1.
    """

    def __init__(
        self,
        near: Cache,
        far: Cache | None,
        *,
        load: Callable[[Key], Awaitable[Kept | None]],
        vouch: Callable[[Key, Kept], Position | None],
        limits: AsideLimits,
        count: Callable[[Outcome], None],
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._near = near
        self._far = far
        self._load = load
        self._vouch = vouch
        self._limits = limits
        self._count = count
        self._dice = dice
        self._flights: dict[Key, asyncio.Task[Given | None]] = {}
        self._refreshing: set[asyncio.Task[None]] = set()
        self._putting: set[asyncio.Task[None]] = set()

    async def get(self, key: Key) -> Given | None:
        """The answer, or None when there is none. Raises what `load` raises."""
        found = await self._near.get(key)
        if found is not None:
            upto = self._vouch(key, found.kept)
            if upto is not None:
                self._count("hit")
                if found.left_s < self._limits.early * self._limits.ttl_s:
                    self._refresh(key)
                return Given(found.kept, upto, "memory")
        flight = self._flights.get(key)
        if flight is not None:
            given = await asyncio.shield(flight)
            if given is not None and (upto := self._vouch(key, given.kept)) is not None:
                self._count("joined")
                return Given(given.kept, upto, given.source, joined=True)
            # That flight left the table before it ended: one that is there now was begun after this question.
        self._count("miss" if found is None else "stale")
        return await self._second(key) if key in self._flights else await asyncio.shield(self._fly(key))

    async def _second(self, key: Key) -> Given | None:
        given = await asyncio.shield(self._flights[key])
        return None if given is None else replace(given, joined=True)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._flights.values(), *self._refreshing, *self._putting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._near.close()
        if self._far is not None:
            await self._far.close()

    def _fly(self, key: Key, *, past_far: bool = False) -> "asyncio.Task[Given | None]":
        flight = asyncio.get_running_loop().create_task(self._flown(key, past_far=past_far))
        self._flights[key] = flight
        # Whoever waited may have gone: what it failed of concerns nobody then.
        flight.add_done_callback(lambda done: done.cancelled() or done.exception())
        return flight

    async def _flown(self, key: Key, *, past_far: bool) -> Given | None:
        try:
            return (None if past_far else await self._from_far(key)) or await self._from_store(key)
        finally:
            del self._flights[key]

    async def _from_far(self, key: Key) -> Given | None:
        found = None if self._far is None else await self._far.get(key)
        if found is None or (upto := self._vouch(key, found.kept)) is None:
            return None
        await self._near.put(key, found.kept, min(found.left_s, self._limits.ttl_s))
        return Given(found.kept, upto, "redis")

    async def _from_store(self, key: Key) -> Given | None:
        kept = await self._load(key)
        if kept is None:
            return None
        upto = self._vouch(key, kept)
        if upto is not None and len(kept.body) <= self._limits.body_max:
            life_s = self._limits.ttl_s * (1 + self._limits.spread * (2 * self._dice() - 1))
            await self._near.put(key, kept, life_s)
            if self._far is not None:
                self._in_background(self._putting, self._far.put(key, kept, life_s))
        return Given(kept, upto or kept.at, "store")

    def _refresh(self, key: Key) -> None:
        if key not in self._flights and len(self._refreshing) < self._limits.background:
            self._in_background(self._refreshing, self._refreshed(key, self._fly(key, past_far=True)))

    async def _refreshed(self, key: Key, flight: "asyncio.Task[Given | None]") -> None:
        self._count("refresh")
        try:
            await asyncio.shield(flight)
        except Exception as error:  # noqa: BLE001  the answer lives to its end, and whoever misses it is told
            _log.warning("an answer could not be loaded ahead of time", task=key.task_id, error=str(error))

    def _in_background(self, tasks: "set[asyncio.Task[None]]", work: Coroutine[None, None, None]) -> None:
        if len(tasks) >= self._limits.background:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
