"""Tables of sessions and of what they print."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, Index, Text, text, true
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class SessionRow(SQLModel, table=True):
    """An attempt at a phase. The unique `slot` lets one live session hold it.

    It is null once soft-deleted, and for what was started while `single_session_enabled` was off.

    `model` is the whole model as JSON text, `agent` and `metadata` are JSON text too. `head_row_id` is the provider
    session whose id `head_provider_session_id` is.
    """

    __tablename__ = "session"
    __table_args__ = (
        Index("ux_session_slot", "slot", unique=True),
        Index("ix_session_lookup", "task_id", "phase", "model_name", "deleted_at"),
        Index(
            "ix_session_deleted",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
        Index(
            "ix_session_live",
            "project_id",
            "id",
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index(
            "ix_session_slotless",
            "task_id",
            "phase",
            "debug",
            sqlite_where=text("slot IS NULL AND deleted_at IS NULL"),
            postgresql_where=text("slot IS NULL AND deleted_at IS NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    project_id: str = Field(max_length=63, foreign_key="project.id")
    task_id: str = Field(max_length=36, foreign_key="task.id")
    phase: str = Field(max_length=16)
    debug: bool = Field(sa_column=Column(Boolean, nullable=False))
    slot: str | None = Field(max_length=64)
    model_name: str = Field(max_length=200)
    model: str = Field(sa_column=Column(Text, nullable=False))
    agent: str = Field(sa_column=Column(Text, nullable=False))
    user: str = Field(sa_column=Column("user_id", Text, nullable=False))
    status: str = Field(max_length=16)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    meta: str = Field(sa_column=Column("metadata", Text, nullable=False))
    output_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_activity_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    head_provider_session_id: str | None = Field(max_length=200)
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(UtcTime))
    deleted_at: datetime | None = Field(sa_column=Column(UtcTime))
    deleted_by: str | None = Field(sa_column=Column(Text))
    replaced_by: str | None = Field(max_length=36)
    model_available: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=true()))
    head_row_id: str | None = Field(max_length=36)


class OutputRow(SQLModel, table=True):
    """A piece of what a session printed."""

    __tablename__ = "session_output"
    __table_args__ = ({"sqlite_with_rowid": False},)

    session_id: str = Field(primary_key=True, max_length=36, foreign_key="session.id")
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    stream: str = Field(max_length=200)
    text: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
