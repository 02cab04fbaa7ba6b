"""Fan-out as it is written in a Python web framework: Starlette with a queue per subscriber, SSE and WebSocket."""

import argparse
import asyncio
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

Queue = asyncio.Queue[str]
_queues: set[Queue] = set()


async def publish(request: Request) -> Response:
    """Hand the body to everybody."""
    text = (await request.body()).decode()
    for queue in _queues:
        queue.put_nowait(text)
    return Response(status_code=204)


async def _events() -> AsyncIterator[ServerSentEvent]:
    queue = Queue()
    _queues.add(queue)
    try:
        yield ServerSentEvent("{}", event="ready")
        while True:
            yield ServerSentEvent(await queue.get())
    finally:
        _queues.discard(queue)


async def sse(_request: Request) -> Response:
    """An event stream."""
    return EventSourceResponse(_events(), ping=3600)


async def ws(socket: WebSocket) -> None:
    """A WebSocket that only hears."""
    await socket.accept()
    queue = Queue()
    _queues.add(queue)
    try:
        await socket.send_text('{"op":"ready"}')
        while True:
            await socket.send_text(await queue.get())
    except WebSocketDisconnect:
        pass
    finally:
        _queues.discard(queue)


app = Starlette(routes=[Route("/publish", publish, methods=["POST"]), Route("/sse", sse), WebSocketRoute("/ws", ws)])


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app, port=parser.parse_args().port, loop="uvloop", http="httptools", ws="websockets", log_level="warning",
        access_log=False, ws_per_message_deflate=False, ws_ping_interval=None, timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
