"""Bytes out: server-sent events, WebSockets and polls."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Count, KernelBytes, Pulse, Seconds


class Streams(BaseModel):
    """Fields of `Settings`."""

    poll_wait_max_s: Seconds = Field(25, description="longest `wait` of a poll")
    ws_frame_max_bytes: Bytes = Field(65536, description="largest frame from a WebSocket client")
    ws_auth_timeout_s: Seconds = Field(10, description="a WebSocket that is not authenticated by then is closed")
    ws_subscriptions_max: Count = Field(100, description="subscriptions on one WebSocket")
    ws_ping_s: Pulse = Field(20, description="silence after which a WebSocket is pinged, and then closed")
    write_high_water_bytes: KernelBytes = Field(
        32768, description="unsent bytes in the process that make a stream wait"
    )
    write_low_water_bytes: Bytes = Field(8192, description="unsent bytes at which it goes on")
    unsent_bytes: KernelBytes = Field(
        32768, description="TCP_NOTSENT_LOWAT: unsent bytes that the kernel takes of a stream"
    )
    tcp_user_timeout_s: float = Field(
        30, ge=1, le=86400, description="TCP_USER_TIMEOUT: a peer that confirms nothing for so long is gone"
    )
    send_deadline_s: Seconds = Field(30, description="a socket that takes nothing for so long is closed")
    drain_s: Seconds = Field(1.5, description="time for goodbyes at shutdown")
    retry_ms: Count = Field(1000, description="base of the jittered pause before a client reconnects, in milliseconds")
