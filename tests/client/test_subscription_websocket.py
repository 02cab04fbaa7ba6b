"""Subscriptions over a WebSocket against a server that says what the test wrote."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

import sessioncast
from sessioncast import Client, Event, Limits, Opened, Resync, Snapshot, Subscription
from support.scripted import Reply, ScriptedServer, ScriptedSockets, Talk

SESSION = str(UUID(int=9))
RESUMED = {"op": "subscribed", "ref": "1", "key": "k", "state": "resumed", "position": "e:1"}


def events(*offsets: int) -> dict[str, Any]:
    """A batch of events."""
    rest = {"type": "x.y", "at": "2026-01-01T00:00:00Z", "project_id": "p", "data": {}}
    return {"op": "events", "key": "k", "events": [{"position": f"e:{offset}", **rest} for offset in offsets]}


def subscribe(client: Client, position: str | None = "e:1") -> Subscription:
    """A subscription over a WebSocket."""
    return client.subscribe("p", session=SESSION, kinds=["output"], position=position, transport="websocket")


async def test_it_resumes_without_repeating(sockets: ScriptedSockets, quick: Limits) -> None:
    """Position and filter are in the subscribe frame, the token in the header; repeated events are dropped."""
    sockets.say(
        Talk([RESUMED, events(2, 3), {"op": "heartbeat", "key": "k", "position": "e:7", "head": "e:9"}], 1001),
        Talk([RESUMED, events(3, 7, 8)]),
    )
    found: list[str] = []
    async with Client(sockets.url, "secret", limits=quick) as client, subscribe(client) as stream:
        async for item in stream:
            found += [item.position] if isinstance(item, Event) else []
            if len(found) == 3:
                break
    assert found == ["e:2", "e:3", "e:8"]
    frames = [json.loads(seen.body) for seen in sockets.seen]
    wanted = {"session": [SESSION], "kinds": ["output"]}
    first = {"op": "subscribe", "ref": "1", "project": "p", "snapshot": "auto", "filter": wanted, "position": "e:1"}
    assert frames == [first, {**first, "position": "e:7"}]
    assert {seen.headers["authorization"] for seen in sockets.seen} == {"Bearer secret"}
    assert {seen.path for seen in sockets.seen} == {"/v1/ws"}


async def test_snapshots_and_resyncs_are_told(sockets: ScriptedSockets, quick: Limits) -> None:
    """Both a gap at the start and one on the way come with the whole state."""
    page = {"op": "snapshot", "key": "k", "resources": []}
    gap = {**RESUMED, "state": "gap", "reason": "epoch", "position": "f:4"}
    sockets.say(
        Talk(
            [
                gap,
                {**page, "more": True},
                {**page, "position": "f:4"},
                {"op": "resync", "key": "k", "reason": "slow"},
                {**page, "position": "f:9"},
            ]
        )
    )
    async with Client(sockets.url, limits=quick) as client, subscribe(client) as stream:
        items = [await anext(stream) for _ in range(4)]
        assert items == [
            Opened("gap", "epoch", position="f:4"),
            Snapshot((), "f:4"),
            Resync("slow"),
            Snapshot((), "f:9"),
        ]
        assert stream.position == "f:9"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(4400, sessioncast.ProblemError), (4401, sessioncast.Unauthenticated), (4403, sessioncast.Forbidden)],
)
async def test_a_close_for_good_is_raised(
    sockets: ScriptedSockets, quick: Limits, code: int, kind: type[sessioncast.ProblemError]
) -> None:
    """After 4400, 4401 and 4403 the client does not come back."""
    sockets.say(Talk([], code))
    async with Client(sockets.url, limits=quick) as client:
        with pytest.raises(kind):
            await anext(subscribe(client))
    assert len(sockets.seen) == 1


@pytest.mark.parametrize(
    "talk",
    [
        Talk([], 1001),
        Talk([], 1011),
        Talk([], 4408),
        Talk([], 4429),
        Talk([{"op": "goodbye", "retry_ms": 1, "reason": "draining"}]),
        Talk([{"op": "error", "code": "unavailable", "detail": "Later.", "ref": "1"}]),
    ],
)
async def test_an_end_that_passes_is_waited_out(sockets: ScriptedSockets, quick: Limits, talk: Talk) -> None:
    """Draining, overload and slowness are reasons to come back."""
    sockets.say(talk, Talk([RESUMED]))
    async with Client(sockets.url, limits=quick) as client, subscribe(client) as stream:
        assert await anext(stream) == Opened("resumed", position="e:1")
    assert len(sockets.seen) == 2


async def test_silence_is_an_end(sockets: ScriptedSockets, quick: Limits) -> None:
    """A socket on which nothing is heard is given up."""
    sockets.say(Talk([]), Talk([RESUMED]))
    async with Client(sockets.url, limits=replace(quick, idle_s=0.05)) as client, subscribe(client) as stream:
        assert isinstance(await anext(stream), Opened)
    assert len(sockets.seen) == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [("not_found", sessioncast.NotFound), ("bad_filter", sessioncast.ProblemError)],
)
async def test_an_error_frame_is_raised(
    sockets: ScriptedSockets, quick: Limits, code: str, kind: type[sessioncast.ProblemError]
) -> None:
    """A refused subscription raises what the same refusal over HTTP raises."""
    sockets.say(Talk([{"op": "error", "code": code, "detail": "No.", "ref": "1"}]))
    async with Client(sockets.url, limits=quick) as client:
        with pytest.raises(kind) as caught:
            await anext(subscribe(client))
    assert caught.value.code == code


DEEP = "[" * 900 + "]" * 900


@pytest.mark.parametrize("nonsense", ["{", "[]", b"\x00", {"op": "events"}, {"op": "subscribed"}, "x" * 2000, DEEP])
async def test_nonsense_never_reaches_the_caller(sockets: ScriptedSockets, quick: Limits, nonsense: Any) -> None:
    """What is not ours, or too long, is our exception; a message without meaning is passed over."""
    sockets.say(Talk([nonsense, {"op": "events", "events": [7]}]))
    async with Client(sockets.url, limits=replace(quick, frame_bytes=1000)) as client:
        with pytest.raises(sessioncast.ProtocolError):
            await anext(subscribe(client))


@pytest.mark.parametrize(("status", "kind"), [(401, sessioncast.Unauthenticated), (404, sessioncast.NotFound)])
async def test_a_refused_handshake_is_the_same_problem(
    server: ScriptedServer, quick: Limits, status: int, kind: type[sessioncast.ProblemError]
) -> None:
    """An HTTP status before the WebSocket is there raises what a request would raise."""
    server.say(Reply(status, {"code": "c", "detail": "No."}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(kind) as caught:
            await anext(subscribe(client))
    assert caught.value.detail == "No."
