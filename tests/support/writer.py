"""Somebody who keeps changing a project, and remembers what was acknowledged."""

import asyncio
import time
from dataclasses import dataclass
from itertools import count
from typing import Self
from uuid import uuid4

import httpx2

from support.waiting import until


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A change that was answered with success.

    Attributes:
        at: monotonic seconds of the answer.
        seconds: from the request to the answer.
    """

    title: str
    position: str
    at: float
    seconds: float


class Writer:
    """Creates tasks, one after another and with a short pause between them, until it is left.

    Attributes:
        acknowledged: in the order in which they were answered.
        failed: what was answered or raised instead.
    """

    def __init__(self, url: str, project: str, *, pause_s: float = 0.005) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.failed: list[str] = []
        self._http = httpx2.AsyncClient(base_url=url, timeout=30)
        self._project = project
        self._pause_s = pause_s
        self._numbers = count(1)
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def last(self) -> Acknowledged:
        """The latest acknowledged change."""
        return self.acknowledged[-1]

    def pace(self, start: int = 0) -> str:
        """How fast the changes since `start` were, in words."""
        times = sorted(change.seconds for change in self.acknowledged[start:])
        if not times:
            return "none"
        p50, p99 = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
        return f"n={len(times)} p50={p50 * 1000:.1f} ms p99={p99 * 1000:.1f} ms max={times[-1] * 1000:.1f} ms"

    async def put_project(self) -> None:
        """Make the project."""
        answer = await self._http.put(f"/v1/projects/{self._project}", json={})
        assert answer.is_success, answer.text

    async def change(self) -> bool:
        """Ask for one change; whether it was acknowledged."""
        title = f"{next(self._numbers)} {uuid4().hex[:6]}"
        begin = time.monotonic()
        try:
            answer = await self._http.post(f"/v1/projects/{self._project}/tasks", json={"title": title})
        except httpx2.TransportError as error:
            self.failed.append(type(error).__name__)
            return False
        if not answer.is_success:
            self.failed.append(f"{answer.status_code} {answer.json()['code']}")
            return False
        now = time.monotonic()
        self.acknowledged.append(Acknowledged(title, answer.headers["x-position"], now, now - begin))
        return True

    async def more(self, number: int, *, deadline_s: float = 30) -> None:
        """Return when so many more changes were acknowledged."""
        goal = len(self.acknowledged) + number

        def done() -> bool:
            assert self._task is not None
            if self._task.done():
                self._task.result()
            return len(self.acknowledged) >= goal

        await until(done, f"{number} more changes; failed: {self.failed[-3:]}", deadline_s=deadline_s)

    async def stop(self) -> None:
        """Finish the change that is under way, and begin no other."""
        self._stopping = True
        if self._task is not None:
            await self._task
            self._task = None

    async def close(self) -> None:
        """Stop, and let the connections go."""
        await self.stop()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self) -> None:
        while not self._stopping:
            await self.change()
            await asyncio.sleep(self._pause_s)
