"""Table of project versions."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Index
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class VersionRow(SQLModel, table=True):
    """A version of what a project builds; `ai_session_…` follow the head of its session's chain."""

    __tablename__ = "project_version"
    __table_args__ = (
        Index("ux_project_version_number", "project_id", "number", unique=True),
        Index("ix_project_version_session", "session_id", "number"),
        Index("ix_project_version_ai_session", "ai_session_id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    project_id: str = Field(max_length=63, foreign_key="project.id")
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    session_id: str = Field(max_length=36, foreign_key="session.id")
    ai_session_id: str | None = Field(max_length=200)
    ai_session_created_at: datetime | None = Field(sa_column=Column(UtcTime))
    ai_session_last_used_at: datetime | None = Field(sa_column=Column(UtcTime))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
