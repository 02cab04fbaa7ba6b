"""Table of projects."""

from datetime import datetime

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class ProjectRow(SQLModel, table=True):
    """The boundary of data, rights and ordering."""

    __tablename__ = "project"

    id: str = Field(primary_key=True, max_length=63)
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
