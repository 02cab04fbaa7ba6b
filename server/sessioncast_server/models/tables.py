"""Table of registered models."""

from datetime import datetime

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class ModelRow(SQLModel, table=True):
    """A model that a project knows. A deleted one stays, so that its name is refused until it is registered again."""

    __tablename__ = "model"

    project_id: str = Field(primary_key=True, max_length=63, foreign_key="project.id")
    name: str = Field(primary_key=True, max_length=200)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    deleted_at: datetime | None = Field(sa_column=Column(UtcTime))
