"""What happens to every request: id, count, log line."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.web.endpoint import Call, Endpoint, router, routes
from sessioncast_server.web.inputs import Limits
from sessioncast_server.web.middleware import RequestMiddleware


async def fine(call: Call) -> Response:
    """Log a line of its own and answer."""
    structlog.get_logger().info("inside")
    return Response(b"ok")


async def chat(socket: WebSocket) -> None:
    """Accept and close."""
    socket.scope["state"]["template"] = "/ws"
    await socket.accept()
    await socket.close()


async def unwelcome(socket: WebSocket) -> None:
    """Close before accepting."""
    await socket.close()


TABLE = [
    Endpoint("GET", "/things/{id}", fine, "Thing", public=True),
    Endpoint("GET", "/health/live", fine, "Live", public=True),
]


@pytest.fixture
def metrics() -> Metrics:
    """The figures of one node."""
    return Metrics()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged, with context."""
    capture = structlog.testing.LogCapture()
    structlog.contextvars.clear_contextvars()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def client(metrics: Metrics, lines: list[Any]) -> TestClient:
    """Speaks to an application behind the middleware."""
    sockets = [WebSocketRoute("/ws", chat), WebSocketRoute("/no", unwelcome)]
    table = routes(TABLE, authenticator=Authenticator(), limits=Limits())
    return TestClient(RequestMiddleware(router([*table, *sockets]), metrics=metrics))


def count(metrics: Metrics, **labels: str) -> float | None:
    """Requests counted under these labels."""
    return metrics.registry.get_sample_value("sessioncast_requests_total", labels)


def test_a_request_id_is_made_or_taken_over(client: TestClient) -> None:
    """A proxy's id is kept if it has an acceptable form; every answer has one, and only one."""
    assert re.fullmatch(r"[0-9a-f]{16}", client.get("/things/1").headers["x-request-id"])
    assert client.get("/things/1", headers={"X-Request-Id": "Abc.1_2-3"}).headers["x-request-id"] == "Abc.1_2-3"
    for bad in (b"a b", b"x" * 65, b"a;b", "é".encode()):
        answer = client.get("/nowhere", headers={b"X-Request-Id": bad})
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])
        assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]


def test_lines_logged_inside_bear_the_request_id(client: TestClient, lines: list[Any]) -> None:
    """The handler's line and the access line have the id that the answer shows."""
    answer = client.get("/things/1")
    assert [line["event"] for line in lines] == ["inside", "request"]
    assert {line["request_id"] for line in lines} == {answer.headers["x-request-id"]}


def test_the_access_line_has_path_and_status_but_no_query(client: TestClient, lines: list[Any]) -> None:
    """Secrets in URLs do not reach the log."""
    client.get("/things/1?token=hush")
    line = lines[-1]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/things/1", 422)
    assert "hush" not in json.dumps(lines)


def test_a_path_cannot_break_the_line(client: TestClient, lines: list[Any]) -> None:
    """It is logged as it was sent, percent signs and all, and not endlessly."""
    client.get("/things/a%0Ab")
    assert lines[-1]["path"] == "/things/a%0Ab"
    client.get("/" + "x" * 5000)
    assert len(lines[-1]["path"]) == 200


def test_watchers_make_no_lines(client: TestClient, lines: list[Any], metrics: Metrics) -> None:
    """Health checks are counted but not logged."""
    client.get("/health/live")
    assert [line["event"] for line in lines] == ["inside"]
    assert count(metrics, method="GET", route="/health/live", status="200") == 1


def test_requests_are_counted_by_template(client: TestClient, metrics: Metrics) -> None:
    """Two ids are one route, unknown paths are one, and a made-up method makes no label of its own."""
    for path in ("/things/1", "/things/2", "/nowhere", "/elsewhere"):
        client.get(path)
    client.request("BREW", "/things/1")
    assert count(metrics, method="GET", route="/things/{id}", status="200") == 2
    assert count(metrics, method="GET", route="other", status="404") == 2
    assert count(metrics, method="OTHER", route="/things/{id}", status="405") == 1


def test_a_websocket_is_a_request_too(client: TestClient, metrics: Metrics) -> None:
    """Accepted as 101, refused as 403; the id stands in the answer to the handshake."""
    with client.websocket_connect("/ws", headers={"X-Request-Id": "w-1"}) as socket:
        assert (b"x-request-id", b"w-1") in (socket.extra_headers or ())
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/no"):
        pass
    assert count(metrics, method="WEBSOCKET", route="/ws", status="101") == 1
    assert count(metrics, method="WEBSOCKET", route="other", status="403") == 1


async def drive(app: ASGIApp, metrics: Metrics) -> list[Message]:
    """Messages that a bare application's request brings about."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "state": {}}
    await RequestMiddleware(app, metrics=metrics)(scope, receive, send)
    return sent


async def test_an_application_that_breaks_is_answered_for(metrics: Metrics, lines: list[Any]) -> None:
    """An exception before the answer is a problem with status 500."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("inside")

    sent = await drive(broken, metrics)
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["code"] == "unexpected"
    assert count(metrics, method="GET", route="other", status="500") == 1
    assert lines[0]["event"] == "request failed"


async def test_an_application_that_breaks_in_the_middle_is_the_servers_matter(metrics: Metrics) -> None:
    """After the head nothing right can be said any more: the server has to close the connection."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": ()})
        raise LookupError("inside")

    with pytest.raises(LookupError):
        await drive(broken, metrics)
    assert count(metrics, method="GET", route="other", status="200") == 1


async def test_a_request_whose_sender_left_is_counted(metrics: Metrics, lines: list[Any]) -> None:
    """Nobody is answered, and the count says 499."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    assert await drive(silent, metrics) == []
    assert count(metrics, method="GET", route="other", status="499") == 1


def test_the_lifespan_passes_through(metrics: Metrics) -> None:
    """Start and stop reach the application."""
    inner = Starlette()
    with TestClient(RequestMiddleware(inner, metrics=metrics)) as client:
        assert client.get("/").status_code == 404
