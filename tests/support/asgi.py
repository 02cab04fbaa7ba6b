"""An ASGI application behind a real uvicorn on a port, in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from support.waiting import until


@asynccontextmanager
async def served(app: ASGIApp, *, http: type[asyncio.Protocol] | Literal["auto"] = "auto") -> AsyncIterator[str]:
    """`host:port` at which the application answers, until the block ends; `http` is uvicorn's protocol class."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        lifespan="off",
        http=http,
        ws="websockets-sansio",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or task.done(), "uvicorn to start")
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        await task
