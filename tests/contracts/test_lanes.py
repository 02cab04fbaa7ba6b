"""Both lanes tell the same, byte for byte: one application, served by both, followed through a life of a project."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.frames import Close, Opcode

from sessioncast_server.auth.tokens import make_token
from sessioncast_server.broker.base import Route, Whisper
from sessioncast_server.channels import life
from support.api import ALL_SCOPES, SECRET, bearer
from support.lanes import EVENTS, LANES, Lane, WebSocketWire, Wire, lanes, masked, websocket_wire, wire
from support.waiting import until

_SETTINGS = {
    "HEARTBEAT_S": "0.4", "SNAPSHOT_PAGE": "2", "REPLAY_MAX_EVENTS": "20", "SNAPSHOT_MIN_INTERVAL_S": "0.001",
}  # fmt: skip
_JITTER = re.compile(rb'retry: \d+\n|"retry_ms":\d+,?')


class Heard:
    """One stream, as frames without the jitter that each client is told; heartbeats apart: when they come is chance."""

    def __init__(self, stream: Wire | WebSocketWire) -> None:
        self.stream = stream
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        if isinstance(self.stream, Wire):
            await self.stream.rest_as_it_comes()
        else:
            await self.stream.closed()

    @property
    def all(self) -> list[bytes]:
        """Frames."""
        stream = self.stream
        frames = stream.body.split(b"\n\n")[:-1] if isinstance(stream, Wire) else stream.of(Opcode.TEXT)
        return [_JITTER.sub(b"", each) for each in frames]

    @property
    def frames(self) -> list[bytes]:
        """All but heartbeats."""
        return [each for each in self.all if not _beats(each)]

    @property
    def beats(self) -> list[bytes]:
        """Heartbeats."""
        return [each for each in self.all if _beats(each)]

    async def has(self, text: str | bytes, count: int = 1) -> None:
        """Wait for a frame with this in it."""
        wanted = text.encode() if isinstance(text, str) else text
        await until(lambda: sum(wanted in each for each in self.all) >= count, f"{text!r}; {self.all[-3:]}")

    async def over(self) -> None:
        """Wait for the end of the connection."""
        await asyncio.wait_for(self._reading, 20)


def _beats(frame: bytes) -> bool:
    return frame.startswith((b"event: heartbeat", b'{"op":"heartbeat"'))


Follow = Callable[..., Awaitable[list[Heard]]]


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[list[Lane]]:
    """The lanes."""
    async with lanes(tmp_path, *LANES, **_SETTINGS) as found:
        yield found


@pytest.fixture(params=["sse", "websocket"])
async def follow(request: pytest.FixtureRequest, both: list[Lane]) -> AsyncIterator[Follow]:
    """Opens the same stream on each lane."""
    async with AsyncExitStack() as stack:

        async def opened(position: str | None = None, snapshot: str = "auto", token: str | None = None) -> list[Heard]:
            found = []
            for lane in both:
                if request.param == "sse":
                    one = await stack.enter_async_context(wire(lane))
                    last = [] if position is None else [f"Last-Event-ID: {position}"]
                    one.get(f"{EVENTS}?snapshot={snapshot}", *last, token=token)
                    found.append(Heard(one))
                else:
                    socket = await stack.enter_async_context(websocket_wire(lane, token=token or bearer()))
                    wish = {"op": "subscribe", "project": "p", "snapshot": snapshot, "ref": 1, "position": position}
                    socket.send(masked(Opcode.TEXT, json.dumps(wish)))
                    found.append(Heard(socket))
            assert len(both[0].outlets) > len(both[1].outlets) == 0 or request.param == "sse"
            return found

        yield opened


async def alike(heard: list[Heard], text: str | bytes, count: int = 1) -> list[bytes]:
    """The frames, once each stream has heard this and what came with it; they are equal."""
    for each in heard:
        await each.has(text, count)
    # What follows it may have come on one of them already.
    await until(lambda: len(heard[0].frames) == len(heard[1].frames), "the other stream to hear the same")
    assert heard[0].frames == heard[1].frames
    return heard[0].frames


async def test_a_life_of_a_project(both: list[Lane], follow: Follow) -> None:
    """Snapshot in pages, tasks, sessions, output, a replacement, heartbeats, a new epoch, and the drain's goodbye."""
    lane = both[0]
    tasks = [await lane.task(f"{number}") for number in range(5)]
    heard = await follow()
    frames = await alike(heard, b'"more":false')
    assert sum(b'"more":true' in each for each in frames) == 2
    path = f"/v1/tasks/{tasks[0]}/sessions"
    started = await lane.request("POST", path, {"phase": "run", "model": {"name": "m"}})
    session = started["session"]["id"]
    await alike(heard, b'"session.')
    for number, text in enumerate(["plain", "ünïcode \u2028 \r\n\u0000", "x" * 70_000], 1):
        await lane.request("POST", f"/v1/sessions/{session}/output", {"chunks": [{"text": text}, {"text": "."}]})
        await alike(heard, b'"type":"session.output"', number)
    before = len(heard[0].frames)
    wish = {"phase": "run", "model": {"name": "n"}, "on_conflict": "replace", "confirm": {"session_id": session}}
    replaced = await lane.request("POST", path, wish)
    await alike(heard, replaced["session"]["id"])
    assert len(heard[0].frames) > before
    await lane.request("PATCH", f"/v1/tasks/{tasks[1]}", {"title": "another"})
    await alike(heard, b'"another"')
    known = [len(each.beats) for each in heard]
    await until(lambda: all(len(each.beats) > was + 1 for each, was in zip(heard, known, strict=True)), "heartbeats")
    assert heard[0].beats[-1] == heard[1].beats[-1]
    head = lane.application.hub._channels["p"].head
    await lane.application.database.write(life.rotate, "p", head.epoch)
    await lane.application.hub.check_heads()
    await alike(heard, b"resync")
    frames = await alike(heard, b'"more":false', 2)
    await lane.application.drain()
    frames = await alike(heard, b"goodbye")
    assert b"draining" in frames[-1]
    for each in heard:
        await each.over()
    assert heard[0].frames == heard[1].frames
    closes = [_close_of(each) for each in heard]
    assert closes[0] == closes[1]


def _close_of(heard: Heard) -> Any:
    """Code and reason of a WebSocket's end."""
    if isinstance(heard.stream, Wire):
        return None
    return Close.parse(heard.stream.of(Opcode.CLOSE)[0])


async def test_whispers(both: list[Lane], follow: Follow) -> None:
    """Among the events, without a position; those of one turn together; told to who is there, and to nobody later."""
    lane = both[0]
    task = await lane.task("before")
    heard = await follow()
    await following(heard)
    before = await position_of(lane)
    for batch in (["one"], ["two", "ünïcode \u2028", "three"]):
        bodies = [orjson.dumps({"type": "message.delta", "data": {"text": text}}) for text in batch]
        for body in bodies:
            lane.application.hub.whisper(Whisper("p", Route("task", task), body))
        frames = await alike(heard, bodies[-1])
        if frames[-1].startswith(b"{"):
            assert frames[-1].endswith(b'"events":[%s]}' % b",".join(bodies))
        else:
            assert frames[-len(bodies) :] == [b"data: " + body for body in bodies]
    waiting = asyncio.create_task(lane.answer("GET", f"{EVENTS}?wait=20&position={before}", poll=True))
    channel = lane.application.hub._channels["p"]
    await until(lambda: len(channel.subscribers) == 3, "the poll to wait")
    lane.application.hub.whisper(Whisper("p", Route("task", task), b'{"type":"message.delta","data":{}}'))
    await alike(heard, b'"data":{}')
    assert not waiting.done()
    await lane.task("after")
    await alike(heard, b'"after"')
    assert [each["data"]["title"] for each in (await waiting).json()["events"]] == ["after"]
    back = await follow(before)
    frames = await alike(back, b'"after"')
    assert not any(b"message.delta" in frame for frame in frames)


@pytest.mark.parametrize("snapshot", ["auto", "always", "never"])
async def test_how_a_stream_opens(both: list[Lane], follow: Follow, snapshot: str) -> None:
    """From the start, from within, at the head, too far back, from another life and from the future."""
    lane = both[0]
    for number in range(3):
        await lane.task(f"{number}")
    epoch = (await position_of(lane)).partition(":")[0]
    positions = [None, f"{epoch}:0", f"{epoch}:2", f"{epoch}:3", f"{epoch}:99", "other:1"]
    opened = [await follow(position, snapshot) for position in positions]
    await following([each for heard in opened for each in heard])
    await lane.task("after all")
    for heard in opened:
        await alike(heard, b"after all")
    for number in range(22):
        await lane.task(f"more {number}")
    late = await follow(f"{epoch}:1", snapshot)
    await following(late)
    await alike(late, b"more 21")


async def following(heard: list[Heard]) -> None:
    """Wait until each stream has had what it was opened with: only then it gets heartbeats."""
    await until(lambda: all(each.beats for each in heard), "a heartbeat on each stream")


async def position_of(lane: Lane) -> str:
    """The project's head."""
    answer = await lane.answer("GET", "/v1/projects/p")
    return str(answer.headers["x-position"])


async def test_a_token_that_expires(follow: Follow) -> None:
    """Goodbye with the reason, then the end, with the same code."""
    token = make_token(SECRET, sub="ann", projects="*", scopes=ALL_SCOPES, ttl_s=7)
    heard = await follow(token=f"Bearer {token}")
    frames = await alike(heard, b"expired")
    assert b"goodbye" in frames[-1]
    for each in heard:
        await each.over()
    assert heard[0].frames == heard[1].frames
    assert _close_of(heard[0]) == _close_of(heard[1])


@pytest.mark.parametrize("more", [[], ["Origin: https://page.example"], ["Connection: close"]])
async def test_heads_of_answers_are_equal(tmp_path: Path, more: list[str]) -> None:
    """But for the date and the request's id: names, values and what a browser of another origin is told."""
    heads = []
    async with lanes(tmp_path, *LANES, ALLOWED_ORIGINS="https://page.example") as both:
        for lane in both:
            async with wire(lane) as one:
                one.get(EVENTS, *more)
                head = (await one.until(b"event: ready")).partition(b"\r\n\r\n")[0].decode()
                status, *lines = head.split("\r\n")
                fields = sorted(line.split(": ", 1) for line in lines)
                heads.append((status, [pair for pair in fields if pair[0] not in ("date", "x-request-id")]))
                assert {"date", "x-request-id"} <= {name for name, _ in fields}
    assert heads[0] == heads[1]
