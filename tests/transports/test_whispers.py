"""Ephemeral events from one node to the streams of another, over a real Redis and a real database."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson

from sessioncast import Client, Delta, Event, Opened, Subscription
from sessioncast_server.broker.base import Route, Whisper
from sessioncast_server.channels.log import Entry
from sessioncast_server.transports import poll
from sessioncast_shared.events import MESSAGE_DELTA
from support.api import bearer
from support.given import Given
from support.lanes import Lane, lanes
from support.streams import Kind, Stream, follow
from support.valkey import Valkey
from support.waiting import DEADLINE_S, until

PIECES = 30
AT = datetime(2026, 1, 1, tzinfo=UTC)


def whisper(lane: Lane, thread: str, index: int) -> None:
    """A piece of an answer to Ann, said on a node."""
    said = {
        "type": MESSAGE_DELTA,
        "at": "2026-01-01T00:00:00Z",
        "project_id": "p",
        "thread_id": thread,
        "data": {"message_id": "m", "index": index, "text": f"{index} "},
    }
    route = Route("thread", thread_id=thread, owner="ann")
    lane.application.hub.whisper(Whisper("p", route, orjson.dumps(said)))


async def read(stream: Subscription, thread: str) -> list[str | int]:
    """Titles of the task's events and indexes of pieces, up to the last of them."""
    found: list[str | int] = []
    async with asyncio.timeout(DEADLINE_S):
        async for item in stream:
            if isinstance(item, Delta):
                assert item == Delta(thread, "m", item.index, f"{item.index} ", AT)
                found.append(item.index)
            elif isinstance(item, Event):
                found.append(item.data["title"])
                if found[-1] == "answered":
                    break
    return found


def test_a_whisper_wakes_no_poll() -> None:
    """One that waits looks into the log when there is something in it, and not at each piece of an answer."""
    piece, event = Entry(0, Route("thread"), b"{}"), Entry(1, Route("thread"), b"{}")
    assert poll._FRAMING.events([piece]) == b""
    assert poll._FRAMING.events([piece, event]) != b""


async def test_what_one_node_whispers_the_streams_of_both_show(
    tmp_path: Path, migrated_postgres_url: str, valkey: Given | Valkey
) -> None:
    """To their owner, on both nodes and both transports: each piece once, between the same two events.

    Who has a thread of the same id hears nothing of it.
    """
    shared = {"DATABASE_URL": migrated_postgres_url, "REDIS_URL": valkey.url, "HEAD_CHECK_S": "60"}
    kinds: list[Kind] = ["sse", "websocket"]
    thread = str(uuid4())
    async with AsyncExitStack() as stack:
        nodes = [(await stack.enter_async_context(lanes(tmp_path, "auto", **shared)))[0] for _ in range(2)]
        streams: list[Stream] = []
        clients: list[Subscription] = []
        bobs: list[Subscription] = []
        task = await nodes[0].task()
        for sub in ("ann", "bob"):
            await nodes[0].request("POST", "/v1/projects/p/threads", {"id": thread}, sub=sub)
        for node, kind in zip(nodes, kinds, strict=True):
            for each in kinds:
                wanted = {"thread": [thread], "task": [task]}
                streams.append(
                    await stack.enter_async_context(follow(each, node.url, "p", token=bearer(), wanted=wanted))
                )
                await streams[-1].said("snapshot")
            for sub, subscriptions in (("ann", clients), ("bob", bobs)):
                client = Client(node.url, bearer(sub=sub).removeprefix("Bearer "))
                await stack.enter_async_context(client)
                subscription = client.subscribe("p", thread=thread, task=task, snapshot="never", transport=kind)
                subscriptions.append(await stack.enter_async_context(subscription))
                assert isinstance(await anext(subscription), Opened)
            broker = node.application.hub._broker
            await until(lambda broker=broker: broker.deaf_since() is None, "the node to hear")  # type: ignore[misc]  # bound early
        reading = [asyncio.create_task(read(each, thread)) for each in (*clients, *bobs)]
        await nodes[0].request("PATCH", f"/v1/tasks/{task}", {"title": "asked"})
        for index in range(PIECES):
            whisper(nodes[0], thread, index)
            await asyncio.sleep(0)
        await nodes[0].request("PATCH", f"/v1/tasks/{task}", {"title": "answered"})
        told = ["asked", *range(PIECES), "answered"]
        assert await asyncio.gather(*reading) == [told, told, ["asked", "answered"], ["asked", "answered"]]
        for stream in streams:
            await stream.counted(len(told))
            seen = [each["data"].get("index", each["data"].get("title")) for each in stream.events]
            assert seen == told
