"""Redis: deadlines, and what waits to be announced."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Count, Seconds


class Redis(BaseModel):
    """Fields of `Settings`."""

    redis_timeout_s: Seconds = Field(1, description="deadline of a command to Redis")
    redis_ping_s: Seconds = Field(1, description="period and deadline of the PING that proves Redis is heard")
    redis_breaker_s: Seconds = Field(2, description="pause after a failure before Redis is tried again")
    redis_backoff_cap_s: Seconds = Field(2, description="longest pause before a lost subscription is made again")
    announce_queue: Count = Field(10000, description="announcements waiting for Redis; more are dropped")
    announce_queue_bytes: Bytes = Field(16 << 20, description="the same in bytes")
    announce_max_bytes: Bytes = Field(262144, description="a larger announcement carries no events, only the range")
