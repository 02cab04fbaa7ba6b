"""An event stream of a real node, recorded, and carried on as it would go on: the same changes again and again."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from sessioncast import Client

_SESSIONS = 20
_PATCH_EACH = 5
"""Of so many changes one is of status or metadata, the others are output."""
_TEXT = "What an agent prints while it works, a line or two at a time, with what it found.\n" * 2
_CHUNK = 16 * 1024
"""Bytes that the stream is cut into, at the end of an event: what a busy node sends at once."""
_RECORD_S = 300.0
_STATUSES = ("running", "working", "waiting")


@dataclass(frozen=True, slots=True)
class Recording:
    """A stream.

    Attributes:
        opening: its frames up to the snapshot, as they came.
        events: the bodies of its events.
        final: version and `output_seq` of each session, by id, before the first event and after the last.
    """

    opening: bytes
    events: list[dict[str, Any]]
    final: dict[str, tuple[tuple[int, int], tuple[int, int]]]


async def record(url: str, project: str, count: int) -> Recording:
    """Make so many changes in sessions of a new project, and record what the node says of them over SSE."""
    async with Client(url) as client, httpx2.AsyncClient(base_url=url, timeout=60) as reader:
        await client.projects.put(project)
        first: dict[str, tuple[int, int]] = {}
        for number in range(_SESSIONS):
            task = await client.tasks.create(project, f"Task {number}")
            metadata = {"worktree": f"wt-{number}", "step": 0, "branch": "main"}
            session = (await client.sessions.start(task.id, "run", "model-a", metadata=metadata)).session
            first[session.id] = session.version, session.output_seq
        ids = list(first)
        path = f"/v1/projects/{project}/events"
        async with reader.stream("GET", path, headers={"Accept": "text/event-stream"}) as stream:
            pieces = stream.aiter_bytes()
            opening = b""
            while b"event: snapshot" not in opening or not opening.endswith(b"\n\n"):
                opening += await anext(pieces)
            # At the same time: to who does not read, a node says a snapshot instead.
            async with asyncio.timeout(_RECORD_S), asyncio.TaskGroup() as group:
                reading = group.create_task(_bodies(pieces, count))
                for number in range(count):
                    await _change(client, ids[number % _SESSIONS], number)
            bodies = reading.result()
    shown = {id_: _shown(bodies, id_, was) for id_, was in first.items()}
    return Recording(opening, bodies, {id_: (first[id_], shown[id_]) for id_ in first})


async def _change(client: Client, session: str, number: int) -> None:
    turn = number // _SESSIONS
    if turn % _PATCH_EACH:
        await client.sessions.append(session, [("log", _TEXT)])
    else:
        await client.sessions.patch(session, status=_STATUSES[turn // _PATCH_EACH % 3], metadata={"step": number})


async def _bodies(pieces: AsyncIterator[bytes], count: int) -> list[dict[str, Any]]:
    """So many events.

    Raises:
        RuntimeError: the node left some out.
    """
    bodies: list[dict[str, Any]] = []
    read = b""
    while len(bodies) < count:
        read += await anext(pieces)
        *whole, read = read.split(b"\n\n")
        if any(frame.startswith(b"event: resync") for frame in whole):
            raise RuntimeError("the stream was not read fast enough to be recorded; --recorded fewer")
        # A heartbeat has a name; an event has none.
        bodies += [json.loads(frame.partition(b"\ndata: ")[2]) for frame in whole if frame.startswith(b"id: ")]
    return bodies


def _shown(bodies: list[dict[str, Any]], session: str, was: tuple[int, int]) -> tuple[int, int]:
    version, output_seq = was
    for body in bodies:
        if body["session_id"] == session:
            data = body["data"]
            version = max(version, body["version"])
            output_seq = max(output_seq, data["last"] if body["type"] == "session.output" else data["output_seq"])
    return version, output_seq


@dataclass(frozen=True, slots=True)
class Played:
    """A stream that is as long as is wanted.

    Attributes:
        pieces: what is sent at once.
        position: of the last event.
        sessions: version and `output_seq` that each session ends with, by id.
    """

    pieces: list[bytes]
    position: str
    sessions: dict[str, tuple[int, int]]


def carried_on(recording: Recording, count: int) -> Played:
    """So many events: those that were recorded, then the same changes again, each later, and newer, by a round."""
    final = {id_: was for id_, (was, _) in recording.final.items()}
    pieces, piece, position = [recording.opening], [], ""
    size = 0
    for body in _again(recording, count):
        position, data = body["position"], body["data"]
        version, output_seq = final[body["session_id"]]
        shown = data["last"] if body["type"] == "session.output" else data["output_seq"]
        final[body["session_id"]] = max(version, body["version"]), max(output_seq, shown)
        frame = f"id: {position}\ndata: {json.dumps(body, separators=(',', ':'))}\n\n".encode()
        piece.append(frame)
        size += len(frame)
        if size >= _CHUNK:
            pieces.append(b"".join(piece))
            piece, size = [], 0
    pieces.append(b"".join(piece))
    return Played([piece for piece in pieces if piece], position, final)


def _again(recording: Recording, count: int) -> Iterator[dict[str, Any]]:
    span = len(recording.events)
    for number in range(count):
        turn, place = divmod(number, span)
        body = copy.deepcopy(recording.events[place])
        (version, output), (later_version, later_output) = recording.final[body["session_id"]]
        newer, further = turn * (later_version - version), turn * (later_output - output)
        epoch, _, offset = body["position"].partition(":")
        body["position"] = f"{epoch}:{int(offset) + turn * span}"
        body["version"] += newer
        data = body["data"]
        if body["type"] == "session.output":
            data["first"] += further
            data["last"] += further
            for chunk in data["chunks"]:
                chunk["seq"] += further
        else:
            data["version"] += newer
            data["output_seq"] += further
        yield body
