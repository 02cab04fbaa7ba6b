"""A subscription's connection over a WebSocket. The only file that knows the WebSocket library."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from sessioncast.answer import problem_of
from sessioncast.errors import ConnectionLost, ProblemError, ProtocolError
from sessioncast.problems import problem_error
from sessioncast.streams.frames import Frame, control_frame
from sessioncast.streams.tracker import SnapshotWish
from sessioncast.transport import Transport
from sessioncast_shared.codes import Close, Code
from sessioncast_shared.filters import Filter

_STATUS: dict[str, int] = {
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.TOO_LARGE: 413,
    Code.INVALID: 422,
    Code.TOO_MANY: 429,
    Code.UNEXPECTED: 500,
    Code.UNAVAILABLE: 503,
}
_FINAL_CLOSES: dict[int, tuple[int, str]] = {
    Close.BAD_REQUEST: (400, Code.BAD_REQUEST),
    Close.UNAUTHENTICATED: (401, Code.UNAUTHENTICATED),
    Close.FORBIDDEN: (403, Code.FORBIDDEN),
}
_OURS = frozenset({"subscribed", "events", "snapshot", "heartbeat", "resync", "goodbye"})


class WebSocketStream:
    """Reads frames from an open WebSocket with one subscription on it."""

    def __init__(self, connection: ClientConnection, *, url: str, idle_s: float) -> None:
        self._connection = connection
        self._url = url
        self._idle_s = idle_s

    async def receive(self) -> list[Frame]:
        """The frames of the next message; possibly none.

        Raises:
            ConnectionLost: there are no more, or none came for `idle_s`.
            ProblemError: the server refused the subscription.
            ProtocolError: these are no frames.
        """
        with _translated(self._url):
            async with asyncio.timeout(self._idle_s):
                message = await self._connection.recv()
        try:
            body: Any = json.loads(message)
        except ValueError as error:
            raise ProtocolError(self._url, "a message that is not JSON") from error
        op = body.get("op") if isinstance(body, dict) else None
        if op == "error":
            raise _refusal(body)
        if op not in _OURS:
            return []
        frame = control_frame(op, body, self._url)
        return [] if frame is None else [frame]

    async def aclose(self) -> None:
        """Give the connection up."""
        closing = asyncio.ensure_future(self._connection.close())
        # The server's own close frame stands behind what was not read; unread, it would be waited for in vain.
        with suppress(ConnectionClosed):
            while True:
                await self._connection.recv()
        await closing


async def open_websocket(
    transport: Transport, project: str, wanted: Filter, *, position: str | None, snapshot: SnapshotWish
) -> WebSocketStream:
    """Connect and subscribe.

    Raises:
        ConnectionLost, ProblemError: it does not open.
    """
    scheme, _, rest = transport.url.partition("://")
    url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/ws"
    names = {"task": wanted.tasks, "session": wanted.sessions, "thread": wanted.threads, "kinds": wanted.kinds}
    frame: dict[str, Any] = {"op": "subscribe", "ref": "1", "project": project, "snapshot": snapshot}
    frame["filter"] = {name: list(values) for name, values in names.items() if values}
    if position is not None:
        frame["position"] = position
    with _translated(url):
        connection = await connect(
            url,
            additional_headers=transport.credentials,
            compression=None,
            open_timeout=transport.limits.connect_s,
            # The server's heartbeat tells that it lives. Own pings would cut a reader that is slow on purpose.
            ping_interval=None,
            close_timeout=1,
            max_size=transport.limits.frame_bytes,
            # One message is read ahead; the rest stays in the socket and slows the server down, as it should.
            max_queue=1,
        )
        try:
            await connection.send(json.dumps(frame))
        except BaseException:
            await connection.close()
            raise
    return WebSocketStream(connection, url=url, idle_s=transport.limits.idle_s)


def _refusal(body: dict[str, Any]) -> ProblemError:
    code = str(body.get("code", ""))
    return problem_error(_STATUS.get(code, 400), body)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except InvalidStatus as error:
        response = error.response
        raise problem_of(response.status_code, response.headers, bytes(response.body or b"")) from error
    except ConnectionClosed as error:
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "the connection broke")
        if code in _FINAL_CLOSES:
            status, name = _FINAL_CLOSES[code]
            raise problem_error(status, {"code": name, "detail": reason}) from error
        if error.sent is not None and error.sent.code == 1009:
            raise ProtocolError(url, "a message that is too long") from error
        raise ConnectionLost(url, f"closed with {code} {reason}".rstrip()) from error
    except InvalidHandshake as error:
        raise ConnectionLost(url, str(error)) from error
    except WebSocketException as error:
        raise ProtocolError(url, str(error)) from error
    except TimeoutError as error:
        raise ConnectionLost(url, "nothing was heard") from error
    except OSError as error:
        raise ConnectionLost(url, str(error)) from error
