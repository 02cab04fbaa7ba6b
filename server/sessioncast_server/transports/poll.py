"""The poll: the same state and events as a stream, one answer at a time, for where streams do not get through."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.hub import FullError, Hub
from sessioncast_server.channels.log import Entry, Log, Stretch, head_of, newest
from sessioncast_server.channels.snapshot import Snapshots
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.transports.target import Target
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.etag import log_etag, none_match
from sessioncast_shared.position import Position


@dataclass(frozen=True, slots=True)
class PollLimits:
    """Bounds of a poll: seconds it may wait, and events and bytes in one answer."""

    wait_max_s: float = 25.0
    events: int = 300
    size: int = 1 << 20


class _WakeFraming:
    """Frames for a poll that waits: only that there is something counts."""

    key = "poll"

    def events(self, entries: Sequence[Entry]) -> bytes:
        """Something, unless all are whispers: a poll is answered from the log."""
        return b"!" if any(entry.offset for entry in entries) else b""

    def replayed(self, position: Position) -> bytes:  # noqa: ARG002  the words of a framing
        """Nothing."""
        return b""

    def snapshot(self, page: bytes, position: Position | None) -> bytes:  # noqa: ARG002  the same
        """Something."""
        return b"!"

    def heartbeat(self, position: Position, head: Position) -> bytes:  # noqa: ARG002  the same
        """Nothing."""
        return b""

    def resync(self, reason: str) -> bytes:  # noqa: ARG002  the same
        """Something."""
        return b"!"


_FRAMING = _WakeFraming()


class _WakeSink:
    """Wakes a poll that waits; always takes more.

    Attributes:
        ended: nothing will wake it any more.
    """

    full = False

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.ended = False

    def opening(self, opening: Opening) -> bytes:  # noqa: ARG002  the words of a sink
        """Nothing: a waiting poll has read the log itself."""
        return b""

    def feed(self, data: bytes) -> bool:
        """Wake, if there is something."""
        if data:
            self.wake.set()
        return True

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        """Wake, if there is something in them."""
        return self.feed(b"".join(parts))

    def stalled_since(self) -> float:
        """It is never full."""
        return 0.0

    def end(self, reason: str) -> None:  # noqa: ARG002  the same
        """Wake: the answer is what there is by now."""
        self.ended = True
        self.wake.set()


class Poll:
    """Answers polls.

    Args:
        pushes: whether a project may be pushed to at the moment; where it may not, no poll waits.
    """

    def __init__(
        self,
        database: Database,
        log: Log,
        snapshots: Snapshots,
        hub: Hub,
        limits: PollLimits,
        *,
        pushes: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._log = log
        self._snapshots = snapshots
        self._hub = hub
        self._limits = limits
        self._pushes = pushes

    async def answer(self, target: Target, wish: Wish, *, wait_s: float, condition: str | None) -> Answer:
        """`{"state", "resources"?, "events", "position", "more"}`, or 304.

        The header `X-Push` says `on` or `off`: whether a stream would be had now instead.

        Args:
            wait_s: how long to wait for something new when there is nothing; more than the limit is the limit.
            condition: the request's `If-None-Match`.
        """
        answer = await self._answer(target, wish, min(wait_s, self._limits.wait_max_s), condition)
        push = "on" if self._pushes(target.channel) else "off"
        return replace(answer, headers={**answer.headers, "X-Push": push})

    async def _answer(self, target: Target, wish: Wish, wait_s: float, condition: str | None) -> Answer:
        answer, empty = await self._database.read(self._look, target, wish, condition)
        if not empty or wait_s == 0 or not self._pushes(target.channel):
            return answer
        sink = _WakeSink()
        # Join first, look again, then wait: nothing that is committed from here on is missed.
        try:
            head = Wish(None, "never")
            subscriber = await self._hub.join(target.channel, target.audience, _FRAMING, sink, head)
        except FullError:
            return answer
        deadline = asyncio.get_running_loop().time() + wait_s
        try:
            while empty:
                sink.wake.clear()
                answer, empty = await self._database.read(self._look, target, wish, condition)
                # Who is ended from here on is woken; who joined after others were ended asks for itself.
                if not empty or sink.ended or self._hub.draining or not self._pushes(target.channel):
                    break
                try:
                    async with asyncio.timeout_at(deadline):
                        await sink.wake.wait()
                except TimeoutError:
                    break
        finally:
            subscriber.leave()
        return answer

    def _look(self, tx: ReadTx, target: Target, wish: Wish, condition: str | None) -> tuple[Answer, bool]:
        """The answer as of now, and whether it says nothing new: no events, or a snapshot known already."""
        head = head_of(tx, target.channel)
        here = Position(head.epoch, head.offset)
        position, reason = wish.position, None
        if position is not None and wish.snapshot != "always":
            reason = _unusable(position, head.epoch, head.offset, head.floor)
            if reason is None:
                limits = self._limits
                stretch = self._log.read(
                    tx, target.channel, target.audience, after=position.offset, limit=limits.events, size=limits.size
                )
                return _events(stretch, position, here, condition)
        fields: dict[str, object] = {"state": "snapshot" if reason is None else "gap"}
        if reason is not None:
            fields |= {"reason": reason, "from": str(position), "to": str(here)}
        body = json_bytes(fields)[1:-1]
        if wish.snapshot != "never":
            etag = log_etag(head.epoch, newest(tx, target.channel, target.audience), head.floor)
            if reason is None and not none_match(condition, etag):
                return Answer(304, b"", _headers(here, etag)), True
            snapshot = self._snapshots.read(tx, target.channel, target.audience)
            pages = [page.removeprefix(b'"resources":[') for page in snapshot.pages]
            if len(pages) == 1:
                body += b"," + snapshot.pages[0]
            else:
                body += b',"resources":[%s]' % b",".join(page.removesuffix(b"]") for page in pages)
        else:
            etag = f'"{here}"'
        body += b',"events":[],"position":"%s","more":false' % str(here).encode()
        return Answer(200, b"{%s}" % body, _headers(here, etag)), False


def _events(stretch: Stretch, position: Position, here: Position, condition: str | None) -> tuple[Answer, bool]:
    shown, more = stretch.entries, stretch.more
    reached = Position(here.epoch, shown[-1].offset) if more else here
    last = shown[-1].offset if shown else position.offset
    headers = _headers(reached, f'"{here.epoch}:{last}"')
    if not shown and not none_match(condition, headers["ETag"]):
        return Answer(304, b"", headers), True
    text = b'{"state":"resumed","events":[%s],"position":"%s","more":%s}'
    events = b",".join(entry.body for entry in shown)
    return Answer(200, text % (events, str(reached).encode(), b"true" if more else b"false"), headers), not shown


def _unusable(position: Position, epoch: str, head: int, floor: int) -> str | None:
    if position.epoch != epoch:
        return "epoch"
    if position.offset > head:
        return "future"
    return "expired" if position.offset < floor else None


def _headers(position: Position, etag: str) -> dict[str, str]:
    return {"X-Position": str(position), "ETag": etag, "Cache-Control": "private, no-cache"}
