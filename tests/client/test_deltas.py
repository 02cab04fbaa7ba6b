"""Pieces of answers, which have no position: shown as they come, and nothing of the place moves for them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sessioncast import Client, Delta, Event, Item, Limits, Opened, ProtocolError, Subscription
from sessioncast.streams.frames import Events, Ready, ResyncNotice, SnapshotPage
from sessioncast.streams.tracker import Tracker
from support.scripted import ScriptedServer, ScriptedSockets, Streamed, Talk

AT = datetime(2026, 1, 1, tzinfo=UTC)
REST: dict[str, Any] = {"at": "2026-01-01T00:00:00Z", "project_id": "p"}


def event(offset: int) -> dict[str, Any]:
    """An event of the log."""
    return {"position": f"e:{offset}", "type": "x.y", **REST, "data": {}}


def delta(index: int, **more: Any) -> dict[str, Any]:
    """A piece as the server words it."""
    said = {"message_id": "m", "index": index, "text": "é"}
    return {"type": "message.delta", **REST, "thread_id": "t", "data": said, **more}


def piece(index: int) -> Delta:
    """The same as an item."""
    return Delta("t", "m", index, "é", AT)


def framed(*bodies: dict[str, Any]) -> bytes:
    """Frames of an event stream; what has no position has no id."""
    ids = [f"id: {body['position']}\n" if "position" in body else "" for body in bodies]
    return "".join(f"{id_}data: {json.dumps(body)}\n\n" for id_, body in zip(ids, bodies, strict=True)).encode()


def ready(state: str = "resumed") -> Ready:
    """A first frame."""
    return Ready(state, None, None, None, None)


def test_a_delta_stands_among_the_events_and_moves_nothing() -> None:
    """In the order in which they came, each with the position of the event before it; also when events are repeated."""
    place = Tracker("url", "e:3", "auto")
    place.connecting()
    place.take(ready())
    steps = place.take(Events([delta(0), event(4), delta(1), event(4), delta(2), event(5)]))
    told = [(item.position if isinstance(item, Event) else item, position) for item, position in steps]
    assert told == [
        *((piece(0), "e:3"), ("e:4", "e:4"), (piece(1), "e:4")),
        *((piece(2), "e:4"), ("e:5", "e:5")),
    ]
    assert place.position == "e:5"


@pytest.mark.parametrize("frame", [ready("snapshot"), ready("gap"), ResyncNotice("too_far_behind")])
def test_while_a_snapshot_is_awaited_a_delta_is_passed_over(frame: Ready | ResyncNotice) -> None:
    """An event there would be a mistake of the server's; an ephemeral one is only of no use yet."""
    place = Tracker("url", "e:3", "auto")
    place.connecting()
    place.take(frame)
    assert place.take(Events([delta(0)])) == []
    place.take(SnapshotPage([], "e:9", more=False))
    assert place.take(Events([delta(1)])) == [(piece(1), "e:9")]


def test_other_ephemeral_events_are_passed_over() -> None:
    """A newer server may have some; what is no event at all is still refused, and so is a delta without its text."""
    place = Tracker("url", "e:3", "auto")
    place.connecting()
    assert place.take(Events([{"type": "cursor.moved", **REST, "data": {}}])) == []
    for wrong in ({}, {"type": 7}, delta(0, data={"message_id": "m", "index": 0}), delta(0, thread_id=None)):
        with pytest.raises(ProtocolError):
            place.take(Events([wrong]))


def over_sse(client: Client, position: str) -> Subscription:
    """A subscription over server-sent events."""
    return client.subscribe("p", position=position, transport="sse")


async def seen(stream: Subscription, count: int) -> list[tuple[Item, str | None]]:
    """The next items, and the subscription's position at each."""
    return [(await anext(stream), stream.position) for _ in range(count)]


def shown(items: list[tuple[Item, str | None]]) -> list[tuple[Any, str | None]]:
    """Events as their positions, streams that were opened left out."""
    return [
        (item.position if isinstance(item, Event) else item, position)
        for item, position in items
        if not isinstance(item, Opened)
    ]


async def test_over_server_sent_events(server: ScriptedServer, quick: Limits) -> None:
    """A reconnect after deltas sends the id of the last event, and the end of a replay counts with deltas after it."""
    start = b'event: ready\ndata: {"state": "resumed", "position": "e:1"}\n\n'
    server.say(
        Streamed([start + framed(event(2), delta(0)) + framed(delta(1)), framed(delta(2))], then="break"),
        Streamed([start + b"id: e:7\n\n" + framed(delta(3))], then="break"),
        Streamed([start + framed(event(8))]),
    )
    async with Client(server.url, limits=quick) as client, over_sse(client, "e:1") as stream:
        assert shown(await seen(stream, 9)) == [
            *(("e:2", "e:2"), (piece(0), "e:2"), (piece(1), "e:2"), (piece(2), "e:2")),
            *((piece(3), "e:2"), ("e:8", "e:8")),
        ]
    assert [each.headers.get("last-event-id") for each in server.seen] == ["e:1", "e:2", "e:7"]


async def test_over_a_websocket(sockets: ScriptedSockets, quick: Limits) -> None:
    """In the frames of the subscription, among its events."""
    start = {"op": "subscribed", "ref": "1", "key": "k", "state": "resumed", "position": "e:1"}
    batches = [{"op": "events", "key": "k", "events": each} for each in ([event(2), delta(0), event(3)], [delta(1)])]
    sockets.say(Talk([start, *batches], 1001), Talk([start, {**batches[0], "events": [event(4)]}]))
    async with (
        Client(sockets.url, limits=quick) as client,
        client.subscribe("p", position="e:1", transport="websocket") as stream,
    ):
        assert shown(await seen(stream, 7)) == [
            *(("e:2", "e:2"), (piece(0), "e:2"), ("e:3", "e:3"), (piece(1), "e:3"), ("e:4", "e:4")),
        ]
    assert [json.loads(each.body)["position"] for each in sockets.seen] == ["e:1", "e:3"]
