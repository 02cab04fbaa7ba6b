"""Chat histories as they are usually kept: items of a session are added, then all but the newest are deleted.

The routes that are measured, with our paths, over a store of the rival's. A lock per thread takes its requests one
after another, within the one process; the responder is ours. No event, no lease, no units.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from sessioncast_server.threads.recall import respond
from sessioncast_server.threads.responder import Context, Said

KEPT = 200
"""Messages of a thread."""

Item = dict[str, Any]
"""`role` and `content`."""


class Store(Protocol):
    """Where the histories are."""

    async def open(self) -> None:
        """Make what is missing."""

    async def add(self, thread: str, items: list[Item]) -> None:
        """Append, and delete all but the newest `KEPT`."""

    async def newest(self, thread: str, limit: int) -> list[Item]:
        """The newest, oldest first."""

    async def close(self) -> None:
        """Let go of it."""


class Append(BaseModel):
    """Messages to append."""

    messages: list[Item]


class Line(BaseModel):
    """What the user says."""

    content: str


def make_app(store: Store) -> FastAPI:
    """The server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await store.open()
        yield
        await store.close()

    app = FastAPI(lifespan=lifespan)
    locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @app.put("/v1/projects/{project}", status_code=201)
    async def put_project(project: str) -> str:
        return project

    @app.post("/v1/projects/{project}/threads/{thread}/messages", status_code=201)
    async def append(project: str, thread: str, wish: Append) -> dict[str, list[Item]]:
        key = f"{project}/{thread}"
        async with locks[key]:
            await store.add(key, wish.messages)
        return {"data": wish.messages}

    @app.get("/v1/projects/{project}/threads/{thread}/messages")
    async def read(project: str, thread: str, limit: int = 50) -> dict[str, list[Item]]:
        return {"data": (await store.newest(f"{project}/{thread}", limit))[::-1]}

    @app.post("/chatkit/threads/{thread}/messages")
    async def chat(thread: str, wish: Line) -> dict[str, str]:
        key = f"default/{thread}"
        async with locks[key]:
            items = await store.newest(key, KEPT)
            now = datetime.now(UTC)
            said = tuple(Said(item["role"], item["content"], seq, now) for seq, item in enumerate(items, 1))
            answer = "".join(respond(Context("default", "open", thread, said, available=True), wish.content))
            mine = {"role": "user", "content": wish.content}
            await store.add(key, [mine, {"role": "assistant", "content": answer}])
        return {"content": answer}

    return app


def serve(store: Store, port: int) -> None:
    """Until a signal, as the other rivals do."""
    uvicorn.run(
        make_app(store),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
