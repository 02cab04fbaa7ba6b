"""Logs of events: what is kept of them, in memory and in the store, and what is replayed."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Count, Pulse, Seconds


class Channels(BaseModel):
    """Fields of `Settings`."""

    ring_events: Count = Field(4096, description="recent events of a channel kept in memory")
    ring_bytes: Bytes = Field(1 << 20, description="the same in bytes")
    ring_total_bytes: Bytes = Field(256 << 20, description="recent events of all channels of a node")
    block_bytes: Bytes = Field(65536, description="bytes handed to a reader that catches up at a time")
    channel_linger_s: Seconds = Field(30, description="how long a channel without readers is kept open")
    log_keep_s: Seconds = Field(86400, description="events younger than this stay in the log")
    log_keep_events: Count = Field(
        10000, description="so many of the newest events of a channel stay, whatever their age"
    )
    replay_max_events: Count = Field(300, description="a replay of more events becomes a snapshot")
    replay_max_bytes: Bytes = Field(1 << 20, description="a replay of more bytes becomes a snapshot")
    snapshot_page: Count = Field(256, description="resources in one snapshot frame")
    snapshot_max: Count = Field(5000, description="resources in a snapshot; more are answered with the list to read")
    snapshot_max_bytes: Bytes = Field(16 << 20, description="the same in bytes; a frame has about block_bytes of them")
    snapshot_min_interval_s: Seconds = Field(5, description="a subscriber that needs snapshots faster is closed")
    flush_slice_s: float = Field(
        0.001, ge=0.0001, le=1, description="how long bytes are handed out before the loop does other work"
    )
    heartbeat_s: Pulse = Field(15, description="silence after which a stream says its head")
    head_check_s: Seconds = Field(1, description="period of reading the heads of open channels")
    head_slice: Count = Field(500, description="channels in one such reading")
    early_wait_s: Seconds = Field(0.02, description="wait for the missing predecessor of an early announcement")
