"""Threads: how much of them is kept, for how long, and who answers in them."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Count, Seconds


class Threads(BaseModel):
    """Fields of `Settings`."""

    thread_max_messages: Count = Field(
        200, description="newest messages of a thread that are kept; AGENT_SESSION_MAX_MESSAGES is the same"
    )
    thread_read_max_bytes: Bytes = Field(
        4 << 20, description="messages in a page, or in the context of an answer; there is one, however large"
    )
    thread_retention_days: float = Field(
        7,
        gt=0,
        le=36500,
        description="days without activity after which a thread is deleted; AGENT_SESSION_RETENTION_DAYS is the same",
    )
    thread_cleanup_hour: int = Field(
        2, ge=0, le=23, description="hour in UTC at which that is done, daily; AGENT_SESSION_CLEANUP_HOUR is the same"
    )
    thread_wait_s: float = Field(
        30,
        ge=0,
        le=60,
        description="how long a request of a thread waits for those before it, unless it says so itself",
    )
    thread_lease_s: float = Field(60, ge=1, le=3600, description="time a run lives without a sign of its holder")
    responder: str = Field(
        "sessioncast_server.threads.recall:respond",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="who answers in /chatkit/threads, as module:function; the default one needs no network",
    )
    responder_deadline_s: Seconds = Field(120, description="time an answer may take")
    responder_max_bytes: Bytes = Field(1 << 20, description="largest answer")
    responder_threads: Count = Field(32, description="answers of responders that are not async, at once")
