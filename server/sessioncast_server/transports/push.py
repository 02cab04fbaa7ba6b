"""Whether projects are pushed to, and the end of their streams when they no longer are.

Why no stream outlives the switch. Whether push is on is asked when a stream joins, in the same turn of the loop as its
place in the channel is made, with nothing awaited in between; and what is known of the switch changes in one turn,
which also wakes the sweep below. So a stream that has its place by then is found by the sweep, and one that gets it
later is turned away by who lets it join. The switch is never asked per event.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from sessioncast_server.channels.hub import Hub
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import Problem
from sessioncast_shared.codes import Code

PUSH_DISABLED = "push_disabled"
"""Reason of a goodbye or of the end of a subscription."""

_COME_BACK_MS = (2000, 4000)
"""Shortest and longest pause that who asks for a stream is told; a poll tells sooner when push is on again."""

_log = structlog.get_logger(__name__)


def push_disabled() -> Problem:
    """503: no streams of this project at the moment."""
    pause = random.randint(*_COME_BACK_MS)  # noqa: S311  spreads clients, guards nothing
    detail = "Streams are switched off for this project at the moment. Poll instead."
    return Problem(503, Code.PUSH_DISABLED, detail, retry_after=-(-pause // 1000), retry_ms=pause)


class Push:
    """The switch, as transports see it.

    Args:
        decided: whether push is on, where that is the same for all projects; None where it depends on the project.
        enabled: whether it is on for a project.
    """

    def __init__(
        self, hub: Hub, metrics: Metrics, *, decided: Callable[[], bool | None], enabled: Callable[[str], bool]
    ) -> None:
        self._hub = hub
        self._metrics = metrics
        self._decided = decided
        self._enabled = enabled
        self._woken = asyncio.Event()

    @property
    def everywhere(self) -> bool:
        """Whether push is on for every project."""
        return self._decided() is True

    def on(self, project: str) -> bool:
        """Whether push is on for a project."""
        return self._enabled(project)

    def require(self, project: str) -> None:
        """Go on where push is on.

        Raises:
            Problem: 503 `push_disabled`; the refusal is counted.
        """
        if not self.on(project):
            self._metrics.streams_refused.labels(PUSH_DISABLED).inc()
            raise push_disabled()

    def changed(self) -> None:
        """It is on for other projects than before."""
        self._woken.set()

    async def run_for_ever(self) -> None:
        """End the streams of projects that are not pushed to, after each change; run it as a task and cancel it."""
        while True:
            self._woken.clear()  # before the look: a change during it has another one made
            if not self.everywhere:
                ended = await self._hub.end_streams(self._off, PUSH_DISABLED)
                if ended:
                    self._metrics.push_ended.inc(ended)
                    _log.info("streams ended: push is switched off", streams=ended)
            await self._woken.wait()

    def _off(self, project: str) -> bool:
        return not self._enabled(project)
