"""Answers kept in Redis, for all nodes. Whatever Redis does, it costs a miss and little time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from sessioncast_server.cache.base import Found, Kept, Key
from sessioncast_server.cache.codec import decode, encode, name_of

_log = structlog.get_logger(__name__)

_HEAD_MAX = 2048  # bytes of the line before the body


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCacheLimits:
    """Bounds; seconds and bytes.

    Attributes:
        timeout_s: for one question or one write, connecting and waiting for a connection included.
        breaker_s: pause after a failure, in which Redis is not asked; then one question tries it.
        connections: open at a time.
        body_max: of a body; of anything larger no more than that is read.
    """

    timeout_s: float = 0.05
    breaker_s: float = 2.0
    connections: int = 8
    body_max: int = 256 * 1024


class RedisCache:
    """A Redis that other nodes use too.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, url: str, *, limits: RedisCacheLimits, clock: Callable[[], float]) -> None:
        """Connects nowhere yet.

        Raises:
            ValueError: the URL is none of redis://, rediss:// and unix://.
        """
        self._limits = limits
        self._clock = clock
        pool: Any = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=limits.connections,
            timeout=limits.timeout_s,
            client_name="sessioncast-cache",
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        # Said after the URL was read, so that its query cannot change what is relied on here.
        pool.connection_kwargs.update(
            protocol=3,
            decode_responses=False,
            socket_timeout=limits.timeout_s,
            socket_connect_timeout=limits.timeout_s,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
        )
        self._redis: Any = redis.asyncio.Redis.from_pool(pool)
        self._closed_until = 0.0
        self._broken = False

    async def get(self, key: Key) -> Found | None:
        """The answer that any node put last."""

        async def ask() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.getrange(name_of(key), 0, self._limits.body_max + _HEAD_MAX)
                pipeline.pttl(name_of(key))
                replies: list[Any] = await pipeline.execute()
                return replies

        replies = await self._try(ask)
        match replies:
            case [bytes(value), int(left_ms)] if value and left_ms > 0:
                kept = decode(key, value)
                return None if kept is None else Found(kept, left_ms / 1000)
            case _:
                return None

    async def put(self, key: Key, kept: Kept, life_s: float) -> None:
        """Keep an answer for all nodes."""
        if len(kept.body) <= self._limits.body_max:
            value = encode(key, kept)
            await self._try(lambda: self._redis.set(name_of(key), value, px=max(1, int(life_s * 1000))))

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose(close_connection_pool=True)

    async def _try(self, command: Callable[[], Awaitable[Any]]) -> Any:
        now = self._clock()
        if now < self._closed_until:
            return None
        if self._broken:
            self._closed_until = now + self._limits.breaker_s  # this one tries it; the others wait for what it finds
        try:
            # redis-py closes a connection whose reply was not waited for: nobody is given another one's.
            async with asyncio.timeout(self._limits.timeout_s):
                reply = await command()
        except Exception as error:  # noqa: BLE001  whatever it was, an answer is read from the store instead
            self._break(error)
            return None
        if self._broken:
            _log.info("redis keeps answers again")
        self._broken, self._closed_until = False, 0.0
        return reply

    def _break(self, error: Exception) -> None:
        if not self._broken:
            _log.warning("redis keeps no answers; they are read from the store", error=str(error) or "late")
        self._broken, self._closed_until = True, self._clock() + self._limits.breaker_s
