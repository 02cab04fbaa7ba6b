"""How the store is written and read, and how long anybody waits for it."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Count, Seconds


class Store(BaseModel):
    """Fields of `Settings`."""

    write_group_max: Count = Field(64, description="SQLite: changes in one commit")
    write_group_ms: Seconds = Field(5, description="SQLite: milliseconds after which a commit takes no more changes")
    write_queue_max: Count = Field(1000, description="changes waiting for the store; more are answered 503")
    write_deadline_s: Seconds = Field(10, description="time a change may take")
    read_deadline_s: Seconds = Field(10, description="time a read may take")
    lock_timeout_s: Seconds = Field(5, description="wait for a task's lock, then «being modified»")
    read_threads: Count = Field(4, description="SQLite: reading connections")
    postgres_write_threads: Count = Field(4, description="PostgreSQL: writing connections")
    postgres_read_threads: Count = Field(4, description="PostgreSQL: reading connections")
    postgres_connect_timeout_s: int = Field(
        5, ge=2, le=600, description="PostgreSQL: whole seconds to wait for a new connection"
    )
    postgres_idle_s: Seconds = Field(300, description="PostgreSQL: a connection unused for so long is closed")
    pool_wait_s: Seconds = Field(5, description="longest wait for a connection to the store, then 503")
    switch_interval_s: Seconds = Field(0.0005, description="how long a thread may keep the interpreter to itself")
