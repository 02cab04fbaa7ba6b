"""Table of the audit trail."""

from datetime import datetime

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class AuditRow(SQLModel, table=True):
    """A line of the trail; `data` is JSON text. Of one session no two have the same time."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_page", "project_id", "at", "id"),
        Index("ix_audit_session", "session_id", "at", "id"),
        Index("ix_audit_user", "project_id", "user_id", "at", "id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    project_id: str = Field(max_length=63, foreign_key="project.id")
    session_id: str | None = Field(max_length=36)
    user: str | None = Field(sa_column=Column("user_id", Text))
    action: str = Field(max_length=64)
    data: str = Field(sa_column=Column(Text, nullable=False))
