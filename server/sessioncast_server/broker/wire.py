"""One connection to Redis. All that is peculiar about redis-py is known here and nowhere else."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from sessioncast_server.broker.limits import RedisLimits
from sessioncast_server.broker.replies import BadReplyError, Replies

Command = tuple[str | bytes, ...]

_READ_BYTES = 64 * 1024
"""Parsed in one go. More would have left the processor's caches again before it is handled: 8 % slower at 256 KiB.

The stream holds six times as much at most: it stops reading the socket over 128 KiB, and one read is 256 KiB at most.
"""


class WireError(Exception):
    """The connection cannot be had, broke, or was too late.

    Attributes:
        reason: one short word for logs and metrics: `connect`, `send`, `receive`, `ping`, `canary`, `late`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Wire:
    """An open connection: commands out, replies and pushes in, each in order.

    redis-py connects, logs in and greets, and goes on writing. What arrives after that is read here, past redis-py:
    its `read_response` takes three coroutines a reply, and more than twice the time of the parser.
    """

    def __init__(self, connection: Any, limits: RedisLimits) -> None:
        self._connection = connection
        # Kept apart because redis-py forgets them on errors, and closing (unlike aborting) would wait for ever for a
        # frozen server to take what is still unsent.
        self._transport = connection._writer.transport
        self._stream: asyncio.StreamReader = connection._reader
        # The very parser that read the greeting: it may hold the beginning of what came after it.
        self._replies = Replies(connection._parser._reader, nothing=NOT_ENOUGH_DATA, max_bytes=limits.reply_max_bytes)

    async def send(self, commands: Iterable[Command]) -> None:
        """Write commands; waits while the socket is full.

        Raises:
            WireError: `send`.
        """
        if not self._connection.is_connected:
            raise WireError("send", "closed")  # redis-py would connect again in silence, without subscriptions
        try:
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)
        except (redis.RedisError, OSError) as error:
            raise WireError("send", str(error)) from error

    async def receive(self) -> list[Any]:
        """The replies and pushes that have arrived, in order, at least one; waits for ever for the first.

        Returns without suspending when there are some, at most six times in a row if the caller does not suspend.

        Raises:
            WireError: `receive`; also when the server answered with an error, after all that came before it.
        """
        try:
            while not (replies := self._replies.take()):
                data = await self._stream.read(_READ_BYTES)
                if not data:
                    raise WireError("receive", "closed by the server")
                self._replies.feed(data)
        except (BadReplyError, OSError) as error:
            raise WireError("receive", str(error)) from error
        return replies

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._transport.abort()


class Wires:
    """Opens connections to one Redis."""

    def __init__(self, url: str, limits: RedisLimits) -> None:
        """Raises ValueError when the URL cannot be one."""
        self._limits = limits
        self._pool: Any = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_connect_timeout=limits.timeout_s,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        # Said after the URL was read, so that its query cannot change what the rest of this folder relies on.
        self._pool.connection_kwargs.update(
            protocol=3,
            decode_responses=False,
            socket_timeout=None,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
            parser_class=_AsyncHiredisParser,  # whose reader a wire goes on with
        )

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Wire]:
        """A connection for as long as the block lasts; `name` is what CLIENT LIST shows.

        Raises:
            WireError: `connect`: not open, authenticated and greeted in time.
        """
        connection = self._pool.make_connection()
        connection.client_name = name
        try:
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    await connection.connect()
                wire = Wire(connection, self._limits)
            except (redis.RedisError, OSError) as error:
                raise WireError("connect", str(error)) from error
            try:
                yield wire
            finally:
                wire.abort()
        finally:
            await connection.disconnect(nowait=True)
