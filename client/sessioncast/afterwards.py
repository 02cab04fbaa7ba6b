"""What is still to be told to the server for callers who have left."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from sessioncast.errors import SessioncastError


class Afterwards:
    """Work in the background that nobody waits for until the client is closed.

    Each has its own bound in time, and none is reported on: it undoes what lapses by itself, only later.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._lesser: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[Any, Any, object], *, within_s: float, waited_for: bool = True) -> None:
        """Begin it now; it is given up after so many seconds.

        Args:
            waited_for: whether closing waits for it; else closing gives it up.
        """
        tasks = self._tasks if waited_for else self._lesser
        task = asyncio.create_task(_bounded(work, within_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: work.close())  # one that is given up at once was never begun

    async def aclose(self) -> None:
        """Return when all is done or given up; who is cancelled meanwhile gives it up."""
        try:
            while self._tasks:
                await asyncio.wait(set(self._tasks))
        finally:
            for task in self._tasks | self._lesser:
                task.cancel()


async def _bounded(work: Coroutine[Any, Any, object], within_s: float) -> None:
    with contextlib.suppress(SessioncastError, TimeoutError):
        async with asyncio.timeout(within_s):
            await work
