"""The rule of one live session per task and phase, as FastAPI with async SQLModel usually has it.

Durable alike, one process on uvloop and httptools. On SQLite (WAL, synchronous=FULL) the pool has one connection,
because there is one writer: with five, replacements were slower in each of three rounds and starts faster in one of
them. On PostgreSQL asyncpg, READ COMMITTED, and the task's row is locked for the transaction; the project's counter is
taken late, so that its row is locked for as short as it can be. Its pool has SQLAlchemy's usual five connections: with
20 and 32, which wait for that row one behind the other, it was slower in each of three rounds, with 2 and 3 no faster.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel
from sqlalchemy import DateTime, event, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

_TRIES = 8
_POOL = {"sqlite": 1, "postgresql": 5}
_TIME: Any = DateTime(timezone=True)  # SQLModel takes an instance too, but its types do not say so


def _now() -> datetime:
    return datetime.now(UTC)


def _id() -> str:
    return str(uuid.uuid4())


class Project(SQLModel, table=True):
    """A project with the counter of its events."""

    id: str = Field(primary_key=True)
    head: int = 0


class Task(SQLModel, table=True):
    """A piece of work."""

    id: str = Field(default_factory=_id, primary_key=True)
    project_id: str = Field(foreign_key="project.id", index=True)
    title: str


class Session(SQLModel, table=True):
    """An attempt at a phase; the unique slot lets one live session hold it."""

    id: str = Field(default_factory=_id, primary_key=True)
    project_id: str = Field(foreign_key="project.id", index=True)
    task_id: str = Field(foreign_key="task.id", index=True)
    phase: str
    slot: str | None = Field(unique=True)
    model: str
    status: str = "pending"
    version: int = 1
    created_at: datetime = Field(default_factory=_now, sa_type=_TIME)
    updated_at: datetime = Field(default_factory=_now, sa_type=_TIME)
    deleted_at: datetime | None = Field(default=None, index=True, sa_type=_TIME)
    replaced_by: str | None = None


class Event(SQLModel, table=True):
    """A change, at its place in the project's log."""

    project_id: str = Field(primary_key=True, foreign_key="project.id")
    offset: int = Field(primary_key=True)
    type: str
    session_id: str = Field(index=True)
    data: str
    at: datetime = Field(default_factory=_now, sa_type=_TIME)


class Confirm(BaseModel):
    """Names the session that may go."""

    session_id: str


class Start(BaseModel):
    """A session to start."""

    phase: Literal["plan", "run", "verify"]
    model: dict[str, Any]
    on_conflict: Literal["ask", "replace", "restart", "reject"] = "ask"
    confirm: Confirm | None = None


class Outcome(BaseModel):
    """What came of it."""

    outcome: Literal["created", "existing", "replaced"]
    session: Session
    replaced: Session | None = None


class Tasks(BaseModel):
    """How many tasks to make."""

    count: int


def open_engine(url: str, pool: int | None) -> AsyncEngine:
    """An engine; on SQLite its transactions take the write lock when they begin (SQLAlchemy's own recipe)."""
    kind, _, rest = url.partition(":")
    size = pool or _POOL[kind]
    if kind == "postgresql":
        return create_async_engine(f"postgresql+asyncpg:{rest}", pool_size=size, max_overflow=0, pool_timeout=60)
    engine = create_async_engine(
        f"sqlite+aiosqlite:{rest}", pool_size=size, max_overflow=0, pool_timeout=60, connect_args={"timeout": 30}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _began(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


async def _emit(db: AsyncSession, type_: str, *sessions: Session) -> None:
    """Number the events by the project's counter, in the transaction of the change."""
    project_id = sessions[0].project_id
    count = len(sessions)
    taken = await db.exec(
        update(Project)
        .where(col(Project.id) == project_id)
        .values(head=col(Project.head) + count)
        .returning(col(Project.head)),
        execution_options={"synchronize_session": False},
    )
    first = taken.scalar_one() - count + 1
    for offset, (kind, session) in enumerate(zip(type_.split(), sessions, strict=True), first):
        data = session.model_dump_json()
        db.add(Event(project_id=project_id, offset=offset, type=kind, session_id=session.id, data=data))


async def start_session(db: AsyncSession, task_id: str, wish: Start) -> Outcome:
    """Find the live session, then create, show or replace. Raises HTTPException."""
    # All starts of a task one after another; FOR NO KEY UPDATE, which foreign keys to the task do not wait for.
    task = await db.get(Task, task_id, with_for_update={"key_share": True})
    if task is None:
        raise HTTPException(404)
    found = await db.exec(
        select(Session).where(
            Session.task_id == task_id, Session.phase == wish.phase, col(Session.deleted_at).is_(None)
        )
    )
    live = found.first()
    model = json.dumps(wish.model, sort_keys=True)
    if live is not None:
        if wish.on_conflict == "reject":
            raise HTTPException(409, "session_active")
        if live.model == model and wish.on_conflict != "restart":
            return Outcome(outcome="existing", session=live)
        if wish.confirm is None or wish.on_conflict == "ask":
            raise HTTPException(409, "model_change_requires_confirmation")
        if wish.confirm.session_id != live.id:
            raise HTTPException(409, "session_changed")
    slot = f"{task_id}/{wish.phase}"
    created = Session(project_id=task.project_id, task_id=task_id, phase=wish.phase, slot=slot, model=model)
    if live is None:
        db.add(created)
        await _emit(db, "session.created", created)
    else:
        live.slot, live.status, live.deleted_at, live.replaced_by = None, "cancelled", _now(), created.id
        live.version += 1
        live.updated_at = _now()
        db.add(live)
        await db.flush()  # the slot is free before its next holder comes
        db.add(created)
        await _emit(db, "session.replaced session.created", live, created)
    await db.commit()
    return Outcome(outcome="created" if live is None else "replaced", session=created, replaced=live)


def make_app(engine: AsyncEngine) -> FastAPI:
    """The server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(SQLModel.metadata.create_all)
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    async def database() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine, expire_on_commit=False) as db:
            yield db

    Database = Annotated[AsyncSession, Depends(database)]  # noqa: N806  a type, as FastAPI's own pages write it

    @app.put("/v1/projects/{project_id}", status_code=201)
    async def put_project(project_id: str, db: Database) -> Project:
        project = Project(id=project_id)
        db.add(project)
        await db.commit()
        return project

    @app.post("/v1/projects/{project_id}/tasks", status_code=201)
    async def post_tasks(project_id: str, wish: Tasks, db: Database) -> list[str]:
        tasks = [Task(project_id=project_id, title=f"task {number}") for number in range(wish.count)]
        db.add_all(tasks)
        await db.commit()
        return [task.id for task in tasks]

    @app.post("/v1/tasks/{task_id}/sessions", status_code=201)
    async def start(task_id: str, wish: Start, db: Database, response: Response) -> Outcome:
        for attempt in range(_TRIES):
            try:
                outcome = await start_session(db, task_id, wish)
            except (OperationalError, IntegrityError) as error:
                await db.rollback()
                if isinstance(error, OperationalError) and not _locked(error):
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))
                continue
            if outcome.outcome == "existing":
                response.status_code = 200
            return outcome
        raise HTTPException(409, "session_being_modified")

    @app.get("/v1/tasks/{task_id}/sessions")
    async def list_live(task_id: str, db: Database) -> dict[str, list[Session]]:
        rows = await db.exec(select(Session).where(Session.task_id == task_id, col(Session.deleted_at).is_(None)))
        return {"data": list(rows.all())}

    return app


def _locked(error: OperationalError) -> bool:
    return isinstance(error.orig, sqlite3.OperationalError) or "locked" in str(error)


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--pool", type=int, help="connections")
    options = parser.parse_args()
    app = make_app(open_engine(options.database_url, options.pool))
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
