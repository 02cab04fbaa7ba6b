"""A server with several workers, and streams of which it is known who holds them."""

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.ends import holder_of
from support.node import Node
from support.processes import alive, family
from support.streams import SseStream, Stream, WebSocketStream, follow
from support.waiting import until

PROJECT = "p"
_TRIES = 64
"""Connections after which both of two workers have one, but once in 2 ** 63 times."""


@dataclass(frozen=True, slots=True)
class Held:
    """An open stream and the process that serves it."""

    stream: Stream
    pid: int


def workers(node: Node) -> list[int]:
    """Process ids of its living workers."""
    return workers_of(node.pid)


def workers_of(parent: int) -> list[int]:
    """Process ids of the living workers among the descendants of a process."""
    return [pid for pid in family(parent) if alive(pid) and b"sessioncast_server.workers.worker" in _arguments(pid)]


def lines(node: Node) -> list[dict[str, Any]]:
    """Its log's lines that are complete."""
    return [json.loads(line) for line in node.log().splitlines() if line.startswith("{") and line.endswith("}")]


async def until_logged(node: Node, count: int, **fields: Any) -> list[dict[str, Any]]:
    """The lines with these fields, as soon as there are so many."""

    def matching() -> list[dict[str, Any]]:
        return [line for line in lines(node) if fields.items() <= line.items()]

    await until(lambda: len(matching()) >= count, f"{count} lines with {fields}")
    return matching()


async def stream_at(stack: AsyncExitStack, node: Node, kind: Any, *pids: int) -> list[Held]:
    """Open streams until each of these workers holds one; all that were opened."""
    held: list[Held] = []
    for _ in range(_TRIES):
        if set(pids) <= {one.pid for one in held}:
            return held
        stream = await stack.enter_async_context(follow(kind, node.url, PROJECT, token=""))
        await stream.said("snapshot")
        pid = holder_of(node.port, _port_of(stream), workers(node))
        assert pid is not None
        held.append(Held(stream, pid))
    raise AssertionError(f"{_TRIES} streams, and none of them at each of {pids}: {[one.pid for one in held]}")


def _arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it ended while we looked
        return []


def _port_of(stream: Stream) -> int:
    match stream:
        case SseStream():
            return int(stream.response.extensions["network_stream"].get_extra_info("client_addr")[1])
        case WebSocketStream():
            return int(stream.socket.local_address[1])
    raise TypeError(stream)
