"""Following channels without a stream, for those who keep answers and must hear when these are no longer true.

Why an answer that is vouched for is not stale. It was read at a position P. The channel of its project is open on this
node, so every event after the head it was opened at is heard of here: an own commit before its answer is given, another
node's with its announcement or, at the latest, with the head check. An event counts from the moment it is heard, also
when the one before it is still missing (`Channel.offer`). Hence, when no event of the task after P was heard and P is
not older than what is remembered, nothing that this node can know of has changed. No order of loading, keeping and
hearing matters: whoever holds an answer asks again, each time, by position.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog

from sessioncast_server.channels.channel import Channel
from sessioncast_server.db.errors import DatabaseError
from sessioncast_shared.position import Position

_log = structlog.get_logger(__name__)


class Watch:
    """A channel that is followed until the watch is closed."""

    __slots__ = ("_channel", "_leave", "used_at")

    def __init__(self, channel: Channel, leave: Callable[[Channel], None]) -> None:
        self._channel = channel
        self._leave: Callable[[Channel], None] | None = leave
        self.used_at = channel.clock()

    def vouch(self, task_id: str, at: Position) -> Position | None:
        """Up to where what was read of a task at a position is still true; None when that is not known."""
        return None if self._leave is None else self._channel.vouch(task_id, at)

    def close(self) -> None:
        """Follow no longer. Harmless when repeated."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self._channel)


class Watches:
    """The projects of a node whose answers are kept: as many as may be, followed while they are asked for.

    Args:
        open_watch: `Hub.watch`.
        limit: projects followed at a time. When there is no room, one that was not asked for in `idle_s` makes it;
            if there is none, the new project is not followed, and its answers are not kept.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        open_watch: Callable[[str], Awaitable[Watch]],
        *,
        limit: int,
        idle_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._open_watch = open_watch
        self._limit = limit
        self._idle_s = idle_s
        self._clock = clock
        self._watches: OrderedDict[str, Watch] = OrderedDict()
        self._opening: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def vouch(self, project: str, task_id: str, at: Position) -> Position | None:
        """As `Watch.vouch`; None for a project that is not followed."""
        watch = self._watches.get(project)
        if watch is None:
            return None
        watch.used_at = self._clock()
        self._watches.move_to_end(project)
        return watch.vouch(task_id, at)

    def sweep(self) -> None:
        """Stop following what nobody asks for."""
        now = self._clock()
        while self._watches:
            watch = next(iter(self._watches.values()))
            if now - watch.used_at < self._idle_s:
                return
            self._watches.popitem(last=False)
            watch.close()

    def follow(self, project: str) -> None:
        """Begin to follow a project, unless it is followed already or there is no room. Does not wait."""
        if project in self._watches or project in self._opening:
            return
        if not self._has_room():
            self.sweep()
        if self._has_room():
            self._opening[project] = asyncio.get_running_loop().create_task(self._open(project))

    async def close(self) -> None:
        """Follow nothing any more."""
        self._limit = 0
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()

    def _has_room(self) -> bool:
        return len(self._watches) + len(self._opening) < self._limit

    async def _open(self, project: str) -> None:
        try:
            self._watches[project] = await self._open_watch(project)
        except DatabaseError as error:
            _log.warning("a channel cannot be followed", channel=project, error=str(error))
        except Exception:  # noqa: BLE001  what it was concerns nobody but the log: answers are read, not kept
            _log.exception("a channel cannot be followed", channel=project)
        finally:
            del self._opening[project]
