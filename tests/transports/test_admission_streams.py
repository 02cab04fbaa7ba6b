"""Streams over a bound are told when to come back, and each gives its place back however it ends."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sessioncast_server.app import Application
from sessioncast_server.auth.tokens import make_token
from sessioncast_server.db.migrate import migrate
from sessioncast_server.server import DrainingServer, make_server
from sessioncast_server.settings import load
from support.api import SECRET, bearer
from support.streams import SseStream, sse
from support.waiting import until

LANES = ["auto", "portable"]
EVENTS = "/v1/projects/p/events"
POLL = {"Accept": "application/json"}


class Desk:
    """A server in the test's own loop, with a project `p`."""

    def __init__(self, application: Application, server: DrainingServer, url: str) -> None:
        self.application = application
        self.admission = application.admission
        self.server = server
        self.url = url

    def stream(self, sub: str = "ann", *, token: str | None = None) -> Any:
        """A stream of a user."""
        return sse(self.url, EVENTS, token=token or bearer(sub=sub))

    async def poll(self, sub: str = "ann", *, wait: float = 0, position: str | None = None) -> httpx2.Response:
        """A poll's answer."""
        params: dict[str, str | float] = {"wait": wait} | ({"position": position} if position else {})
        async with httpx2.AsyncClient(timeout=30) as http:
            headers = {**POLL, "Authorization": bearer(sub=sub)}
            return await http.get(self.url + EVENTS, params=params, headers=headers)

    async def empty(self) -> None:
        """All places were given back, and nothing else of them is kept."""
        await until(lambda: self.admission.open == 0, "all places to be given back")
        assert self.admission.holders == 0

    def refused(self, reason: str) -> float:
        """Streams refused for a reason."""
        value = self.application.metrics.registry.get_sample_value
        return value("sessioncast_streams_refused_total", {"reason": reason}) or 0.0


@asynccontextmanager
async def desk(folder: Path, lane: str = "auto", **settings: str) -> AsyncIterator[Desk]:
    """A desk with these settings, named without their prefix."""
    interval = sys.getswitchinterval()
    given = {"PORT": "0", "DATABASE_URL": f"sqlite:///{folder}/s.db", "JWT_SECRET": SECRET, "LANE": lane, **settings}
    loaded = load({f"SESSIONCAST_{name}": value for name, value in given.items()})
    await asyncio.to_thread(migrate, loaded.database_url)
    application = Application(loaded)
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = make_server(loaded, ready=address.set_result, application=application)
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: address.done() or running.done(), "the server to be ready")
        assert server.failure is None
        one = Desk(application, server, address.result())
        async with httpx2.AsyncClient() as http:
            headers = {"Authorization": bearer(), "Content-Type": "application/json"}
            made = await http.put(f"{one.url}/v1/projects/p", json={}, headers=headers)
            assert made.status_code == 201
        yield one
    finally:
        server.should_exit = True
        await running
        sys.setswitchinterval(interval)


BOUNDS = {
    "node": {"SUBSCRIBERS_MAX": "2"},
    "principal": {"PRINCIPAL_STREAMS_MAX": "2"},
    "address": {"ADDRESS_STREAMS_MAX": "2"},
}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("which", BOUNDS)
async def test_over_a_bound_a_stream_is_told_when_to_come_back(tmp_path: Path, which: str, lane: str) -> None:
    """200, `goodbye` with `overloaded` and a time, then the end; a waiting poll is 429; both are counted, none is held.

    A poll that does not wait is a read: it is answered.
    """
    async with desk(tmp_path, lane, **BOUNDS[which]) as one:
        async with one.stream() as first, one.stream() as second:
            await first.said("snapshot")
            await second.said("snapshot")
            async with one.stream() as third:
                said = await third.said("goodbye")
                assert said["reason"] == "overloaded"
                assert 1000 <= said["retry_ms"] < 3000
                assert third.parser.retry_ms == said["retry_ms"]
                assert await third.over() == "end"
                assert third.ops == ["goodbye"]
            answer = await one.poll(wait=5)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
            assert answer.json()["retryable"]
            assert 1 <= int(answer.headers["Retry-After"]) <= 3
            assert (await one.poll()).status_code == 200
            assert one.admission.open == 2
            assert one.refused(which) == 2
            if which == "principal":
                async with one.stream("bob") as other:
                    await other.said("snapshot")
        await one.empty()
        async with one.stream() as again:
            await again.said("snapshot")


@pytest.mark.parametrize("lane", LANES)
async def test_too_many_waiting_to_be_opened(tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line full, a stream is told goodbye and a waiting poll is 429, as over any bound."""
    async with desk(tmp_path, lane, OPENING_MAX="1") as one:
        shut = shut_gate(one, monkeypatch)
        async with AsyncExitStack() as stack:
            waiting = asyncio.create_task(stack.enter_async_context(one.stream()))
            await until(lambda: one.admission.opening == 1, "one to wait")
            async with one.stream("bob") as refused:
                assert (await refused.said("goodbye"))["reason"] == "overloaded"
            answer = await one.poll("bob", wait=5)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many")
            assert one.admission.open == 1
            assert one.refused("opening") == 2
            shut()
            stream: SseStream = await waiting
            await stream.said("snapshot")
        await one.empty()


def shut_gate(one: Desk, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on everybody waits; the returned function lets them go on."""
    gate = one.admission._gate
    patch.setattr(gate, "quota", 0)
    patch.setattr(gate, "_turn", lambda: None)
    return gate.open_wide


@pytest.mark.parametrize("lane", LANES)
async def test_places_come_back_when_clients_leave(tmp_path: Path, lane: str) -> None:
    """Streams that were opened, just begun, or not even answered when their clients closed all end as nothing held."""
    async with desk(tmp_path, lane) as one:
        async with one.stream() as read:
            await read.said("snapshot")
        head = f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()}\r\n\r\n".encode()
        host, port = one.url.removeprefix("http://").split(":")
        for _ in range(50):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(head)
            await writer.drain()
            writer.transport.abort()
        await until(lambda: len(one.server.server_state.connections) == 0, "the connections to go")
        await one.empty()


@pytest.mark.parametrize("lane", LANES)
async def test_places_come_back_when_a_client_leaves_in_the_line(
    tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that closed while it waited to be opened holds nothing once its turn has come."""
    async with desk(tmp_path, lane) as one:
        shut = shut_gate(one, monkeypatch)
        host, port = one.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()}\r\n\r\n".encode())
        await until(lambda: one.admission.opening == 1, "it to wait")
        writer.transport.abort()
        await until(lambda: len(one.server.server_state.connections) == 0, "its connection to go")
        shut()
        await one.empty()


@pytest.mark.parametrize("lane", LANES)
async def test_places_come_back_on_expiry_and_refusal(tmp_path: Path, lane: str) -> None:
    """A token that runs out, a project that is not there and a store that is away leave nothing held."""
    async with desk(tmp_path, lane) as one:
        token = "Bearer " + make_token(SECRET, sub="ann", projects="*", scopes=["sessions:read"], ttl_s=7)
        async with one.stream(token=token) as stream:
            assert (await stream.said("goodbye"))["reason"] == "expired"
        await one.empty()
        async with httpx2.AsyncClient() as http:
            for path in ("/v1/projects/none/events", "/v1/tasks/00000000-0000-4000-8000-000000000000/events"):
                answer = await http.get(one.url + path, headers={"Authorization": bearer()})
                assert answer.status_code == 404
        await one.empty()


@pytest.mark.parametrize("lane", LANES)
async def test_places_come_back_when_the_node_drains(
    tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open streams, a waiting poll and one still in the line: each is told or answered, and nothing is held."""
    async with desk(tmp_path, lane) as one, AsyncExitStack() as stack:
        stream: SseStream = await stack.enter_async_context(one.stream())
        await stream.said("snapshot")
        position = (await one.poll()).json()["position"]
        poll = asyncio.create_task(one.poll(wait=20, position=position))
        await until(lambda: one.admission.open == 2, "the poll to wait")
        shut_gate(one, monkeypatch)
        waiting = asyncio.create_task(stack.enter_async_context(one.stream("bob")))
        await until(lambda: one.admission.opening == 1, "another to wait")
        one.server.should_exit = True
        assert (await stream.said("goodbye"))["reason"] == "draining"
        assert (await poll).status_code in (200, 304)
        late: SseStream = await waiting
        assert (await late.said("goodbye"))["reason"] == "draining"
        await one.empty()


async def test_a_waiting_poll_is_a_stream_meanwhile(tmp_path: Path) -> None:
    """It holds a place while it waits, and gives it back when it is answered."""
    async with desk(tmp_path) as one:
        position = (await one.poll()).json()["position"]
        assert one.admission.open == 0
        poll = asyncio.create_task(one.poll(wait=20, position=position))
        await until(lambda: one.admission.open == 1, "it to wait")
        async with httpx2.AsyncClient(timeout=30) as http:
            headers = {"Authorization": bearer(), "Content-Type": "application/json"}
            made = await http.post(f"{one.url}/v1/projects/p/tasks", json={"title": "T"}, headers=headers)
            assert made.status_code == 201
        assert (await poll).status_code == 200
        await one.empty()
