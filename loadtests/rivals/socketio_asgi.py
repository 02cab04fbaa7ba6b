"""Fan-out by python-socketio under uvicorn, by WebSocket alone."""

import argparse
from typing import Any

import socketio
import uvicorn

sio = socketio.AsyncServer(
    async_mode="asgi", transports=["websocket"], http_compression=False, ping_interval=3600, ping_timeout=60
)
_engine = socketio.ASGIApp(sio)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`POST /publish` hands the body to everybody; the rest is socket.io's."""
    if scope["type"] != "http" or scope["path"] != "/publish":
        await _engine(scope, receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await sio.emit("event", body.decode())
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


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
