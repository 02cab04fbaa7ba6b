"""Frames and places, by the cases that all clients share."""

from typing import Any

import pytest

from sessioncast import Event, Opened, ProtocolError, Resync, Snapshot
from sessioncast.streams.frames import control_frame
from sessioncast.streams.items import Delta, Item, OtherResource, Shown
from sessioncast.streams.tracker import Tracker
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread
from support.conformance import cases

_KINDS = {Task: "task", Session: "session", ProviderSession: "provider", Thread: "thread", Message: "message"}


@pytest.mark.parametrize("case", cases("frames"))
def test_places(case: dict[str, Any]) -> None:
    """A subscription yields each thing once and in order, and knows where to go on from."""
    tracker = Tracker("url", case["position"], case["snapshot"])
    items: list[dict[str, Any]] = []
    positions: list[str | None] = []
    steps = case["steps"]
    for step in steps[:-1]:
        _take(tracker, step, items)
        positions.append(tracker.position)
    if case.get("error"):
        with pytest.raises(ProtocolError):
            _take(tracker, steps[-1], items)
        return
    _take(tracker, steps[-1], items)
    assert items == case["items"]
    assert [*positions, tracker.position] == case["positions"]


def _take(tracker: Tracker, step: dict[str, Any], items: list[dict[str, Any]]) -> None:
    if "connect" in step:
        tracker.connecting()
        return
    frame = control_frame(step["frame"]["op"], step["frame"], "url")
    if frame is not None:
        items += [_shown(item) for item, _ in tracker.take(frame) if item is not None]


def _shown(item: Item) -> dict[str, Any]:
    match item:
        case Opened():
            return {"opened": {"state": item.state, "reason": item.reason}}
        case Snapshot():
            listed = [_named(resource) for resource in item.resources]
            return {"snapshot": {"resources": listed, "position": item.position, "too_large": item.too_large}}
        case Event():
            return {"event": {"type": item.type, "position": item.position}}
        case Resync():
            return {"resync": item.reason}
        case Delta():
            return {"delta": {"message_id": item.message_id, "index": item.index, "text": item.text}}


def _named(resource: Shown) -> list[str]:
    if isinstance(resource, OtherResource):
        return [resource.kind, resource.data["id"]]
    return [_KINDS[type(resource)], resource.id]
