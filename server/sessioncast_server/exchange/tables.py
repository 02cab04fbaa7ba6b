"""Table of answers that are given again."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Index, Integer, Text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class IdempotencyKeyRow(SQLModel, table=True):
    """The first answer to a request with a key. `id` is a digest of principal, method, path and key."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("ix_idempotency_key_age", "created_at"),)

    id: str = Field(primary_key=True, max_length=64)
    body_digest: str = Field(max_length=64)
    status: int | None = Field(sa_column=Column(Integer))
    headers: str | None = Field(sa_column=Column(Text))
    answer: str | None = Field(sa_column=Column(Text))
    channel: str | None = Field(max_length=63)
    epoch: str | None = Field(max_length=32)
    offset: int | None = Field(sa_column=Column(BigInteger))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
