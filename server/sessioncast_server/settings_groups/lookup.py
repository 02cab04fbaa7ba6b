"""Answers to lookups that are kept."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Count, Seconds


class Lookup(BaseModel):
    """Fields of `Settings`."""

    lookup_ttl_s: Seconds = Field(10, description="how long the answer to a lookup of sessions is kept, ± 10 %")
    lookup_max: Count = Field(10000, description="such answers kept in memory; the one not asked for longest goes")
    lookup_max_bytes: Bytes = Field(64 << 20, description="the same in bytes")
    lookup_body_max_bytes: Bytes = Field(262144, description="a larger answer is not kept")
    lookup_watch_max: Count = Field(1000, description="projects whose answers are kept; of others they are read anew")
    lookup_redis_timeout_s: Seconds = Field(0.05, description="deadline of Redis for an answer, then the store is read")
