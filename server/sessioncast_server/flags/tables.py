"""Table of flags that were ever changed; a flag without a row is as it was shipped."""

from datetime import datetime

from sqlalchemy import Column, Float, Text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class FlagRow(SQLModel, table=True):
    """The share of projects, 0 to 100, that a flag is on for."""

    __tablename__ = "flag"

    name: str = Field(primary_key=True, max_length=64)
    percentage: float = Field(sa_column=Column(Float, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    updated_by: str = Field(sa_column=Column(Text, nullable=False))
