"""Bounds of one request."""

from pydantic import BaseModel, Field

from sessioncast_server.settings_groups.values import Bytes, Seconds


class Requests(BaseModel):
    """Fields of `Settings`."""

    headers_max_bytes: Bytes = Field(65536, description="largest head of a request; a larger one is answered 431")
    head_deadline_s: Seconds = Field(30, description="time a request's head may take to arrive, from its first byte")
    body_max_bytes: Bytes = Field(1 << 20, description="largest request body")
    body_deadline_s: Seconds = Field(30, description="time a request body may take to arrive")
    json_max_depth: int = Field(64, ge=1, le=200, description="deepest nesting of a request body")
    min_position_wait_s: Seconds = Field(5, description="longest wait for `min_position`, then 503")
    client_reports_per_minute: int = Field(
        30, ge=1, le=10_000, description="reports of one user's clients that are taken in a minute; one more is 429"
    )
    idempotency_ttl_s: Seconds = Field(86400, description="how long the answer to an Idempotency-Key is kept")
