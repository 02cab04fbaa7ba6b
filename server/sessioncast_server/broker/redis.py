"""The broker of several nodes: one Redis Pub/Sub channel per project. See docs/redis.md."""

import asyncio
from uuid import uuid4

from sessioncast_server.broker.base import Announcement, Listener, Whisper
from sessioncast_server.broker.limits import RedisHooks, RedisLimits
from sessioncast_server.broker.publisher import Publisher
from sessioncast_server.broker.subscriber import Subscriber
from sessioncast_server.broker.wire import Wires


class RedisBroker:
    """Carries announcements through Redis while it can be reached, and drops them while it cannot.

    A node hears its own announcements too, its own whispers not.
    """

    def __init__(self, url: str, *, limits: RedisLimits | None = None, hooks: RedisHooks | None = None) -> None:
        """Connects nowhere yet.

        Raises:
            ValueError: the URL is none of redis://, rediss:// and unix://.
        """
        limits = RedisLimits() if limits is None else limits
        hooks = RedisHooks() if hooks is None else hooks
        # A name of this broker's own: two nodes on one canary channel would hear each other's and believe it theirs.
        node = uuid4().hex
        wires = Wires(url, limits)
        self._publisher = Publisher(wires, limits, hooks, node)
        self._subscriber = Subscriber(wires, self._publisher, limits, hooks, node)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, listener: Listener) -> None:
        """Begin to connect, in the background."""
        self._subscriber.start(listener)
        self._tasks = [asyncio.create_task(self._publisher.run()), asyncio.create_task(self._subscriber.run())]

    def announce(self, announcement: Announcement) -> None:
        """Queue it for the publishing task, or drop and count it."""
        self._publisher.offer(announcement)

    def whisper(self, whisper: Whisper) -> None:
        """Queue it behind the announcements before it, or drop and count it."""
        self._publisher.whisper(whisper)

    def listen(self, channel: str) -> None:
        """Subscribe; every reply, also after each reconnect, calls `doubtful`."""
        self._subscriber.want(channel)

    def unlisten(self, channel: str) -> None:
        """Unsubscribe; what is still under way is thrown away."""
        self._subscriber.unwant(channel)

    def deaf_since(self) -> float | None:
        """Monotonic seconds since when a message of our own has not come back, None while they do."""
        return self._subscriber.deaf_since

    async def close(self) -> None:
        """Stop, whatever is queued."""
        self._subscriber.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
