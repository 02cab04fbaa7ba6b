"""Table of tasks."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Index, Text, text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class TaskRow(SQLModel, table=True):
    """A piece of work in a project. `metadata` is JSON text."""

    __tablename__ = "task"
    __table_args__ = (
        Index("ix_task_page", "project_id", "created_at", "id"),
        Index("ix_task_title", "project_id", "title", "created_at", "id"),
        Index(
            "ix_task_milestone",
            "project_id",
            "milestone",
            "id",
            sqlite_where=text("milestone IS NOT NULL"),
            postgresql_where=text("milestone IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    project_id: str = Field(max_length=63, foreign_key="project.id")
    title: str = Field(max_length=200)
    milestone: str | None = Field(max_length=200)
    meta: str = Field(sa_column=Column("metadata", Text, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
