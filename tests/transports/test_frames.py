"""Words of both transports, without a socket."""

import json

import pytest

from sessioncast.streams.sse import SSEParser
from sessioncast_server.broker.base import Route
from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.log import Entry
from sessioncast_server.problems import Problem
from sessioncast_server.transports.sse import FRAMING, goodbye
from sessioncast_server.transports.wsframes import (
    Auth,
    Ping,
    Subscribe,
    Unsubscribe,
    WebSocketFraming,
    frame,
    read_frame,
    ref_of,
)
from sessioncast_shared.position import Position

HERE, HEAD = Position("e", 7), Position("e", 9)
ENTRIES = [Entry(n, Route("task"), b'{"position":"e:%d","data":{"x":"\\r\\n\\u2028"}}' % n) for n in (8, 9)]


def test_sse_frames_are_events_by_the_standard() -> None:
    """Read by a parser of the standard's rules, byte by byte: names, data, ids where they are safe, retry."""
    parser = SSEParser()
    stream = b"".join(
        [
            FRAMING.opening(Opening("gap", HEAD, HERE, HEAD, "epoch")),
            FRAMING.snapshot(b'"resources":[]', None),
            FRAMING.snapshot(b'"resources":[]', HERE),
            FRAMING.events(ENTRIES),
            FRAMING.heartbeat(HERE, HEAD),
            FRAMING.resync("epoch"),
            goodbye("draining", 1000),
        ]
    )
    events = [event for byte in stream for event in parser.feed(bytes([byte]))]
    assert [(event.type, event.last_event_id) for event in events] == [
        ("ready", ""), ("snapshot", ""), ("snapshot", "e:7"), ("message", "e:8"), ("message", "e:9"),
        ("heartbeat", "e:7"), ("resync", "e:7"), ("goodbye", "e:7"),
    ]  # fmt: skip
    assert json.loads(events[0].data) == {
        "state": "gap", "position": "e:9", "from": "e:7", "to": "e:9", "reason": "epoch"
    }  # fmt: skip
    assert [event.data.encode() for event in events[3:5]] == [entry.body for entry in ENTRIES]
    assert parser.retry_ms == json.loads(events[-1].data)["retry_ms"]
    assert parser.retry_ms in range(1000, 3000)


def test_the_end_of_a_replay_moves_the_id_and_dispatches_nothing() -> None:
    """A frame of an id alone is no event, but what a reconnect sends."""
    parser = SSEParser()
    assert parser.feed(FRAMING.replayed(HEAD)) == []
    assert parser.last_event_id == "e:9"


def test_websocket_frames_are_json() -> None:
    """Each is one JSON object that names its op and key."""
    framing = WebSocketFraming('p?task="x"')
    frames = [
        framing.events(ENTRIES), framing.snapshot(b'"resources":[]', None), framing.snapshot(b'"resources":[]', HERE),
        framing.heartbeat(HERE, HEAD), framing.resync('a "reason"'),
    ]  # fmt: skip
    read = [json.loads(each) for each in frames]
    assert [each["op"] for each in read] == ["events", "snapshot", "snapshot", "heartbeat", "resync"]
    assert {each["key"] for each in read} == {'p?task="x"'}
    assert [event["position"] for event in read[0]["events"]] == ["e:8", "e:9"]
    assert (read[1].get("position"), read[2]["position"], read[3]["head"]) == (None, "e:7", "e:9")
    assert framing.replayed(HEAD) == b""
    assert json.loads(frame("pong", ref=None)) == {"op": "pong"}


def test_what_clients_may_say() -> None:
    """Each op has its model; ids may be one text or a list."""
    assert isinstance(read_frame('{"op":"auth","token":"t"}', max_bytes=100), Auth)
    assert isinstance(read_frame('{"op":"ping","ref":7}', max_bytes=100), Ping)
    assert isinstance(read_frame('{"op":"unsubscribe","key":"k"}', max_bytes=100), Unsubscribe)
    said = read_frame('{"op":"subscribe","project":"p","filter":{"task":"t","kinds":["task"]}}', max_bytes=100)
    assert isinstance(said, Subscribe)
    assert (said.filter.task, said.filter.kinds) == (["t"], ["task"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "bad_request"),
        ("", "bad_json"),
        ("{", "bad_json"),
        ("NaN", "bad_json"),
        ("[]", "bad_request"),
        ('"ping"', "bad_request"),
        ("{}", "bad_request"),
        ('{"op":["ping"]}', "bad_request"),
        ('{"op":"shout"}', "bad_request"),
        ('{"op":"ping","op":"ping"}', "bad_json"),
        ('{"op":"ping","ref":1e999}', "bad_json"),
        ('{"op":"ping","ref":' + "9" * 5000 + "}", "bad_json"),
        ('{"op":"ping","ref":"\\ud800"}', "bad_unicode"),
        ('{"op":"ping","ref":"\ud800"}', "bad_unicode"),
        ('{"op":"ping","ref":' + "[" * 10_000 + "]" * 10_000 + "}", "too_deep"),
        ('{"op":"ping","more":1}', "invalid"),
        ('{"op":"ping","ref":"' + "x" * 201 + '"}', "invalid"),
        ('{"op":"ping","ref":true}', "invalid"),
        ('{"op":"auth"}', "invalid"),
        ('{"op":"subscribe"}', "invalid"),
        ('{"op":"subscribe","project":"p","snapshot":"maybe"}', "invalid"),
        ('{"op":"subscribe","project":"p","filter":{"tasks":[]}}', "invalid"),
        ('{"op":"subscribe","project":"p","filter":{"task":[1]}}', "invalid"),
        ('{"op":"subscribe","project":"p","position":5}', "invalid"),
        ("x" * 70_000, "too_large"),
        ("é" * 40_000, "too_large"),
    ],
    ids=range(26),
)
def test_what_clients_may_not_say(text: str | None, code: str) -> None:
    """Everything else is a problem with a name, and its ref is read without harm."""
    with pytest.raises(Problem) as refused:
        read_frame(text, max_bytes=65536)
    assert refused.value.code == code
    assert "body" not in refused.value.detail
    if text is not None:
        ref_of(text)


def test_the_ref_of_a_refused_frame() -> None:
    """A text or a number is given back; anything else is not."""
    assert ref_of('{"ref":"a"}') == "a"
    assert ref_of('{"ref":7}') == 7
    for text in ("{", "[]", '{"ref":true}', '{"ref":[]}', '{"ref":"' + "x" * 201 + '"}', "[" * 5000, "{}"):
        assert ref_of(text) is None
