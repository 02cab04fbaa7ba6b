"""Where a node listens, whom it serves at once, and what it stands on."""

from typing import Literal

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Count, DatabaseUrl, HttpUrl, RedisUrl


class Listening(BaseModel):
    """Fields of `Settings`."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    workers: int = Field(1, ge=1, le=256, description="nodes that share the port, a process each")
    subscribers_max: Count = Field(50000, description="open streams of a node; one more is told when to come back")
    principal_streams_max: Count = Field(
        20000, description="of these, streams of one user; in open mode everybody is one"
    )
    address_streams_max: Count = Field(
        20000, description="of these, streams from one address; behind a proxy everybody has one"
    )
    opening_max: Count = Field(10000, description="streams that wait to be opened when many come at once")
    connections_max: Count = Field(
        60000, description="connections of a node, of any kind; fewer where descriptors are fewer; one more is 503"
    )
    database_url: DatabaseUrl = Field(
        "sqlite:///data/sessioncast.db",
        repr=False,  # it may hold a password
        description="the store: sqlite:///PATH or postgresql://USER@HOST/DATABASE",
    )
    redis_url: RedisUrl | None = Field(
        None, repr=False, description="carries wake-ups between nodes; none: one process is enough"
    )
    lane: Literal["auto", "portable"] = Field("auto", description="how bytes leave: auto takes the fastest that works")
    support_url: HttpUrl | None = Field(None, description="where «Contact Support» leads")
