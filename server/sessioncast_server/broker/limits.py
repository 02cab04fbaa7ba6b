"""Bounds of the Redis broker, and what it reports."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisLimits:
    """Every wait, queue and size of the Redis broker; seconds and bytes.

    Attributes:
        timeout_s: for a connection to be open, authenticated and greeted; for the replies to a pipeline.
        ping_s: pause between two trials of the connections, and deadline of their PING.
        breaker_s: pause before Redis is tried again after publishing failed; meanwhile announcements are dropped.
        backoff_base_s, backoff_cap_s: the subscriber reconnects after a random part of base × 2^n, at most the cap.
        announce_max_bytes: a larger announcement is sent, and read, as a hint to read the log; a whisper not at all.
        queue_announcements, queue_bytes: what may wait to be published; more is dropped, whispers over half of it.
        batch_bytes: what one pipeline carries.
        subscribe_batch: channels named in one SUBSCRIBE.
        turn_s: what has arrived is handled for so long before other work on the event loop has its turn.
    """

    timeout_s: float = 1.0
    ping_s: float = 1.0
    breaker_s: float = 2.0
    backoff_base_s: float = 0.05
    backoff_cap_s: float = 2.0
    announce_max_bytes: int = 256 * 1024
    queue_announcements: int = 10_000
    queue_bytes: int = 16 * 1024 * 1024
    batch_bytes: int = 1024 * 1024
    subscribe_batch: int = 500
    turn_s: float = 0.0005

    @property
    def canary_s(self) -> float:
        """Deadline of the canary: the pipeline before its own may take a whole timeout by itself."""
        return 2 * self.timeout_s

    @property
    def reply_max_bytes(self) -> int:
        """A connection that brings a longer reply is given up.

        Redis itself cuts subscribers off for which it would hold more than 32 MiB, unless told otherwise. Far less
        would let one large message by somebody else, which is only garbage, end the connection.
        """
        return max(32 * 1024 * 1024, 2 * self.announce_max_bytes)


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisHooks:
    """What the Redis broker tells the metrics; all are called on the event loop.

    Attributes:
        published: so many announcements were taken by Redis.
        dropped: so many were not carried, and why: `full`, `breaker`, `failed`.
        hushed: so many whispers were not carried, and why: the same, and `large`.
        received: an announcement, or a whisper of another node, arrived.
        garbled: something arrived that is neither.
        lost: a connection was given up: `publisher` or `subscriber`, and why.
    """

    published: Callable[[int], None] = _ignore
    dropped: Callable[[str, int], None] = _ignore
    hushed: Callable[[str, int], None] = _ignore
    received: Callable[[], None] = _ignore
    garbled: Callable[[], None] = _ignore
    lost: Callable[[str, str], None] = _ignore
