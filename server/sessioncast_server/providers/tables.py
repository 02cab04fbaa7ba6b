"""Tables of provider sessions."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Text, text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class ProviderSessionRow(SQLModel, table=True):
    """One use of an AI provider within a session.

    `proved` says that the provider is known to know `provider_session_id`: one that we made, or that is still to be
    resumed, is not. Costs are in billionths of a US dollar: whole numbers add up exactly, on both databases and in any
    order. `model_name` and `agent` (JSON text) are the session's when it began. `renewals` rises with every sign of its
    holder, `lease_s` is how long it may stand still.
    """

    __tablename__ = "provider_session"
    __table_args__ = (
        Index("ix_provider_session_chain", "session_id", "started_at", "id"),
        Index(
            "ix_provider_session_task",
            "task_id",
            "started_at",
            "id",
            sqlite_where=text("task_id IS NOT NULL"),
            postgresql_where=text("task_id IS NOT NULL"),
        ),
        # Holds all that the totals of a task are made of.
        Index(
            "ix_provider_session_totals",
            "task_id",
            "tokens",
            "cached_tokens",
            "turns",
            "cost_nano",
            sqlite_where=text("task_id IS NOT NULL"),
            postgresql_where=text("task_id IS NOT NULL"),
        ),
        Index("ix_provider_session_link", "session_id", "provider_session_id", "proved", "started_at"),
        Index("ix_provider_session_project", "project_id", "started_at", "id"),
        Index(
            "ix_provider_session_milestone",
            "project_id",
            "milestone",
            sqlite_where=text("milestone IS NOT NULL"),
            postgresql_where=text("milestone IS NOT NULL"),
        ),
        Index(
            "ix_provider_session_open",
            "id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    project_id: str = Field(max_length=63, foreign_key="project.id")
    session_id: str = Field(max_length=36, foreign_key="session.id")
    task_id: str | None = Field(max_length=36, foreign_key="task.id")
    milestone: str | None = Field(max_length=200)
    provider_session_id: str = Field(max_length=200)
    proved: bool = Field(sa_column=Column(Boolean, nullable=False))
    id_created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    operation: str = Field(max_length=200)
    iteration: int | None = Field(sa_column=Column(BigInteger))
    resumed_from: str | None = Field(max_length=200)
    fork: bool = Field(sa_column=Column(Boolean, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    is_resumable: bool = Field(sa_column=Column(Boolean, nullable=False))
    resume_failure_count: int = Field(sa_column=Column(BigInteger, nullable=False))
    tokens: int | None = Field(sa_column=Column(BigInteger))
    cached_tokens: int | None = Field(sa_column=Column(BigInteger))
    turns: int | None = Field(sa_column=Column(BigInteger))
    cost_nano: int | None = Field(sa_column=Column(BigInteger))
    structure_fingerprint: str | None = Field(max_length=200)
    model_name: str = Field(max_length=200)
    agent: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(max_length=16)
    lease_s: float = Field(sa_column=Column(Float, nullable=False))
    renewals: int = Field(sa_column=Column(BigInteger, nullable=False))
    started_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    last_used_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    ended_at: datetime | None = Field(sa_column=Column(UtcTime))


class ProviderIdRow(SQLModel, table=True):
    """Every id that was ever recorded, bound to one session of its project for good."""

    __tablename__ = "provider_id"
    __table_args__ = (Index("ix_provider_id", "provider_session_id", "project_id"), {"sqlite_with_rowid": False})

    project_id: str = Field(primary_key=True, max_length=63, foreign_key="project.id")
    provider_session_id: str = Field(primary_key=True, max_length=200)
    session_id: str = Field(max_length=36, foreign_key="session.id")


class StructureRow(SQLModel, table=True):
    """The map of paths to hashes, as JSON text, that a provider session left; the row above has only its digest."""

    __tablename__ = "provider_structure"

    provider_session: str = Field(primary_key=True, max_length=36, foreign_key="provider_session.id")
    session_id: str = Field(max_length=36, foreign_key="session.id", index=True)
    paths: str = Field(sa_column=Column(Text, nullable=False))
