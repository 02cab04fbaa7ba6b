"""Table of turns."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class TurnRow(SQLModel, table=True):
    """A place in the queue before something that only one may use at a time. The first of a key has the turn.

    `subject` is what the turn is used for, once it is: the turn then lives as long as that. Until then it lives while
    `renewals` rises at least once in `lease_s` seconds, as those see it who look (`rules.Lapses`). `expects` says what
    a subject is to be about that does not name the fence; `named`, that the subject did.
    """

    __tablename__ = "turn"
    __table_args__ = (
        Index("ux_turn_place", "key", "number", unique=True),
        Index("ix_turn_subject", "subject"),
    )

    id: str = Field(primary_key=True, max_length=36)
    key: str = Field(max_length=200)
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    user: str = Field(sa_column=Column("user_id", Text, nullable=False))
    granted: bool = Field(sa_column=Column(Boolean, nullable=False))
    fence: int | None = Field(sa_column=Column(BigInteger))
    expects: str | None = Field(max_length=200)
    subject: str | None = Field(max_length=36)
    named: bool = Field(sa_column=Column(Boolean, nullable=False))
    lease_s: float = Field(sa_column=Column(Float, nullable=False))
    renewals: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
