"""What one client may cost the others: floods of frames, slow reading, many subscriptions on one connection."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Opcode

from sessioncast_server.transports import wsstream
from support.api import bearer
from support.lanes import EVENTS, Lane, WebSocketWire, lanes, masked, websocket_wire, wire
from support.waiting import STALL_S, until


def said(op: str, **fields: Any) -> bytes:
    """A frame."""
    return masked(Opcode.TEXT, json.dumps({"op": op, **fields}).encode())


async def heard(one: WebSocketWire, op: str, count: int = 1) -> list[dict[str, Any]]:
    """So many frames of a kind."""
    while len(found := [each for each in map(json.loads, one.of(Opcode.TEXT)) if each["op"] == op]) < count:
        await one.got(Opcode.TEXT, len(one.of(Opcode.TEXT)) + 1)
    return found


async def test_a_flood_is_taken_in_over_many_turns_of_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five thousand pings of one segment, and as many questions, are answered in order with others' work in between."""
    monkeypatch.setattr(wsstream, "_TURN_S", 0.0)  # each slice, and each answer, is a turn
    turns = 0
    running = True

    def turn() -> None:
        nonlocal turns
        turns += 1
        if running:
            asyncio.get_running_loop().call_soon(turn)

    async with lanes(tmp_path, "auto", HEARTBEAT_S="60") as [lane], websocket_wire(lane, token=bearer()) as one:
        turn()
        one.send(*(masked(Opcode.PING, b"%d" % number) for number in range(5000)))
        assert await one.got(Opcode.PONG, 5000) == [b"%d" % number for number in range(5000)]
        assert turns > 50  # 10 bytes each: slices of 512 bytes hold 51 of them
        turns = 0
        one.send(*(said("ping", ref=number) for number in range(500)))
        assert [each["ref"] for each in await heard(one, "pong", 500)] == list(range(500))
        assert turns > 500
        running = False


async def test_a_text_of_very_many_fragments_is_one_text(tmp_path: Path) -> None:
    """Twenty thousand of them, nearly all empty, cost what their bytes do, and the text is understood."""
    text = json.dumps({"op": "ping", "ref": "whole"}).encode()
    async with lanes(tmp_path, "auto", HEARTBEAT_S="60") as [lane], websocket_wire(lane, token=bearer()) as one:
        one.send(masked(Opcode.TEXT, text[:5], fin=False))
        one.send(masked(Opcode.CONT, b"", fin=False) * 20_000)
        one.send(*(masked(Opcode.CONT, bytes([byte]), fin=False) for byte in text[5:]), masked(Opcode.CONT, b""))
        assert (await heard(one, "pong"))[0]["ref"] == "whole"


async def _publish(lane: Lane, size: int) -> None:
    await lane.request("POST", "/v1/projects/p/tasks", {"title": "large", "metadata": {"x": "x" * size}})


@pytest.mark.parametrize("name", ["auto", "portable"])
async def test_a_slow_reader_that_reads_is_not_cut_off(tmp_path: Path, name: str) -> None:
    """An event that takes it several send deadlines to read arrives whole."""
    async with (
        lanes(tmp_path, name, HEARTBEAT_S="60", SEND_DEADLINE_S=str(STALL_S), BODY_MAX_BYTES="8000000") as [lane],
        wire(lane, buffer=65536) as slow,
    ):
        slow.get(f"{EVENTS}?snapshot=never")
        await slow.until(b"event: ready")
        await _publish(lane, 900_000)
        came = 0
        while came < 900_000:
            data = await slow.reader.read(32768)
            assert data, f"cut off after {came} bytes"
            came += len(data)
            await asyncio.sleep(0.5)  # its pace: about 64 kB/s


async def test_subscriptions_of_a_full_connection_wait_without_adding_to_it(tmp_path: Path) -> None:
    """A client of thirty subscriptions that reads nothing holds one event, not thirty; then it has each of them."""
    async with (
        lanes(tmp_path, "auto", HEARTBEAT_S="60", RING_BYTES="33554432") as [lane],
        wire(lane, buffer=4096) as raw,
    ):
        one = WebSocketWire(raw, lane)
        raw.send(one.handshake(token=bearer()))
        kinds = [["task"], ["task", "session"], ["task", "output"], ["task", "version"], ["task", "model"]]
        tasks = [await lane.task(f"{number}") for number in range(6)]
        wanted = [{"kinds": each, "task": [task, *tasks[:1]]} for each in kinds for task in tasks]
        for wish in wanted:
            one.send(said("subscribe", project="p", filter=wish, snapshot="never"))
        subscribed = await heard(one, "subscribed", len(wanted))
        assert len({each["key"] for each in subscribed}) == len(wanted)
        size = 300_000
        await lane.request("PATCH", f"/v1/tasks/{tasks[0]}", {"metadata": {"x": "x" * size}})
        (outlet,) = lane.outlets
        await until(lambda: outlet.full, "it to be full")
        assert outlet.transport.get_write_buffer_size() < 2 * size
        assert len(lane.application.hub._courier.parked) >= len(wanted) - 1
        events = await heard(one, "events", len(wanted))
        assert {each["key"] for each in events} == {each["key"] for each in subscribed}
        await until(lambda: not lane.application.hub._courier.parked, "all to follow again")


async def test_each_subscription_beyond_the_first_is_a_stream_of_its_user(tmp_path: Path) -> None:
    """Over the bound it is refused and the connection goes on; what is given up can be had again."""
    async with (
        lanes(tmp_path, "auto", HEARTBEAT_S="60", PRINCIPAL_STREAMS_MAX="2") as [lane],
        websocket_wire(lane, token=bearer()) as one,
    ):
        for kinds in (["task"], ["session"], ["output"]):
            one.send(said("subscribe", project="p", filter={"kinds": kinds}, snapshot="never"))
        assert (await heard(one, "error"))[0]["code"] == "too_many"
        first, second = await heard(one, "subscribed", 2)
        assert lane.application.admission.open == 2
        one.send(said("unsubscribe", key=second["key"]), said("subscribe", project="p", filter={"kinds": ["output"]}))
        await heard(one, "subscribed", 3)
        assert first["key"] != second["key"]
    await until(lambda: lane.application.admission.open == 0, "all places to be given back")
