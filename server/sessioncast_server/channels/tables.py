"""Tables of the log: a counter per channel, the events, and the sign of the log's own life."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Text, text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class ChannelRow(SQLModel, table=True):
    """A channel's counter. Whoever appends locks this row, last of all locks.

    `head` is the offset of the newest event, `floor` of the newest one that can no longer be replayed.
    """

    __tablename__ = "channel"

    project_id: str = Field(primary_key=True, max_length=63, foreign_key="project.id")
    epoch: str = Field(max_length=32)
    head: int = Field(sa_column=Column(BigInteger, nullable=False))
    floor: int = Field(sa_column=Column(BigInteger, nullable=False))


class EventRow(SQLModel, table=True):
    """One committed change. An output event keeps its range in `data`; the text stays with the output."""

    __tablename__ = "event"
    __table_args__ = (
        # With the kind in it, the newest event of a kind is found without looking at the rows.
        Index("ix_event_task", "project_id", "task_id", "offset", "kind"),
        Index("ix_event_session", "project_id", "session_id", "offset", "kind"),
        Index(
            "ix_event_thread",
            "project_id",
            "thread_id",
            "offset",
            "kind",
            sqlite_where=text("thread_id IS NOT NULL"),
            postgresql_where=text("thread_id IS NOT NULL"),
        ),
        Index("ix_event_kind", "project_id", "kind", "offset"),
        {"sqlite_with_rowid": False},
    )

    project_id: str = Field(primary_key=True, max_length=63)
    offset: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    type: str = Field(max_length=64)
    kind: str = Field(max_length=16)
    at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    task_id: str | None = Field(max_length=36)
    session_id: str | None = Field(max_length=36)
    thread_id: str | None = Field(max_length=36)
    owner: str | None = Field(max_length=200)
    phase: str | None = Field(max_length=16)
    model: str | None = Field(max_length=200)
    updated_at: datetime | None = Field(sa_column=Column(UtcTime))
    version: int | None = Field(sa_column=Column(BigInteger))
    data: str = Field(sa_column=Column(Text, nullable=False))


class LogLifeRow(SQLModel, table=True):
    """The one row that tells one life of all logs from another.

    `commits` counts commits (SQLite compares it with its side file); `identity` names the PostgreSQL cluster,
    its timeline and the event table.
    """

    __tablename__ = "log_life"

    id: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    commits: int = Field(sa_column=Column(BigInteger, nullable=False))
    identity: str | None = Field(sa_column=Column(Text))
