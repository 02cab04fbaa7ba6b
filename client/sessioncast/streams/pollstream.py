"""A subscription without a stream: one question after the other, no faster than the pace."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from sessioncast.answer import Answer
from sessioncast.errors import ConnectionLost
from sessioncast.lost import Unfit
from sessioncast.streams.frames import Frame
from sessioncast.streams.pace import Pace
from sessioncast.streams.polls import PollReader
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.tracker import SnapshotWish
from sessioncast_shared.filters import Filter

if TYPE_CHECKING:  # it loads the HTTP library
    from sessioncast.transport import Transport

_ASLEEP_S = 3600.0
"""All that is watched has ended: nothing is asked until somebody asks."""


class PollStream:
    """Frames by polls.

    Attributes:
        pace_s: seconds to the next poll, without jitter; None: before the first, or all has ended.
    """

    def __init__(
        self,
        transport: "Transport",
        path: str,
        wanted: Filter,
        *,
        position: str | None,
        snapshot: SnapshotWish,
        pace: Pace,
        statuses: Statuses,
        push: Callable[[bool], None],
        look_again_s: Callable[[], float | None],
    ) -> None:
        """Nothing is asked yet.

        Args:
            push: told whether the server would push, by each answer.
            look_again_s: how long until something better is to be tried, so that nobody sleeps past it.
        """
        self.pace_s: float | None = None
        self._transport = transport
        self._path = path
        self._wanted = wanted
        self._position = position
        self._snapshot = snapshot
        self._pace = pace
        self._statuses = statuses
        self._push = push
        self._look_again_s = look_again_s
        self._reader = PollReader(transport.url + path)
        self._etag: str | None = None
        self._asked = False
        self._more = False
        self._next_at: float | None = None

    async def receive(self) -> list[Frame]:
        """The frames of the next answer, none if it says nothing new, or it is time to try something better.

        Raises:
            ConnectionLost, ProblemError: there was no answer, or a refusal.
        """
        if self._asked and not self._more and not await self._wait():
            return []
        limits = self._transport.limits
        query = self._wanted.query()
        if self._position is not None:
            query.append(("position", self._position))
        headers = {"Accept": "application/json"}
        if self._etag is not None:
            headers["If-None-Match"] = self._etag
        query.append(("snapshot", "auto" if self._asked else self._snapshot))
        url = self._transport.url + self._path
        try:
            async with asyncio.timeout(limits.attempt_s):
                answer = await self._transport.request(
                    "GET", self._path, query=query, headers=headers, timeout_s=limits.attempt_s
                )
        except TimeoutError as error:
            raise ConnectionLost(url, f"no answer within {limits.attempt_s:g} s") from error
        if not _is_ours(answer):
            raise Unfit(url, f"something else answered, with status {answer.status}: a proxy, most likely")
        if answer.status not in (200, 304):
            raise answer.problem()
        counters = self._transport.counters
        counters.polls += 1
        counters.unchanged += answer.status == 304
        if self.pace_s is not None:
            counters.poll_intervals[self.pace_s] += 1
        self._push(answer.headers.get("x-push") != "off")
        body = answer.json() if answer.status == 200 else None
        frames = self._reader.take(answer.status, body, position=answer.position)
        if isinstance(body, dict):
            self._position = body.get("position", self._position)
        elif answer.position is not None:
            self._position = answer.position
        self._etag = answer.headers.get("etag")
        self._asked, self._more, self._next_at = True, self._reader.more, None
        return frames

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _wait(self) -> bool:
        """Until the next poll is due; False: something better is to be tried before."""
        loop = asyncio.get_running_loop()
        if self._next_at is None:
            # Not by what the answer was: the first one of a stream that goes on from another may say nothing at all.
            changed, self._statuses.changed = self._statuses.changed, False
            self.pace_s = self._pace.polled(self._statuses.now, changed=changed)
            wait_s = self._pace.interval_s()
            self._next_at = loop.time() + (_ASLEEP_S if wait_s is None else wait_s)
        due_s = max(0.0, self._next_at - loop.time())
        look_s = self._look_again_s()
        if look_s is not None and look_s < due_s:
            await asyncio.sleep(look_s)
            return False
        await asyncio.sleep(due_s)
        if self.pace_s is None:
            self._next_at = None
        return self.pace_s is not None


def _is_ours(answer: Answer) -> bool:
    """Whether it can be the server's: it redirects nobody, and speaks JSON."""
    if answer.status == 200:
        return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    return answer.status == 304 or not 300 <= answer.status < 400
