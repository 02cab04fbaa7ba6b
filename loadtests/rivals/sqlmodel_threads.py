"""Chat histories in PostgreSQL by async SQLModel: insert, then delete all but the newest, in one transaction."""

import argparse
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, delete
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from rivals.fastapi_sqlmodel import open_engine
from rivals.fastapi_threads import KEPT, Item, serve

_TIME: Any = DateTime(timezone=True)  # SQLModel takes an instance too, but its types do not say so


def _now() -> datetime:
    return datetime.now(UTC)


class ChatThread(SQLModel, table=True):
    """A history; when it was last used is what its clean-up goes by."""

    id: str = Field(primary_key=True)
    created_at: datetime = Field(default_factory=_now, sa_type=_TIME)
    last_activity_at: datetime = Field(default_factory=_now, sa_type=_TIME, index=True)


class ChatMessage(SQLModel, table=True):
    """An item of it."""

    __table_args__ = (Index("ix_chat_message", "thread_id", "id"),)

    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True))
    thread_id: str = Field(foreign_key="chatthread.id")
    role: str
    content: Any = Field(sa_column=Column(JSON))
    created_at: datetime = Field(default_factory=_now, sa_type=_TIME)


class SqlmodelStore:
    """A `Store` of two tables."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, None)

    async def open(self) -> None:
        async with self._engine.begin() as connection:
            await connection.run_sync(SQLModel.metadata.create_all)

    async def add(self, thread: str, items: list[Item]) -> None:
        used = insert(ChatThread).values(id=thread, created_at=_now(), last_activity_at=_now())
        used = used.on_conflict_do_update(
            index_elements=["id"], set_={"last_activity_at": used.excluded.last_activity_at}
        )
        newest = select(ChatMessage.id).where(ChatMessage.thread_id == thread)
        newest = newest.order_by(col(ChatMessage.id).desc()).limit(KEPT)
        async with AsyncSession(self._engine, expire_on_commit=False) as db:
            await db.exec(used)
            db.add_all([ChatMessage(thread_id=thread, role=item["role"], content=item["content"]) for item in items])
            await db.flush()
            await db.exec(
                delete(ChatMessage).where(col(ChatMessage.thread_id) == thread, col(ChatMessage.id).not_in(newest)),
                execution_options={"synchronize_session": False},
            )
            await db.commit()

    async def newest(self, thread: str, limit: int) -> list[Item]:
        wanted = select(ChatMessage).where(ChatMessage.thread_id == thread)
        async with AsyncSession(self._engine) as db:
            rows = (await db.exec(wanted.order_by(col(ChatMessage.id).desc()).limit(limit))).all()
        return [{"role": row.role, "content": row.content} for row in reversed(rows)]

    async def close(self) -> None:
        await self._engine.dispose()


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", required=True)
    options = parser.parse_args()
    serve(SqlmodelStore(options.database_url), options.port)


if __name__ == "__main__":
    main()
