"""A WebSocket on the fast lane, byte by byte: what RFC 6455 asks of a server holds once it was taken over."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode

from support.api import bearer
from support.lanes import LANES, Lane, WebSocketWire, lanes, masked, websocket_wire, wire
from support.waiting import STALL_S, until


@pytest.fixture(params=LANES)
async def lane(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lane]:
    """A server of each lane: both must do the same."""
    async with lanes(tmp_path, request.param, HEARTBEAT_S="30", WS_AUTH_TIMEOUT_S="0.3", WS_PING_S="3600") as found:
        yield found[0]


def said(op: str, **fields: Any) -> bytes:
    """A frame's payload."""
    return json.dumps({"op": op, **fields}).encode()


def ping(ref: int) -> bytes:
    """A masked frame that is answered by a pong frame of ours."""
    return masked(Opcode.TEXT, said("ping", ref=ref))


async def test_a_text_in_fragments_with_a_ping_between_them(lane: Lane) -> None:
    """The ping is answered at once with its payload, the text once it is whole, wherever a character was cut."""
    text = said("ping", ref="ü€").decode().encode().replace(b"\\u00fc\\u20ac", "ü€".encode())
    async with websocket_wire(lane, token=bearer()) as one:
        cut = text.index(b"\xc3") + 1
        one.send(masked(Opcode.TEXT, text[:cut], fin=False), masked(Opcode.PING, b"are you there"))
        assert await one.got(Opcode.PONG) == [b"are you there"]
        assert one.of(Opcode.TEXT) == []
        one.send(masked(Opcode.CONT, b"", fin=False), masked(Opcode.CONT, text[cut:]))
        assert [json.loads(each) for each in await one.got(Opcode.TEXT)] == [{"op": "pong", "ref": "ü€"}]


async def test_a_frame_byte_by_byte(lane: Lane) -> None:
    """However it is cut into segments, it is one frame."""
    async with websocket_wire(lane, token=bearer()) as one:
        for byte in ping(7):
            one.send(bytes([byte]))
            await one.wire.writer.drain()
            await asyncio.sleep(0)
        assert json.loads((await one.got(Opcode.TEXT))[0])["ref"] == 7


async def test_a_binary_frame_is_an_error_frame(lane: Lane) -> None:
    """It is told, and the connection goes on; an empty text is told too."""
    async with websocket_wire(lane, token=bearer()) as one:
        one.send(masked(Opcode.BINARY, b"\x00\xff"), masked(Opcode.TEXT, b""), ping(1))
        found = [json.loads(each) for each in await one.got(Opcode.TEXT, 3)]
        assert [each.get("code", each["op"]) for each in found] == ["bad_request", "bad_json", "pong"]


async def test_two_hundred_frames_in_one_segment_are_answered_in_order(lane: Lane) -> None:
    """Each once."""
    async with websocket_wire(lane, token=bearer()) as one:
        one.send(*map(ping, range(200)))
        assert [json.loads(each)["ref"] for each in await one.got(Opcode.TEXT, 200)] == list(range(200))


@pytest.mark.parametrize("payload", [Close(1000, "that is all").serialize(), Close(4001, "ü").serialize(), b""])
async def test_a_close_of_the_client_is_answered_with_its_code(lane: Lane, payload: bytes) -> None:
    """And then the connection is closed, and nothing of it is left."""
    async with websocket_wire(lane, token=bearer()) as one:
        one.send(masked(Opcode.TEXT, said("subscribe", project="p")))
        await one.got(Opcode.TEXT, 2)
        one.send(masked(Opcode.CLOSE, payload))
        await one.closed()
        assert one.of(Opcode.CLOSE)[0][:2] == payload[:2]
        await until(lambda: lane.application.hub.subscribers == 0 and lane.application.admission.open == 0, "its end")
        await until(lambda: not lane.server.server_state.connections, "its connection's end")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (masked(Opcode.TEXT, b"\xff\xfe"), 1007),
        (masked(Opcode.TEXT, b"\xc3", fin=False) + masked(Opcode.CONT, b"("), 1007),
        (b"\x81\x02{}", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x09\x80\0\0\0\0", 1002),
        (masked(Opcode.CONT, b"x"), 1002),
        (masked(Opcode.TEXT, b"x" * ((1 << 20) + 1)), 1009),
        (masked(Opcode.TEXT, b"x" * (1 << 19), fin=False) + masked(Opcode.CONT, b"x" * ((1 << 19) + 1)), 1009),
    ],
    ids=["utf-8", "utf-8 in fragments", "unmasked", "opcode", "reserved bit", "ping in fragments", "nothing to go on",
         "large", "large in fragments"],
)  # fmt: skip
async def test_what_is_no_websocket_is_closed_with_the_code_for_it(lane: Lane, frames: bytes, code: int) -> None:
    """RFC 6455, section 7.4.1. What stood before it is answered; what it was subscribed to is given back."""
    async with websocket_wire(lane, token=bearer()) as one:
        one.send(masked(Opcode.TEXT, said("subscribe", project="p")))
        await one.got(Opcode.TEXT, 2)
        one.send(frames)
        await one.got(Opcode.CLOSE)
        assert Close.parse(one.of(Opcode.CLOSE)[0]).code == code
        one.send(masked(Opcode.CLOSE, Close(code, "").serialize()))
        await one.closed()
        await until(lambda: lane.application.hub.subscribers == 0 and lane.application.admission.open == 0, "its end")


async def test_who_says_nothing_is_closed(lane: Lane) -> None:
    """4401 and a reason; pings of the protocol do not count as saying who one is."""
    async with websocket_wire(lane) as one:
        one.send(masked(Opcode.PING, b"x"))
        await one.got(Opcode.CLOSE)
        close = Close.parse(one.of(Opcode.CLOSE)[0])
        assert (close.code, close.reason) == (4401, "no auth frame came in time")


async def test_many_subscriptions_on_one_connection(lane: Lane) -> None:
    """Each hears its own, an unsubscribed one no more, and the one too many is refused."""
    tasks = [await lane.task(f"{number}") for number in range(5)]
    filters = [{"task": [task]} for task in tasks]
    filters += [{"task": [tasks[0]], "kinds": [kind]} for kind in ("task", "session", "output")]
    async with websocket_wire(lane, token=bearer()) as one:
        one.send(
            *(masked(Opcode.TEXT, said("subscribe", project="p", filter=each, snapshot="never")) for each in filters)
        )
        keys = [json.loads(each)["key"] for each in await one.got(Opcode.TEXT, 8)]
        assert len(set(keys)) == 8
        one.send(masked(Opcode.TEXT, said("unsubscribe", key=keys[1], ref="u")))
        assert json.loads((await one.got(Opcode.TEXT, 9))[8]) == {"op": "unsubscribed", "key": keys[1], "ref": "u"}
        for task in tasks:
            await lane.request("PATCH", f"/v1/tasks/{task}", {"title": "new"})
        events = [json.loads(each) for each in (await one.got(Opcode.TEXT, 14))[9:]]
        assert sorted(each["key"] for each in events) == sorted([keys[0], keys[5], *keys[2:5]])
        assert lane.application.hub.subscribers == 7


async def test_frames_that_come_with_the_handshake_do_no_harm(lane: Lane) -> None:
    """A client must wait for the answer (RFC 6455, section 4.1); one that does not is not heard, and goes on after."""
    async with websocket_wire(lane, token=bearer(), early=ping(1) + ping(2)) as one:
        one.send(ping(3))
        assert json.loads((await one.got(Opcode.TEXT))[-1])["ref"] == 3


async def test_frames_that_come_while_the_connection_is_admitted_are_answered(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, the binary one too, before what comes later."""
    let_in = asyncio.Event()
    monkeypatch.setattr(lane.application.admission, "enter", let_in.wait)
    async with wire(lane) as bare:
        one = WebSocketWire(bare, lane)
        bare.send(one.handshake(token=bearer()))
        await until(lambda: any(map(upgraded, lane.server.server_state.connections)), "the upgrade")
        connections: set[Any] = {each for each in lane.server.server_state.connections if upgraded(each)}
        one.send(ping(1), masked(Opcode.BINARY, b"x"), ping(2))
        await until(lambda: next(iter(connections)).queue.qsize() > 2, "the frames")
        let_in.set()
        one.send(ping(3))
        found = [json.loads(each) for each in await one.got(Opcode.TEXT, 4)]
        assert [each.get("ref", each["op"]) for each in found] == [1, "error", 2, 3]


def upgraded(connection: Any) -> bool:
    """Whether it is a WebSocket that was not taken over."""
    return hasattr(connection, "handshake_initiated")


async def test_nothing_follows_the_close_frame(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is ended while a subscription of it is being opened gets none, and keeps no place."""
    hub = lane.application.hub
    join, asked, go, done = hub.join, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        asked.set()
        try:
            await go.wait()
            return await join(*args)
        finally:
            asyncio.get_running_loop().call_soon(done.set)

    monkeypatch.setattr(hub, "join", slow)
    async with websocket_wire(lane, token=bearer()) as one:
        one.send(masked(Opcode.TEXT, said("subscribe", project="p", snapshot="never")))
        await asked.wait()
        await lane.application._sockets.drain()
        go.set()
        await one.got(Opcode.CLOSE)
        await until(done.is_set, "the subscription to be opened")
        assert hub.subscribers == 0
        one.send(masked(Opcode.CLOSE, Close(1000, "").serialize()))
        await one.closed()
        assert [json.loads(each)["op"] for each in one.of(Opcode.TEXT)] == ["goodbye"]
        assert one.raw.endswith(Frame(Opcode.CLOSE, one.of(Opcode.CLOSE)[0]).serialize(mask=False))


async def test_who_does_not_answer_pings_is_closed(tmp_path: Path) -> None:
    """1011 after a ping without an answer, while one that answers stays."""
    async with lanes(tmp_path, "auto", WS_PING_S=str(STALL_S)) as found:
        lane = found[0]
        async with websocket_wire(lane, token=bearer()) as deaf, websocket_wire(lane, token=bearer()) as alive:

            async def answer() -> None:
                answered = 0
                while True:
                    payloads = await alive.got(Opcode.PING, answered + 1)
                    alive.send(masked(Opcode.PONG, payloads[answered]))
                    answered += 1

            answering = asyncio.create_task(answer())
            await deaf.got(Opcode.CLOSE)
            assert Close.parse(deaf.of(Opcode.CLOSE)[0]).code == 1011
            await until(lambda: len(alive.of(Opcode.PING)) > 2, "more pings")
            assert alive.of(Opcode.CLOSE) == []
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


@pytest.mark.parametrize("frame", [masked(Opcode.PING, b"x" * 125), ping(1)], ids=["ping", "text"])
async def test_who_floods_and_reads_nothing_is_bounded_and_cut(tmp_path: Path, frame: bytes) -> None:
    """What waits for it in the process stays small; at the deadline, not a ping's period later, it is cut."""
    async with lanes(tmp_path, "auto", WS_PING_S="3600", SEND_DEADLINE_S="0.6") as found:
        lane = found[0]
        async with websocket_wire(lane, token=bearer(), buffer=4096) as one:
            outlet = lane.outlets[0]
            most = 0

            async def flood() -> None:
                nonlocal most
                while True:
                    one.send(frame * 200)
                    await one.wire.writer.drain()
                    most = max(most, outlet.transport.get_write_buffer_size())

            flooding = asyncio.create_task(flood())
            await until(lambda: not lane.outlets, "its end")
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            assert most <= 1 << 19
            assert lane.application.admission.open == 0
