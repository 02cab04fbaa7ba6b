"""Clients that do not read: they delay nobody, and nothing of them stays on the server."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support.api import Api, bearer
from support.node import Node
from support.streams import follow
from support.waiting import until

_LARGE = "x" * 900_000
_EVENTS = 12  # more than the kernel's buffers take


@contextmanager
def narrow(node: Node) -> Iterator[socket.socket]:
    """A connection with a small receive buffer."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", node.port))
        narrow.setblocking(False)
        yield narrow


def holds(node: Node, client: int) -> bool:
    """Whether the node has the other end of a client's socket open; what the kernel still tries to send is no one's."""
    ends = (f":{node.port:04X}", f":{client:04X}")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(ends[0]) and row[2].endswith(ends[1]) and row[9] != "0" for row in rows)


def gauge(api: Api) -> float:
    """Open subscriptions of all transports."""
    text = api.http.get(f"{api.url}/metrics").text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("sessioncast_subscribers{"))


@pytest.mark.parametrize("kind", ["sse", "websocket"])
async def test_who_reads_nothing_is_cut_off_and_delays_nobody(node: Node, api: Api, kind: str) -> None:
    """While a reader gets everything, one that reads nothing is ended at the send deadline; its socket is closed."""
    work = api.work()
    session = work.session()["id"]
    await until(lambda: gauge(api) == 0, "other streams to go")
    async with follow("sse", node.url, work.project, token=bearer()) as reader:
        await reader.said("snapshot")
        with narrow(node) as stuck:
            port = stuck.getsockname()[1]
            if kind == "sse":
                head = (
                    f"GET /v1/projects/{work.project}/events HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()}\r\n\r\n"
                )
                await asyncio.get_running_loop().sock_sendall(stuck, head.encode())
                held = None
            else:
                held = await connect(
                    f"ws://127.0.0.1:{node.port}/v1/ws", sock=stuck, max_queue=1, ping_interval=None, close_timeout=0.1,
                    additional_headers={"Authorization": bearer()}, compression=None,
                )  # fmt: skip
                await held.send(f'{{"op":"subscribe","project":"{work.project}"}}')
            await until(lambda: gauge(api) == 2, "the other to be open")
            assert holds(node, port)
            for _ in range(_EVENTS):
                chunks = {"chunks": [{"text": _LARGE}]}
                answer = await asyncio.to_thread(api.post, f"/v1/sessions/{session}/output", chunks)
                api.ok(answer, 200)
            await reader.counted(_EVENTS)
            await until(lambda: gauge(api) == 1, "the other to be ended")
            await until(lambda: not holds(node, port), "its socket to be closed")
            if held is not None:
                held.transport.abort()
        assert reader.closed is None


async def test_a_flood_of_pings_is_bounded(node: Node) -> None:
    """A client that asks and does not read is not read from either, and cut off at the send deadline."""
    with narrow(node) as stuck:
        port = stuck.getsockname()[1]
        flood = await connect(
            f"ws://127.0.0.1:{node.port}/v1/ws", sock=stuck, max_queue=1, ping_interval=None, close_timeout=0.1,
            additional_headers={"Authorization": bearer()}, compression=None,
        )  # fmt: skip
        ping = '{"op":"ping","ref":"' + "x" * 190 + '"}'

        async def send_for_ever() -> None:
            while True:
                await flood.send(ping)

        with pytest.raises((ConnectionClosed, ConnectionError)):
            await asyncio.wait_for(send_for_ever(), 30)
        await until(lambda: not holds(node, port), "its socket to be closed")
        flood.transport.abort()
