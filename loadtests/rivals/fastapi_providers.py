"""What provider sessions used, as it is usually added up: every row is read and summed in Python.

The FastAPI application beside it with one more table. A provider session is a row and a commit: no event, no lease, no
audit. Totals come with the first page of the rows, as ours do.
"""

import argparse
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import BigInteger, ColumnElement, DateTime
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from rivals.fastapi_sqlmodel import Session, make_app, open_engine

_PAGE = 200
_TIME: Any = DateTime(timezone=True)  # SQLModel takes an instance too, but its types do not say so


class ProviderSession(SQLModel, table=True):
    """One use of a provider."""

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="project.id", index=True)
    session_id: str = Field(foreign_key="session.id", index=True)
    task_id: str = Field(foreign_key="task.id", index=True)
    milestone: str | None = Field(default=None, index=True)
    operation: str
    iteration: int | None = None
    tokens: int | None = Field(default=None, sa_type=BigInteger)
    cached_tokens: int | None = Field(default=None, sa_type=BigInteger)
    turns: int | None = None
    cost_usd: float | None = None
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=_TIME)
    ended_at: datetime | None = Field(default=None, sa_type=_TIME)


class Open(BaseModel):
    """A use that begins."""

    provider_session_id: str
    operation: str
    iteration: int | None = None
    milestone: str | None = None


class Usage(BaseModel):
    """What it used; None where nobody knows."""

    tokens: int | None = None
    cached_tokens: int | None = None
    turns: int | None = None
    cost_usd: float | None = None


class Past(BaseModel):
    """Uses that were."""

    milestone: str
    rows: list[Usage]


class Change(BaseModel):
    """What became of it."""

    usage: Usage = Usage()
    ended: bool = False


class Metrics(BaseModel):
    """Totals, and the first rows."""

    total_tokens: int
    total_cached_tokens: int
    total_turns: int
    total_cost: float
    cost_known: bool
    num_iterations: int
    avg_tokens_per_iteration: float
    sessions: list[ProviderSession]


def add_up(rows: Sequence[ProviderSession]) -> Metrics:
    """The totals of all rows."""
    tokens = sum(row.tokens or 0 for row in rows)
    return Metrics(
        total_tokens=tokens,
        total_cached_tokens=sum(row.cached_tokens or 0 for row in rows),
        total_turns=sum(row.turns or 0 for row in rows),
        total_cost=sum(row.cost_usd or 0 for row in rows),
        cost_known=all(row.cost_usd is not None for row in rows),
        num_iterations=len(rows),
        avg_tokens_per_iteration=tokens / len(rows) if rows else 0,
        sessions=list(rows[:_PAGE]),
    )


def add_providers(app: FastAPI, engine: AsyncEngine) -> None:
    """The routes of provider sessions."""

    async def database() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine, expire_on_commit=False) as db:
            yield db

    Database = Annotated[AsyncSession, Depends(database)]  # noqa: N806  a type, as FastAPI's own pages write it

    @app.post("/v1/sessions/{session_id}/provider-sessions", status_code=201)
    async def open_(session_id: str, wish: Open, db: Database) -> ProviderSession:
        session = await db.get(Session, session_id)
        if session is None:
            raise HTTPException(404)
        row = ProviderSession(
            id=wish.provider_session_id,
            project_id=session.project_id,
            session_id=session.id,
            task_id=session.task_id,
            milestone=wish.milestone,
            operation=wish.operation,
            iteration=wish.iteration,
        )
        db.add(row)
        await db.commit()
        return row

    @app.post("/v1/sessions/{session_id}/past", status_code=201)
    async def past(session_id: str, wish: Past, db: Database) -> int:
        session = await db.get(Session, session_id)
        if session is None:
            raise HTTPException(404)
        for used in wish.rows:
            row = ProviderSession(
                id=str(uuid.uuid4()),
                project_id=session.project_id,
                session_id=session.id,
                task_id=session.task_id,
                milestone=wish.milestone,
                operation="iteration",
                ended_at=datetime.now(UTC),
            )
            db.add(row.sqlmodel_update(used.model_dump()))
        await db.commit()
        return len(wish.rows)

    @app.patch("/v1/provider-sessions/{id_}")
    async def change(id_: str, wish: Change, db: Database) -> ProviderSession:
        row = await db.get(ProviderSession, id_)
        if row is None:
            raise HTTPException(404)
        for name, value in wish.usage.model_dump(exclude_unset=True).items():
            setattr(row, name, value)
        if wish.ended:
            row.ended_at = datetime.now(UTC)
        db.add(row)
        await db.commit()
        return row

    async def metrics(db: AsyncSession, *which: ColumnElement[bool]) -> Metrics:
        rows = await db.exec(select(ProviderSession).where(*which).order_by(col(ProviderSession.started_at)))
        return add_up(rows.all())

    @app.get("/v1/tasks/{id_}/metrics")
    async def of_task(id_: str, db: Database) -> Metrics:
        return await metrics(db, col(ProviderSession.task_id) == id_)

    @app.get("/v1/sessions/{id_}/metrics")
    async def of_session(id_: str, db: Database) -> Metrics:
        return await metrics(db, col(ProviderSession.session_id) == id_)

    @app.get("/v1/projects/{project}/milestones/{name}/metrics")
    async def of_milestone(project: str, name: str, db: Database) -> Metrics:
        return await metrics(db, col(ProviderSession.project_id) == project, col(ProviderSession.milestone) == name)

    @app.get("/v1/projects/{project}/metrics")
    async def of_project(project: str, db: Database) -> Metrics:
        return await metrics(db, col(ProviderSession.project_id) == project)


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", required=True)
    options = parser.parse_args()
    engine = open_engine(options.database_url, None)
    app = make_app(engine)
    add_providers(app, engine)
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
