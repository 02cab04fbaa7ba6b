"""What is live, by the cases that all clients share."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from sessioncast import Event
from sessioncast.live.change import Changes
from sessioncast.live.mirror import Mirror
from sessioncast.streams.frames import SnapshotPage, control_frame
from sessioncast.streams.items import Item
from sessioncast.streams.tracker import Tracker
from support.conformance import cases


@pytest.mark.parametrize("case", cases("mirror"))
def test_mirrors(case: dict[str, Any]) -> None:
    """A program sees the state that the server's events amount to, and is told once of what has changed."""
    mirror = Mirror(kinds=case.get("kinds"))
    changes = Changes()
    for number, value in enumerate(case["items"]):
        for change in mirror.take(_item(value)):
            changes.add(change)
        if number == 0:
            changes.clear()
    _holds(mirror.tasks, case["tasks"])
    _holds(mirror.sessions, case["sessions"])
    _holds(mirror.provider_sessions, case["provider_sessions"])
    _holds(mirror.totals, case.get("totals", {}))
    _holds({thread.id: thread for thread in mirror.threads}, case["threads"])
    for thread in {*case["threads"], *case["messages"]}:
        assert [message.seq for message in mirror.messages(thread)] == case["messages"].get(thread, [])
    told = []
    while (next_change := changes.take()) is not None:
        told.append([next_change.kind, next_change.id, next_change.what])
    assert sorted(told) == sorted(case["changes"])


def _item(value: dict[str, Any]) -> Item:
    if "event" in value:
        return Event.model_validate(value["event"])
    frame = control_frame("snapshot", value["snapshot"], "url")
    assert isinstance(frame, SnapshotPage)
    [(item, _)] = Tracker("url", None, "always").take(frame)
    assert item is not None
    return item


def _holds(held: Mapping[str, BaseModel], expected: dict[str, dict[str, Any]]) -> None:
    assert held.keys() == expected.keys()
    for id_, members in expected.items():
        data = held[id_].model_dump(mode="json")
        assert {name: data[name] for name in members} == members
