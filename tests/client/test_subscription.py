"""Subscriptions over SSE against a server that says what the test wrote."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

import sessioncast
from sessioncast import Client, Event, Limits, Opened, Snapshot, StreamState, Subscription
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.tracker import Tracker
from sessioncast.transport import Transport
from sessioncast_shared.filters import Filter
from support.scripted import Lost, Reply, ScriptedServer, Streamed
from support.waiting import DEADLINE_S, until

TASK = str(UUID(int=7))


def frame(name: str, body: Any, id_: str = "") -> bytes:
    """A named control frame."""
    return f"event: {name}\ndata: {json.dumps(body)}\n{f'id: {id_}' if id_ else ':'}\n\n".encode()


def event(offset: int, epoch: str = "e") -> bytes:
    """An event of the log."""
    position = f"{epoch}:{offset}"
    body = {"position": position, "type": "x.y", "at": "2026-01-01T00:00:00Z", "project_id": "p", "data": {}}
    return f"id: {position}\ndata: {json.dumps(body)}\n\n".encode()


RESUMED = frame("ready", {"state": "resumed", "position": "e:1"})
FRESH = frame("ready", {"state": "snapshot", "position": "e:1"}) + frame("snapshot", {"resources": []}, "e:1")


def over_sse(client: Client, **wishes: Any) -> Subscription:
    """A subscription over server-sent events."""
    return client.subscribe("p", transport="sse", **wishes)


async def positions(stream: Subscription, count: int) -> list[str]:
    """Positions of the next events; other items are left out."""
    found: list[str] = []
    async for item in stream:
        if isinstance(item, Event):
            found.append(item.position)
        if len(found) == count:
            break
    return found


async def test_a_broken_stream_resumes_after_the_last_event(server: ScriptedServer, quick: Limits) -> None:
    """The reconnect sends the last position, and what the server repeats is not yielded again."""
    server.say(
        Streamed([FRESH + event(2) + event(3)], then="break"),
        Lost(),
        Streamed([RESUMED + event(2) + event(3) + event(4)], then="end"),
        Streamed([RESUMED + event(5)]),
    )
    async with (
        Client(server.url, "secret", limits=quick) as client,
        over_sse(client, task=TASK) as stream,
    ):
        assert await positions(stream, 4) == ["e:2", "e:3", "e:4", "e:5"]
        assert stream.position == "e:5"
    assert [seen.headers.get("last-event-id") for seen in server.seen] == [None, "e:3", "e:3", "e:4"]
    assert {(seen.path, *seen.query["task"]) for seen in server.seen} == {("/v1/projects/p/events", TASK)}
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer secret"}


async def test_an_unfinished_event_is_not_believed(server: ScriptedServer, quick: Limits) -> None:
    """What was cut off in the middle is asked for again."""
    server.say(Streamed([FRESH, event(2)[:-1]], then="end"), Streamed([RESUMED + event(2)]))
    async with Client(server.url, limits=quick) as client, over_sse(client) as stream:
        assert await positions(stream, 1) == ["e:2"]
    assert server.seen[1].headers["last-event-id"] == "e:1"


async def test_a_gap_is_told_with_its_snapshot(server: ScriptedServer, quick: Limits) -> None:
    """The caller learns that events are missing, from where to where and why, and gets the whole state instead."""
    gap = {"state": "gap", "from": "e:5", "to": "f:9", "reason": "epoch", "position": "f:9"}
    pages = frame("snapshot", {"resources": [], "more": True}) + frame("snapshot", {"resources": []}, "f:9")
    server.say(Streamed([frame("ready", gap) + pages + event(10, "f")]))
    async with (
        Client(server.url, limits=quick) as client,
        over_sse(client, position="e:5") as stream,
    ):
        items = [await anext(stream) for _ in range(3)]
    assert items[0] == Opened("gap", "epoch", "e:5", "f:9", "f:9")
    assert items[1] == Snapshot((), "f:9")
    assert isinstance(items[2], Event)
    assert server.seen[0].headers["last-event-id"] == "e:5"


async def test_a_snapshot_cut_in_half_is_begun_anew(server: ScriptedServer, quick: Limits) -> None:
    """A connection that breaks between the pages leaves no half state, and no position that would hide it."""
    half = frame("ready", {"state": "snapshot", "position": "e:8"}) + frame("snapshot", {"resources": [], "more": True})
    server.say(Streamed([half], then="break"), Streamed([FRESH]))
    async with Client(server.url, limits=quick) as client, over_sse(client) as stream:
        items = [await anext(stream) for _ in range(3)]
    assert [type(item) for item in items] == [Opened, Opened, Snapshot]
    assert "last-event-id" not in server.seen[1].headers


async def test_the_position_is_that_of_what_was_yielded(server: ScriptedServer, quick: Limits) -> None:
    """Events that arrived together but were not handed out yet are not counted as handled."""
    server.say(Streamed([FRESH + event(2) + event(3)]))
    async with Client(server.url, limits=quick) as client, over_sse(client) as stream:
        assert await positions(stream, 1) == ["e:2"]
        assert stream.position == "e:2"


async def test_an_id_on_its_own_moves_the_place(server: ScriptedServer, quick: Limits) -> None:
    """The end of a replay and a heartbeat are safe positions, though nothing is yielded for them."""
    server.say(
        Streamed([RESUMED + b"id: e:40\n\n"], then="end"),
        Streamed([RESUMED + frame("heartbeat", {"head": "e:90"}, "e:50")], then="end"),
        Streamed([RESUMED]),
    )
    async with (
        Client(server.url, limits=quick) as client,
        over_sse(client, position="e:1") as stream,
    ):
        for _ in range(3):
            assert isinstance(await anext(stream), Opened)
    assert [seen.headers["last-event-id"] for seen in server.seen] == ["e:1", "e:40", "e:50"]


async def test_silence_is_an_end(server: ScriptedServer, quick: Limits) -> None:
    """A connection on which nothing is heard, not even a heartbeat, is given up and opened anew."""
    server.say(Streamed([FRESH]), Streamed([RESUMED + event(2)]))
    async with (
        Client(server.url, limits=replace(quick, idle_s=0.5)) as client,
        over_sse(client) as stream,
    ):
        assert await positions(stream, 1) == ["e:2"]
    assert len(server.seen) == 2


async def test_a_comment_is_a_sign_of_life(server: ScriptedServer, quick: Limits) -> None:
    """Any byte counts as heard, and yields nothing."""
    go = asyncio.Event()
    server.say(Streamed([FRESH, b": still here\n\n", go, event(2)]))
    async with Client(server.url, limits=quick) as client, over_sse(client) as stream:
        assert isinstance(await anext(stream), Opened)
        assert isinstance(await anext(stream), Snapshot)
        go.set()
        assert await positions(stream, 1) == ["e:2"]
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("line", "least_s"),
    [
        (Streamed([RESUMED + b"retry: 5000\n" + frame("goodbye", {"retry_ms": 7000, "reason": "draining"})]), 7),
        (Streamed([RESUMED + b"retry: 5000\n\n"], then="end"), 5),
        (Reply(503, {"code": "unavailable", "retryable": True}, {"Retry-After": "9"}), 9),
        (Reply(429, {"code": "too_many", "retryable": True}, {"Retry-After": "3"}), 3),
        (Reply(500, {"code": "unexpected", "retryable": False}), 0),
        (Reply(502, None), 0),
        (Reply(200, {"some": "portal"}), 0),
        (Streamed([RESUMED], then="end"), 0),
    ],
)
async def test_it_comes_back_no_sooner_than_asked(
    server: ScriptedServer, quick: Limits, line: Reply | Streamed, least_s: float
) -> None:
    """Goodbye, `retry` and `Retry-After` are floors under the jitter; what passes is waited out, not raised."""
    server.say(line, Streamed([RESUMED + event(2)]))
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    statuses = Statuses()
    async with aclosing(Transport(server.url, token=None, user=None, limits=quick)) as transport:
        ways = transport.ways("p", Filter(), "sse", statuses)
        stream = Subscription(ways, Tracker("url", "e:1", "auto"), quick, statuses=statuses, sleep=sleep)
        assert await positions(stream, 1) == ["e:2"]
    assert len(waited) == 1
    assert least_s <= waited[0] <= least_s + quick.backoff_cap_s


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, sessioncast.Unauthenticated),
        (403, sessioncast.Forbidden),
        (404, sessioncast.NotFound),
        (400, sessioncast.ProblemError),
    ],
)
async def test_a_refusal_ends_the_subscription(
    server: ScriptedServer, quick: Limits, status: int, kind: type[sessioncast.ProblemError]
) -> None:
    """What coming back cannot change is raised once, and the iteration is over."""
    server.say(Reply(status, {"code": "c", "detail": "No."}))
    async with Client(server.url, limits=quick) as client:
        stream = over_sse(client)
        with pytest.raises(kind):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "nonsense",
    [b"data: {\n\n", b"data: {}\n\n", frame("ready", []), frame("ready", {}), frame("ready", {"state": "odd"})],
)
async def test_nonsense_ends_the_subscription(server: ScriptedServer, quick: Limits, nonsense: bytes) -> None:
    """A stream that is not ours is raised instead of being asked for ever again."""
    server.say(Streamed([nonsense]))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(sessioncast.ProtocolError):
            await anext(over_sse(client))


async def test_unknown_frames_of_a_newer_server_are_passed_over(server: ScriptedServer, quick: Limits) -> None:
    """A named frame that this client does not know disturbs nothing."""
    server.say(Streamed([FRESH + frame("later", {"x": 1}) + event(2)]))
    async with Client(server.url, limits=quick) as client, over_sse(client) as stream:
        assert await positions(stream, 1) == ["e:2"]


async def test_a_cancelled_wait_loses_the_connection_but_not_the_place(server: ScriptedServer, quick: Limits) -> None:
    """`anext` under a timeout can be tried again: the subscription resumes where it was."""
    server.say(Streamed([FRESH + event(2)]), Streamed([RESUMED + event(3)]))
    async with Client(server.url, limits=quick) as client, over_sse(client) as stream:
        assert await positions(stream, 1) == ["e:2"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.01)
        assert await positions(stream, 1) == ["e:3"]
    assert server.seen[1].headers["last-event-id"] == "e:2"


async def test_closing_from_outside_ends_the_iteration(server: ScriptedServer, quick: Limits) -> None:
    """A task that waits for the next item is released by the client's close, without being cancelled."""
    server.say(Streamed([FRESH]))
    states: list[StreamState] = []
    count = 0

    async def listen(stream: Subscription) -> str:
        nonlocal count
        async for _ in stream:
            count += 1
        return "ended"

    client = Client(server.url, limits=quick)
    listening = asyncio.create_task(listen(over_sse(client, on_state=states.append)))
    await until(lambda: count == 2, "the snapshot")
    await client.aclose()
    assert await listening == "ended"
    assert states == [StreamState.OPEN, StreamState.CLOSED]


async def test_the_state_tells_of_the_connection(server: ScriptedServer, quick: Limits) -> None:
    """Whoever shows the state sees the break, the reason and the way back."""
    server.say(Streamed([FRESH], then="end"), Streamed([RESUMED + event(2)]))
    told: list[tuple[StreamState, bool]] = []
    async with Client(server.url, limits=quick) as client:
        stream = client.subscribe(
            "p", transport="sse", on_state=lambda state: told.append((state, stream.last_error is not None))
        )
        assert await positions(stream, 1) == ["e:2"]
        await stream.aclose()
    assert told == [
        (StreamState.OPEN, False),
        (StreamState.WAITING, True),
        (StreamState.CONNECTING, True),
        (StreamState.OPEN, False),
        (StreamState.CLOSED, False),
    ]


@pytest.mark.parametrize(("argument", "value"), [("task", "x"), ("kinds", ["x"]), ("kinds", []), ("position", "x")])
async def test_arguments_that_cannot_be_are_refused_at_once(argument: str, value: Any) -> None:
    """A bad id, kind or position is told where it was written, before anything is sent."""
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=r"not a|unknown kind|names none"):
            client.subscribe("p", **{argument: value})


class _Cutting:
    """Takes no WebSocket, cuts each event stream off behind its head, and answers polls."""

    def __init__(self) -> None:
        self.streams = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b"GET /v1/ws" in head:
            writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif b"text/event-stream" in head:
            self.streams += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        else:
            body = b'{"state": "resumed", "events": [], "position": "e:1", "more": false}'
            kind = b"Content-Type: application/json\r\nConnection: close\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (kind, len(body), body))
        writer.close()


async def test_a_way_that_is_cut_before_a_word_is_left_for_one_that_works() -> None:
    """Opened and cut off, three times: then it is done without."""
    cutting = _Cutting()
    listener = await asyncio.start_server(cutting.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    limits = Limits(backoff_base_s=0.4, backoff_cap_s=0.4)
    async with listener, asyncio.timeout(DEADLINE_S), Client(url, limits=limits) as client:
        stream = client.subscribe("p", position="e:1")
        assert isinstance(await anext(stream), Opened)
        assert stream.transport == "poll"
        assert cutting.streams >= 3
