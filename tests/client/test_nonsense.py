"""A server that says what no server of ours says: nobody waits for ever, and nothing old looks like new."""

import asyncio
import json
from typing import Any

import pytest

from sessioncast import Client, Limits, ProtocolError, StreamState
from support.scripted import ScriptedServer, ScriptedSockets, Streamed, Talk
from support.waiting import DEADLINE_S

READY = {"op": "subscribed", "ref": "1", "key": "k", "state": "snapshot", "position": "e:1"}
EMPTY = {"op": "snapshot", "key": "k", "resources": [], "position": "e:1"}
HEAD = {"position": "e:2", "at": "2026-01-01T00:00:00Z", "project_id": "p"}
WRONG = [
    {"op": "events", "key": "k", "events": [{**HEAD, "type": "session.updated", "data": {"id": 1}}]},
    {"op": "events", "key": "k", "events": [{**HEAD, "type": "message.created", "data": {"thread": 5}}]},
    {"op": "events", "key": "k", "events": 5},
    {"op": "snapshot", "key": "k", "resources": None, "position": "e:2"},
    "[" * 100_000,
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_mirror_that_cannot_follow_says_so(sockets: ScriptedSockets, quick: Limits, wrong: Any) -> None:
    """It is closed, whoever waits is told, and so is who asks later."""
    sockets.say(Talk([READY, EMPTY, wrong]))
    async with (
        asyncio.timeout(DEADLINE_S),
        Client(sockets.url, limits=quick) as client,
        client.live("p", transport="websocket") as live,
    ):
        with pytest.raises(ProtocolError):
            await live.until(lambda session: session.status == "running")
        with pytest.raises(ProtocolError):
            await anext(live)
        assert (live.state, live.transport) == (StreamState.CLOSED, None)


async def test_what_is_nested_too_deep_is_nonsense(server: ScriptedServer, quick: Limits) -> None:
    """In an event stream as in answers."""
    deep = "[" * 100_000
    frames = f"event: ready\ndata: {json.dumps(READY)}\n\ndata: {deep}\n\n".encode()
    server.say(Streamed([frames]))
    async with Client(server.url, limits=quick) as client, asyncio.timeout(DEADLINE_S):
        stream = client.subscribe("p", transport="sse")
        await anext(stream)
        with pytest.raises(ProtocolError):
            await anext(stream)


@pytest.mark.parametrize("wish", [{"transport": "carrier"}, {"check_s": 0}, {"check_s": -1.0}])
async def test_wishes_that_cannot_be_are_refused_at_once(wish: dict[str, Any]) -> None:
    """Before anything is sent."""
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=r"carrier|check_s"):
            client.live("p", **wish)
