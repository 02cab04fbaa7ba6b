"""Answers of the poll as frames, by the cases that all clients share."""

from typing import Any

import pytest

from sessioncast import ProtocolError
from sessioncast.streams.frames import Events, Ready, SnapshotPage, control_frame
from sessioncast.streams.polls import PollReader
from support.conformance import cases


@pytest.mark.parametrize("case", cases("polls"))
def test_answers(case: dict[str, Any]) -> None:
    """Who polls hears the same frames as who is pushed to."""
    reader = PollReader("url")
    for answer, expected in zip(case["answers"], case["frames"], strict=True):
        frames = reader.take(answer["status"], answer["body"], position=answer.get("position"))
        assert frames == [control_frame(frame["op"], frame, "url") for frame in expected]
        assert reader.more is bool((answer["body"] or {}).get("more"))
        assert reader.changed is any(isinstance(frame, Events | SnapshotPage) for frame in frames)


def test_a_snapshot_is_whole_whatever_more_says() -> None:
    """`more` is about events: no further page of the snapshot follows."""
    body = {"state": "snapshot", "resources": [], "events": [], "position": "e:1", "more": True}
    assert PollReader("url").take(200, body) == [
        Ready("snapshot", None, None, None, "e:1"),
        SnapshotPage([], "e:1", more=False),
    ]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"state": "sideways"},
        {"state": "resumed", "events": []},
        {"state": "resumed", "events": {}, "position": "e:1"},
        {"state": "resumed", "position": "e:1"},
        {"state": "resumed", "events": [], "position": 1},
        {"state": "snapshot", "resources": []},
    ],
)
def test_what_is_no_answer_of_a_poll_is_refused(body: Any) -> None:
    """What a proxy answers in the server's name does not pass for news."""
    with pytest.raises(ProtocolError):
        PollReader("url").take(200, body)
