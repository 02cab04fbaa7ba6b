"""What happens to a session while pages look at it, and when each of them sees it."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sessioncast import Client
from sessioncast_shared.resources import Session

_EVERY_S = (1.5, 4.5)
"""Seconds between two changes of a session that works, evenly spread."""
_TAIL_S = 5.0
"""So long before the end nothing changes any more: who polls must have the time to see the last change."""
_STATUSES = ("working", "waiting", "running")
_KINDS = ("output", "metadata", "output", "status")
FILES = [f"src/components/agents/part-{number}/thread-sidebar.tsx" for number in range(40)]
"""Changed files of the session's worktree: its metadata are some 2 kB, as a page with a git section needs them."""

SceneName = Literal["quiet", "working", "ends"]
SCENES: tuple[SceneName, ...] = ("quiet", "working", "ends")


@dataclass(frozen=True, slots=True)
class Change:
    """One that was made.

    Attributes:
        at: just before it was asked for, on the event loop's clock.
        wall: the same in Unix time.
        version, output_seq: of the session that has it; 0: it did not move.
    """

    at: float
    wall: float
    version: int = 0
    output_seq: int = 0

    def is_in(self, version: int, output_seq: int) -> bool:
        """Whether a session shows it."""
        return version >= self.version and output_seq >= self.output_seq


@dataclass(slots=True)
class Sightings:
    """What one page saw of the session, in order: time, version, and `output_seq`."""

    seen: list[tuple[float, int, int]] = field(default_factory=list)

    def note(self, at: float, version: int, output_seq: int) -> None:
        """It shows a session."""
        if not self.seen or self.seen[-1][1:] != (version, output_seq):
            self.seen.append((at, version, output_seq))

    def delays(self, changes: list[Change], *, wall: bool = False) -> list[float | None]:
        """Seconds from each change to when it was first shown; None: never."""
        return [self._delay(change, change.wall if wall else change.at) for change in changes]

    def _delay(self, change: Change, since: float) -> float | None:
        return next((at - since for at, *shown in self.seen if change.is_in(shown[0], shown[1])), None)


@dataclass(frozen=True, slots=True)
class Watched:
    """A session that pages look at."""

    project: str
    task: str
    session: str


async def furnish(client: Client, scene: SceneName, name: str) -> Watched:
    """A project with a task and a session in it: one that works, or a quiet one."""
    await client.projects.put(name)
    task = await client.tasks.create(name, "Dedupe polling", metadata={"branch": "main"})
    metadata = {"worktree": "wt-1", "files": FILES, "step": 0}
    started = await client.sessions.start(task.id, "run", "model-a", metadata=metadata)
    await client.sessions.patch(started.session.id, status="idle" if scene == "quiet" else "running")
    return Watched(name, task.id, started.session.id)


async def happen(client: Client, scene: SceneName, session: str, seconds: float, seed: int) -> list[Change]:
    """Change the session for some seconds, as its scene is; the changes that were made."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    over = began + seconds
    last = over - min(_TAIL_S, seconds / 2)
    if scene == "ends":
        last = began + (last - began) / 2
    changes: list[Change] = []
    if scene != "quiet":
        for number, wait in enumerate(_waits(seed)):
            if loop.time() + wait > last:
                break
            await asyncio.sleep(wait)
            changes.append(await _change(client, session, _KINDS[number % len(_KINDS)], number))
    if scene == "ends":
        changes.append(await _change(client, session, "end", 0))
    await asyncio.sleep(max(0.0, over - loop.time()))
    return changes


def _waits(seed: int) -> Iterator[float]:
    chance = random.Random(seed)
    yield chance.uniform(0.1, 1.0)
    while True:
        yield chance.uniform(*_EVERY_S)


async def _change(client: Client, session: str, kind: str, number: int) -> Change:
    at, wall = asyncio.get_running_loop().time(), time.time()
    if kind == "output":
        written = await client.sessions.append(session, [("log", f"Step {number} is done.\n")])
        return Change(at, wall, output_seq=written.last)
    changed: Session
    if kind == "metadata":
        changed = await client.sessions.patch(session, metadata={"step": number})
    else:
        status = "completed" if kind == "end" else _STATUSES[number // len(_KINDS) % len(_STATUSES)]
        changed = await client.sessions.patch(session, status=status)
    return Change(at, wall, version=changed.version)
