"""Other people's pages are kept out: tried on a real uvicorn, because the refusal comes before an accept."""

import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from sessioncast_server.auth.openmode import OriginGuard, cors, is_local_host
from support.asgi import served

ALLOWED = ("https://console.example",)


async def anything(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept every WebSocket and answer every request."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
    else:
        await Response("reached", headers={"X-Position": "e:1"})(scope, receive, send)


def guarded(*, open_mode: bool) -> ASGIApp:
    """The guard as the server wires it."""
    return OriginGuard(cors(anything, ALLOWED), open_mode=open_mode, allowed_origins=ALLOWED)


@pytest.fixture
async def opened() -> AsyncIterator[str]:
    """Address of a server in open mode."""
    async with served(guarded(open_mode=True)) as address:
        yield address


@pytest.fixture
async def closed() -> AsyncIterator[str]:
    """Address of a server that asks for tokens."""
    async with served(guarded(open_mode=False)) as address:
        yield address


async def status(address: str, method: str = "GET", **headers: str) -> int:
    """What a request with these headers is answered; `_` stands for `-`."""
    async with httpx2.AsyncClient() as client:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await client.request(method, f"http://{address}/x", headers=given)
    assert answer.text == "reached" or answer.status_code != 200
    return answer.status_code


async def handshake(address: str, **headers: str) -> int:
    """101, or the status of the refusal before the accept."""
    given = {name.replace("_", "-"): value for name, value in headers.items() if name != "Host"}
    host, _, port = address.partition(":")
    # The address names the Host header; where to connect is said apart.
    uri = f"ws://{headers.get('Host', address)}/ws"
    try:
        async with connect(uri, host=host, port=int(port), additional_headers=given, proxy=None):
            return 101
    except InvalidStatus as error:
        refused = error.response
    assert json.loads(refused.body)["code"] == "forbidden"
    return refused.status_code


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"])
async def test_names_of_this_machine_are_answered(opened: str, host: str) -> None:
    """With any port, because a forwarded port keeps the browser's."""
    assert is_local_host(host.lower())
    assert await status(opened, Host=host) == 200
    assert await handshake(opened, Host=host) == 101


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "127.0.0.2", "0.0.0.0", "::1"]
)
async def test_a_foreign_host_is_403_in_open_mode(opened: str, closed: str, host: str) -> None:
    """DNS rebinding: a page's own name led to this machine; with tokens that is harmless."""
    assert await status(opened, Host=host) == 403
    assert await status(opened, "POST", Host=host) == 403
    assert await status(closed, Host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost:x", "localhost:80:80", "", "[::1", "user@localhost", "localhost:٣"]
)
def test_what_is_no_local_name_is_none(host: str) -> None:
    """Near misses do not pass."""
    assert not is_local_host(host)


async def test_a_foreign_host_gets_no_websocket_in_open_mode(opened: str) -> None:
    """403 before the accept."""
    assert await handshake(opened, Host="evil.example") == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://evil.example:443", "", "x"]
)
async def test_a_foreign_origin_is_403(opened: str, closed: str, origin: str) -> None:
    """On unsafe methods in open mode, and on WebSockets always; reading is left to CORS, which says nothing."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "REPORT"):
        assert await status(opened, method, Origin=origin) == 403
    assert await status(opened, "GET", Origin=origin) == 200
    assert await status(closed, "POST", Origin=origin) == 200
    assert await handshake(opened, Origin=origin) == 403
    assert await handshake(closed, Origin=origin) == 403


async def test_the_servers_own_pages_and_allowed_ones_may(opened: str, closed: str) -> None:
    """The same host and port, or an origin that the settings name; no Origin at all is no browser."""
    for address in (opened, closed):
        for origin in (f"http://{address}", f"https://{address}", *ALLOWED, ALLOWED[0].upper()):
            assert await status(address, "POST", Origin=origin) == 200
            assert await handshake(address, Origin=origin) == 101
        assert await status(address, "POST") == 200
        assert await handshake(address) == 101


async def test_a_default_port_is_the_same_as_none(opened: str) -> None:
    """Browsers leave :80 out of the Origin, some clients put it into Host."""
    assert await status(opened, "POST", Host="localhost:80", Origin="http://localhost") == 200
    assert await status(opened, "POST", Host="localhost:80", Origin="https://localhost") == 403
    assert await status(opened, "POST", Host="localhost", Origin="http://localhost:80") == 403


@pytest.mark.parametrize("name", ["Forwarded", "X_Forwarded_For", "X_Forwarded_Host", "x_forwarded_proto"])
async def test_a_forwarded_request_is_403_in_open_mode(opened: str, closed: str, name: str) -> None:
    """Behind a proxy the whole world would be local."""
    assert await status(opened, **{name: "for=1.2.3.4"}) == 403
    assert await handshake(opened, **{name: "for=1.2.3.4"}) == 403
    assert await status(closed, **{name: "for=1.2.3.4"}) == 200
    assert await handshake(closed, **{name: "for=1.2.3.4"}) == 101


async def test_a_refusal_is_a_problem(opened: str) -> None:
    """With code, detail and request id, like all others."""
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"http://{opened}/x", headers={"Origin": "null", "X-Request-Id": "r-1"})
    assert (answer.json()["code"], answer.json()["detail"]) == ("forbidden", "The Origin is foreign.")
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "r-1"


async def test_a_request_without_host_is_403_in_open_mode() -> None:
    """HTTP/1.0 knows no Host; nothing proves then that this machine was meant. Two Hosts must both be local."""
    seen: list[int] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            seen.append(int(str(message["status"])))

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    local, foreign = (b"host", b"localhost"), (b"host", b"evil.example")
    for headers in ([], [local, foreign], [local]):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        await guarded(open_mode=True)(scope, receive, send)  # type: ignore[arg-type]  # a bare ASGI server
    assert seen == [403, 403, 200]


async def test_a_server_that_cannot_refuse_in_words_still_refuses() -> None:
    """Without the denial extension the close before accept is what makes a server answer 403."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [(b"origin", b"null")]}
    await guarded(open_mode=False)(scope, receive, send)  # type: ignore[arg-type]  # a bare ASGI server
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_an_allowed_page_may_read_and_a_foreign_one_may_not(closed: str) -> None:
    """CORS: the preflight names our headers, the answer exposes them; to others nothing is said."""
    preflight = {
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,last-event-id,x-session-fence",
    }
    async with httpx2.AsyncClient() as client:
        url = f"http://{closed}/x"
        asked = await client.options(url, headers={"Origin": ALLOWED[0], **preflight})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == ALLOWED[0]
        read = await client.get(url, headers={"Origin": ALLOWED[0]})
        exposed = {name.strip().lower() for name in read.headers["access-control-expose-headers"].split(",")}
        assert {"x-position", "etag", "x-request-id"} <= exposed
        foreign = await client.get(url, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers
        refused = await client.options(url, headers={"Origin": "https://evil.example", **preflight})
        assert refused.status_code == 400


def test_without_allowed_origins_there_is_no_cors() -> None:
    """Nothing is wrapped, nothing is paid."""
    assert cors(anything, ()) is anything
