"""Back-pressure on the fast lane: who does not read is parked, costs little, and has everything once it reads."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.lanes import EVENTS, Lane, Wire, lanes, wire
from support.waiting import until

_ID = re.compile(rb"(?<=\n\n)id: [^:]+:(\d+)\ndata: ")
_KERNEL_MAX = 256 << 10
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own options and /proc")


@asynccontextmanager
async def fast(folder: Path, **settings: str) -> AsyncIterator[Lane]:
    """A server with the fast lane, without heartbeats in between."""
    async with lanes(folder, "auto", HEARTBEAT_S="60", **settings) as found:
        yield found[0]


def offsets(one: Wire) -> list[int]:
    """Offsets of the events that came."""
    return [int(each) for each in _ID.findall(one.body)]


async def load(lane: Lane, count: int, size: int = 100_000) -> None:
    """So many events of that many bytes each."""
    for number in range(count):
        await lane.request("POST", "/v1/projects/p/tasks", {"title": f"{number}", "metadata": {"x": "x" * size}})


def unread(lane: Lane, client: int) -> int:
    """Bytes in the kernel's send queue of the server's end of a connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [int(end.partition(":")[2], 16) for end in fields[1:3]] == [lane.port, client]:
            return int(fields[4].partition(":")[0], 16)
    return 0


def kernel_memory(lane: Lane, client: int) -> int | None:
    """Bytes that the kernel has allocated for what is sent on a connection; None without `ss`."""
    try:
        told = subprocess.run(
            ["ss", "-tmnH", f"sport = :{lane.port} and dport = :{client}"], capture_output=True, text=True, check=True
        ).stdout
    except FileNotFoundError:
        return None
    found = re.search(r"skmem:\(r(\d+),rb\d+,t(\d+),tb\d+,f\d+,w(\d+)", told)
    return None if found is None else sum(map(int, found.groups()))


async def test_who_reads_nothing_is_parked_and_has_everything_once_it_reads(tmp_path: Path) -> None:
    """The others go on meanwhile; then each event comes once and in order, and it follows again."""
    async with (
        fast(tmp_path, RING_BYTES=str(64 << 20)) as lane,
        wire(lane) as reader,
        wire(lane, buffer=1 << 16) as slow,
    ):
        for one in (reader, slow):
            one.get(f"{EVENTS}?snapshot=never")
            await one.until(b"event: ready")
        parked = lane.application.hub._courier.parked
        await load(lane, 20)
        await reader.until(b'"title":"19"')
        assert offsets(reader) == list(range(1, 21))
        assert len(parked) == 1
        assert next(iter(parked)).cursor < 20
        await slow.until(b'"title":"19"')
        await until(lambda: not parked, "it to follow again")
        await load(lane, 1, 10)
        while offsets(slow)[-1:] != [21]:
            slow.seen += await slow.reader.read(65536)
        assert offsets(slow) == list(range(1, 22))


async def test_beyond_the_ring_it_is_told_and_given_a_snapshot(tmp_path: Path) -> None:
    """`resync`, then the state, then what comes: nothing in between is passed over in silence."""
    async with (
        fast(tmp_path, RING_BYTES="100000", REPLAY_MAX_EVENTS="3", SNAPSHOT_MIN_INTERVAL_S="0.001") as lane,
        wire(lane, buffer=4096) as slow,
    ):
        slow.get()
        await slow.until(b"event: snapshot")
        await load(lane, 20)
        assert len(lane.application.hub._courier.parked) == 1
        await slow.until(b'event: resync\ndata: {"reason":"too_far_behind"}')
        while slow.seen.count(b"event: snapshot") < 2 or not slow.body.endswith(b'"more":false}\n\n'):
            slow.seen += await slow.reader.read(65536)
        pages = slow.body.partition(b"event: resync")[2]
        told = re.findall(rb"event: snapshot\n(?:id: [^:]+:(\d+)\n)?data: (.*)\n\n", pages)
        assert [int(offset) for offset, _ in told if offset] == [20]
        assert sum(len(json.loads(page)["resources"]) for _, page in told) == 20
        before = offsets(slow)
        assert before == list(range(1, len(before) + 1))
        await load(lane, 1, 10)
        while offsets(slow)[-1] != 21:
            slow.seen += await slow.reader.read(65536)


async def test_at_the_deadline_it_is_aborted_and_all_is_given_back(tmp_path: Path) -> None:
    """No goodbye is waited for: its connection, its place and what waited for it are gone; another reader stays."""
    async with (
        fast(tmp_path, SEND_DEADLINE_S="0.3") as lane,
        wire(lane) as reader,
        wire(lane, buffer=4096) as slow,
    ):
        for one in (reader, slow):
            one.get(f"{EVENTS}?snapshot=never")
            await one.until(b"event: ready")
        draining = asyncio.create_task(reader.rest())
        await load(lane, 20)
        await until(lambda: len(lane.outlets) == 1, "the slow one to go")
        await until(lambda: lane.application.hub.subscribers == 1, "its subscriber to go")
        assert lane.application.admission.open == 1
        assert not lane.application.hub._courier.parked
        assert b"event: goodbye" not in await slow.rest()
        draining.cancel()


@linux
async def test_who_never_reads_costs_the_kernel_little(tmp_path: Path) -> None:
    """However much is said: at most 256 kB in the kernel, and in the process no more than the mark and one block."""
    async with fast(tmp_path, SEND_DEADLINE_S="60", RING_BYTES=str(64 << 20)) as lane, wire(lane) as slow:
        slow.get(f"{EVENTS}?snapshot=never")
        await slow.until(b"event: ready")
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport reads
        outlet = lane.outlets[0]
        for _ in range(12):
            await load(lane, 20, 30_000)
        assert outlet.full
        assert outlet.transport.get_write_buffer_size() <= 32_768 + (1 << 16) + 100_000
        assert unread(lane, slow.port) <= _KERNEL_MAX
        memory = kernel_memory(lane, slow.port)
        assert memory is None or memory <= _KERNEL_MAX


@linux
async def test_marks_and_options_are_set_on_accepted_connections(tmp_path: Path) -> None:
    """The water marks on the transport, TCP_NOTSENT_LOWAT and TCP_USER_TIMEOUT on the socket, as the settings say."""
    async with (
        fast(
            tmp_path, WRITE_HIGH_WATER_BYTES="5000", WRITE_LOW_WATER_BYTES="2000", UNSENT_BYTES="20000",
            TCP_USER_TIMEOUT_S="7",
        ) as lane,
        wire(lane) as one,
    ):  # fmt: skip
        one.get(f"{EVENTS}?snapshot=never")
        await one.until(b"event: ready")
        transport = lane.outlets[0].transport
        assert transport.get_write_buffer_limits() == (2000, 5000)
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 20_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


async def test_the_water_marks_decide_when_a_stream_is_full(tmp_path: Path) -> None:
    """With a high mark what one with a low mark is parked for is only written."""
    for mark, parked in (("2000", 1), (str(64 << 20), 0)):
        folder = tmp_path / mark
        folder.mkdir()
        async with (
            fast(folder, WRITE_HIGH_WATER_BYTES=mark, WRITE_LOW_WATER_BYTES="1024") as lane,
            wire(lane, buffer=4096) as slow,
        ):
            slow.get(f"{EVENTS}?snapshot=never")
            await slow.until(b"event: ready")
            await load(lane, 12)
            assert len(lane.application.hub._courier.parked) == parked
