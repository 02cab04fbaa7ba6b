"""Hears announcements from Redis, and knows since when it may not have heard them."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import structlog

from sessioncast_server.broker.base import Listener
from sessioncast_server.broker.inbox import Inbox
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.publisher import Publisher, redis_channel
from sessioncast_server.broker.wire import Command, Wire, WireError, Wires

_log = structlog.get_logger(__name__)

_PREFIX, _SUFFIX = redis_channel("\0").encode().split(b"\0")


class Subscriber:
    """Keeps one connection subscribed to what is wanted, tries it all the time, and opens another when it fails.

    Redis answers in order on one connection. So a `subscribe` reply means that announcements of that channel are
    flowing from here on, and the canary, subscribed last, comes back only after all of those replies.
    """

    def __init__(self, wires: Wires, publisher: Publisher, limits: RedisLimits, hooks: RedisHooks, node: str) -> None:
        self._wires = wires
        self._publisher = publisher
        self._limits = limits
        self._hooks = hooks
        self._node = node
        self._inbox = Inbox(node=node, max_bytes=limits.announce_max_bytes, hooks=hooks)
        self._online = False
        self._changes: dict[str, bool] = {}
        self._ping_due = False
        self._to_send = asyncio.Event()
        self._canary = f"sessioncast:{{canary}}:{node}"
        self._canary_name = self._canary.encode()
        self._beat = 0
        self._heard = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._canary_back = asyncio.Event()
        self._attempt = 0
        self._deaf_since: float | None = None

    @property
    def deaf_since(self) -> float | None:
        """Monotonic seconds since when the canary is overdue or the connection gone."""
        return self._deaf_since

    def start(self, listener: Listener) -> None:
        """Say whom to tell; deaf until the first canary is back."""
        self._inbox.open(listener)
        self._deaf_since = time.monotonic()

    def stop(self) -> None:
        """Tell nobody any more."""
        self._inbox.close()

    def want(self, channel: str) -> None:
        """Subscribe, also again: every reply is a promise that announcements are flowing."""
        self._inbox.wanted.add(channel)
        self._change(redis_channel(channel), subscribe=True)

    def unwant(self, channel: str) -> None:
        """Unsubscribe."""
        self._inbox.wanted.discard(channel)
        self._change(redis_channel(channel), subscribe=False)

    async def run(self) -> NoReturn:
        """Hear until cancelled, whatever happens."""
        while True:
            try:
                async with self._wires.open(f"sessioncast-subscriber-{self._node}") as wire:
                    await self._live(wire)
            except Exception as error:  # noqa: BLE001  this task must outlive any fault: without it the node is deaf
                self._lose(error)
            await asyncio.sleep(self._backoff())

    async def _live(self, wire: Wire) -> None:
        self._changes = {redis_channel(channel): True for channel in self._inbox.wanted}
        self._changes[self._canary] = True
        self._subscribed.clear()
        self._to_send.set()
        self._online = True
        # No TaskGroup: before Python 3.13 one that fails while it is being cancelled forgets the cancellation, and
        # close() would wait for ever.
        tasks = [asyncio.create_task(part) for part in (self._read(wire), self._write(wire), self._watch())]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            self._online = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, wire: Wire) -> None:
        # The only one that writes. It needs no deadline: a PING that it cannot send is a PING that is not answered.
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            await wire.send(self._commands())

    async def _read(self, wire: Wire) -> None:
        turn_s = self._limits.turn_s
        while True:
            replies = await wire.receive()
            self._heard.set()
            turn_ends = time.monotonic() + turn_s
            for reply in replies:
                self._take(reply)
                # By the clock, for how long a listener takes is not known here. Batches that stay below it may follow
                # each other without a turn for others: six of them, then the wire has to wait for the loop.
                if time.monotonic() >= turn_ends:
                    await asyncio.sleep(0)
                    self._heard.set()  # by what is still to be handled: the PING may have been sent meanwhile
                    turn_ends = time.monotonic() + turn_s

    async def _watch(self) -> None:
        await self._expect(self._subscribed, self._limits.canary_s, "subscribe")
        while True:
            await self._try_ping()
            await self._try_canary()
            await asyncio.sleep(self._limits.ping_s)

    async def _try_ping(self) -> None:
        """Ask for any sign of life on this connection: a frozen server never closes it."""
        self._heard.clear()
        self._ping_due = True
        self._to_send.set()
        await self._expect(self._heard, self._limits.ping_s, "ping")

    async def _try_canary(self) -> None:
        """Send a message the whole way round: an answering connection may still not get what is published."""
        try:
            await self._expect(self._publisher.online, self._limits.ping_s, "publisher")
            self._beat += 1
            self._canary_back.clear()
            self._publisher.send_canary(self._canary, b"%d" % self._beat)
            await self._expect(self._canary_back, self._limits.canary_s, "canary")
        except WireError as error:
            if self._publisher.online.is_set():
                raise
            # It never left. This connection is not to blame and stays: the other nodes are still heard on it.
            self._deafen(error)

    async def _expect(self, event: asyncio.Event, seconds: float, reason: str) -> None:
        # In two halves: when this loop itself was held up, timer and answer come due in the same turn and the timer
        # wins; then the second half finds the answer.
        for _ in range(2):
            try:
                async with asyncio.timeout(seconds / 2):
                    await event.wait()
                    return
            except TimeoutError:
                pass
        raise WireError(reason, f"nothing for {seconds:g} s")

    def _take(self, reply: Any) -> None:
        match reply:
            case [b"message", name, payload]:
                if name != self._canary_name:
                    self._inbox.take(_project(name), payload)
                elif payload == b"%d" % self._beat:
                    self._canary_back.set()
                    self._undeafen()
            case [b"subscribe", name, _] if name == self._canary_name:
                self._subscribed.set()
            case [b"subscribe", name, _]:
                # Every reply counts, also a repeated one: before it, this connection heard nothing of the channel.
                self._inbox.doubt(_project(name))
            case _:
                pass  # PONG, or the reply to an UNSUBSCRIBE

    def _change(self, name: str, *, subscribe: bool) -> None:
        # One entry a channel, and none while there is no connection: the next one starts from what is wanted then.
        if self._online:
            self._changes[name] = subscribe
            self._to_send.set()

    def _commands(self) -> list[Command]:
        changes, self._changes = self._changes, {}
        leave = [name for name, subscribe in changes.items() if not subscribe]
        join = [name for name, subscribe in changes.items() if subscribe]
        commands: list[Command] = [("UNSUBSCRIBE", *names) for names in self._batches(leave)]
        commands += [("SUBSCRIBE", *names) for names in self._batches(join)]
        if self._ping_due:
            self._ping_due = False
            commands.append(("PING",))
        return commands

    def _batches(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        size = self._limits.subscribe_batch
        return (names[start : start + size] for start in range(0, len(names), size))

    def _lose(self, error: Exception) -> None:
        if isinstance(error, WireError):
            self._hooks.lost("subscriber", error.reason)
        else:
            self._hooks.lost("subscriber", "bug")
            _log.error("the subscriber failed", exc_info=error)
        self._deafen(error)

    def _backoff(self) -> float:
        # Full jitter, so that nodes which lost the same Redis do not come back at the same instant.
        limits = self._limits
        ceiling = min(limits.backoff_cap_s, limits.backoff_base_s * 2 ** min(self._attempt, 16))
        self._attempt += 1
        return random.uniform(0, ceiling)  # noqa: S311  spreading load, not keeping secrets

    def _deafen(self, error: Exception) -> None:
        if self._deaf_since is None:
            self._deaf_since = time.monotonic()
            _log.warning("announcements may be missed", error=str(error))

    def _undeafen(self) -> None:
        self._attempt = 0
        if self._deaf_since is None:
            return
        self._deaf_since = None
        _log.info("announcements are heard")
        self._inbox.doubt(None)


def _project(name: bytes) -> str:
    return name[len(_PREFIX) : -len(_SUFFIX)].decode(errors="replace")
