"""What happens to every request: an id, a line in the log, a count, and an answer whatever goes wrong."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.web import requestid
from sessioncast_server.web.cost import statements_of
from sessioncast_server.web.endpoint import failure

_QUIET = ("/health/", "/metrics")
_PATH_MAX = 200
_NOBODY_WAITED = 499
"""Status in logs and counts of a request whose sender left before the answer; nobody is sent it."""

_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """The outermost application.

    Counts and logs at the head of an answer, because a stream ends hours later. The log never has the
    query string, where people put secrets. The route is the template that the dispatch leaves in
    `scope["state"]["template"]`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = requestid.choose(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._note(scope, _status(message), began)
                if "headers" in message or not message["type"].endswith("close"):
                    message = _named(message, request_id)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            if answered or scope["type"] == "websocket":
                raise
            await failure(error, request_id)(scope, receive, answer)
        if not answered:
            self._note(scope, _NOBODY_WAITED, began)

    def _note(self, scope: Scope, status: int, began: float) -> None:
        seconds = time.perf_counter() - began
        method = scope.get("method", "WEBSOCKET")
        route = scope["state"].get("template", "other")
        self._metrics.request(method, route, status, seconds)
        statements = statements_of(scope)
        if statements is not None:
            self._metrics.statements(method, route, statements)
        path: str = scope["path"]
        if not path.startswith(_QUIET):
            # As it was sent: decoded, a path could break the line or colour the terminal.
            shown = scope.get("raw_path", b"").decode("latin-1") or path
            _log.info("request", method=method, path=shown[:_PATH_MAX], status=status, ms=round(seconds * 1000, 2))


def _status(message: Message) -> int:
    match message["type"]:
        case "websocket.accept":
            return 101
        case "websocket.close":
            return 403  # what a server answers when an application closes before it accepts
        case _:
            return int(message.get("status", 500))


def _named(message: Message, request_id: str) -> Message:
    headers = list(message.get("headers", ()))
    if any(name == requestid.RAW_HEADER for name, _ in headers):
        return message
    return {**message, "headers": [*headers, (requestid.RAW_HEADER, request_id.encode())]}
