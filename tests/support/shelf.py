"""A store, a channel and a clock by plain calls, for what keeps answers."""

import asyncio
from collections import Counter

from sessioncast_server.cache.aside import Aside, AsideLimits
from sessioncast_server.cache.base import Cache, Kept, Key
from sessioncast_server.cache.memory import MemoryCache
from sessioncast_shared.position import Position


class Shelf:
    """Tasks of one project whose version is the offset of their last event, and a cache of them.

    Attributes:
        versions: what the store holds.
        heard: what the node has heard of: offsets by task, and up to where.
        now: seconds of the clock.
        dice: what is thrown for the life of the next answer.
        loads: how many were begun.
        holding: whether loads wait until `land`; else they are done at once.
        counted: outcomes.
        followed: whether the project is.
    """

    def __init__(self, *, far: Cache | None = None, entries: int = 100, **limits: float) -> None:
        self.versions: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.last = self.store_last = 0
        self.now = 0.0
        self.dice = 0.5
        self.loads = 0
        self.holding = False
        self.size = 10
        self.broken: Exception | None = None
        self.followed = True
        self.counted: Counter[str] = Counter()
        self._held: list[tuple[asyncio.Event, asyncio.Event]] = []
        self.near = MemoryCache(entries=entries, size=1 << 20, clock=lambda: self.now)
        self.aside = Aside(
            self.near,
            far,
            load=self._load,
            vouch=self._vouch,
            limits=AsideLimits(**limits),  # type: ignore[arg-type]  # whole numbers are floats here
            count=lambda outcome: self.counted.update([outcome]),
            dice=lambda: self.dice,
        )

    def write(self, task: str, *, heard: bool = True) -> None:
        """One event more of a task."""
        self.store_last += 1
        self.versions[task] = self.store_last
        if heard:
            self.hear()

    def hear(self) -> None:
        """The node hears of everything that was written."""
        self.heard = dict(self.versions)
        self.last = self.store_last

    def kept(self, task: str) -> Kept:
        """What the store would answer now."""
        version = self.versions.get(task, 0)
        return Kept("p", Position("e", self.store_last), f'"{version}"', b"x" * self.size)

    async def ask(self, task: str = "a") -> int:
        """The version in the answer."""
        given = await self.aside.get(Key(task, "v"))
        assert given is not None
        assert given.upto.offset >= given.kept.at.offset
        return int(given.kept.etag.strip('"'))

    def asking(self, task: str = "a") -> "asyncio.Task[int]":
        """The same, begun."""
        return asyncio.get_running_loop().create_task(self.ask(task))

    async def turns(self, count: int = 10) -> None:
        """Let everything run that can."""
        for _ in range(count):
            await asyncio.sleep(0)

    @property
    def held(self) -> int:
        """Loads that wait to be landed."""
        return len(self._held)

    def read(self, which: int = 0) -> None:
        """A held load reads the store."""
        self._held[which][0].set()

    async def land(self, which: int = 0) -> None:
        """A held load reads, if it has not, and comes back."""
        reads, lands = self._held.pop(which)
        reads.set()
        await self.turns()
        lands.set()
        await self.turns()

    async def _load(self, key: Key) -> Kept | None:
        self.loads += 1
        lands = None
        if self.holding:
            reads, lands = asyncio.Event(), asyncio.Event()
            self._held.append((reads, lands))
            await reads.wait()
        if self.broken is not None:
            raise self.broken
        kept = self.kept(key.task_id) if key.task_id in self.versions else None
        if lands is not None:
            await lands.wait()
        return kept

    def _vouch(self, key: Key, kept: Kept) -> Position | None:
        known = self.followed and self.heard.get(key.task_id, 0) <= kept.at.offset <= self.last
        return Position("e", self.last) if known else None
