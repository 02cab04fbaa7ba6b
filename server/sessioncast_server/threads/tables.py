"""Tables of threads."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from sessioncast_server.db.types import UtcTime


class ThreadRow(SQLModel, table=True):
    """A chat history of one user in one project.

    `key` stands for project, user and id together (`rules.Owned.key`). Everything before `kept_from` is gone: reading
    begins there, past what a database has not cleaned away yet. No index has a column that changes with each message:
    PostgreSQL would write into all of them then.
    """

    __tablename__ = "thread"
    __table_args__ = (
        Index("ux_thread_owned", "project_id", "user_id", "id", unique=True),
        Index("ix_thread_own", "project_id", "user_id", "created_at", "key"),
        Index("ix_thread_page", "project_id", "created_at", "key"),
        Index("ix_thread_id", "id", "project_id"),
    )

    key: str = Field(primary_key=True, max_length=36)
    id: str = Field(max_length=36)
    project_id: str = Field(max_length=63, foreign_key="project.id")
    user: str = Field(sa_column=Column("user_id", Text, nullable=False))
    title: str | None = Field(max_length=200)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    message_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    message_count: int = Field(sa_column=Column(BigInteger, nullable=False))
    kept_from: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
    last_activity_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))


class MessageRow(SQLModel, table=True):
    """A message. `body` is its JSON, without `thread_id` and `seq`; `checksum` is of all of it (`rules.checksum`).

    `leads` says that it belongs to the message after it.
    """

    __tablename__ = "message"
    __table_args__ = (Index("ux_message_id", "thread_key", "id", unique=True),)

    thread_key: str = Field(primary_key=True, max_length=36, foreign_key="thread.key")
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    id: str = Field(max_length=36)
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    checksum: int = Field(sa_column=Column(BigInteger, nullable=False))
    leads: bool = Field(sa_column=Column(Boolean, nullable=False))


class MessageCallRow(SQLModel, table=True):
    """That a message is a tool's call, or what came of it. Messages with one `call` go together."""

    __tablename__ = "message_call"
    __table_args__ = (Index("ix_message_call", "thread_key", "call"), {"sqlite_with_rowid": False})

    thread_key: str = Field(primary_key=True, max_length=36, foreign_key="thread.key")
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    call: str = Field(primary_key=True, max_length=64)


class MessageQuarantineRow(SQLModel, table=True):
    """A message that was set aside because it is not what was written: `body` as it was found."""

    __tablename__ = "message_quarantine"

    id: str = Field(primary_key=True, max_length=36)
    thread_key: str = Field(max_length=36, index=True)
    project_id: str = Field(max_length=63)
    thread_id: str = Field(max_length=36)
    user: str = Field(sa_column=Column("user_id", Text, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    found_at: datetime = Field(sa_column=Column(UtcTime, nullable=False))
