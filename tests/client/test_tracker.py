"""The place in a channel, by plain calls."""

from typing import Any

import pytest

from sessioncast import Event, Opened, ProtocolError, Resync, Snapshot, Task
from sessioncast.streams.frames import Events, Frame, Moved, Ready, ResyncNotice, SnapshotPage
from sessioncast.streams.tracker import SnapshotWish, Tracker
from sessioncast_shared.threads import Message, Thread

TASK = {
    "id": "t",
    "project_id": "p",
    "title": "T",
    "version": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}

THREAD = {
    "id": "h",
    "project_id": "p",
    "user": "u",
    "version": 3,
    "message_seq": 2,
    "message_count": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "last_activity_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-08T00:00:00Z",
}
MESSAGE = {
    "id": "m",
    "thread_id": "h",
    "user": "u",
    "seq": 2,
    "role": "user",
    "content": {"role": "user", "content": "hi"},
    "created_at": "2026-01-01T00:00:00Z",
}


def event(position: str) -> dict[str, Any]:
    """An event at a position."""
    return {"position": position, "type": "task.created", "at": "2026-01-01T00:00:00Z", "project_id": "p", "data": {}}


def ready(state: str = "resumed", position: str | None = None) -> Ready:
    """A first frame."""
    return Ready(state, None, None, None, position)


def take(tracker: Tracker, *frames: Frame) -> list[Any]:
    """The items that the frames make; events as their positions."""
    items = [item for frame in frames for item, _ in tracker.take(frame) if item is not None]
    return [item.position if isinstance(item, Event) else item for item in items]


def tracker(position: str | None = None, snapshot: SnapshotWish = "auto") -> Tracker:
    """A tracker that has just connected."""
    made = Tracker("url", position, snapshot)
    made.connecting()
    return made


def test_events_come_once_and_move_the_place() -> None:
    """What was seen in this epoch is dropped, whatever the server repeats."""
    place = tracker("e:3")
    assert take(place, ready(), Events([event("e:2"), event("e:3"), event("e:4"), event("e:4"), event("e:9")])) == [
        Opened("resumed"),
        "e:4",
        "e:9",
    ]
    place.connecting()
    assert take(place, Events([event("e:9"), event("e:10")])) == ["e:10"]
    assert place.position == "e:10"


def test_offsets_are_numbers_not_texts() -> None:
    """Offset 10 comes after 9."""
    assert take(tracker("e:9"), Events([event("e:10")])) == ["e:10"]


def test_a_snapshot_is_whole_or_nothing() -> None:
    """Pages are joined; one that breaks off leaves the place where it was and is begun anew."""
    place = tracker("old:5")
    task = {"kind": "task", "data": TASK}
    page = SnapshotPage([task], None, more=True)
    assert take(place, ready("gap", "e:7"), page, Moved("e:7")) == [Opened("gap", position="e:7")]
    assert place.position == "old:5"
    place.connecting()
    last = SnapshotPage([{"kind": "poem", "data": {"id": "h"}}], "e:8", more=False)
    _, snapshot = take(place, ready("gap"), page, last)
    assert isinstance(snapshot, Snapshot)
    assert snapshot.tasks == [Task.model_validate(TASK)]
    assert [type(resource).__name__ for resource in snapshot.resources] == ["Task", "OtherResource"]
    assert snapshot.position == place.position == "e:8"


def test_a_snapshot_of_a_thread_holds_its_messages() -> None:
    """Threads and messages are resources of their own kinds, told apart from the others."""
    last = SnapshotPage([{"kind": "thread", "data": THREAD}, {"kind": "message", "data": MESSAGE}], "e:8", more=False)
    _, snapshot = take(tracker(), ready("snapshot"), last)
    assert snapshot.threads == [Thread.model_validate(THREAD)]
    assert snapshot.messages == [Message.model_validate(MESSAGE)]
    assert snapshot.resources == (*snapshot.threads, *snapshot.messages)


def test_a_snapshot_may_lead_back() -> None:
    """After a gap the server's position counts, also a smaller one: its events are not taken for old ones."""
    place = tracker("e:100")
    take(place, ready("gap"), SnapshotPage([], "e:4", more=False))
    assert take(place, Events([event("e:5")])) == ["e:5"]


def test_a_resync_is_told_and_followed_by_a_snapshot() -> None:
    """An event in between would be out of order, and is refused rather than believed."""
    place = tracker("e:1")
    assert take(place, ready(), ResyncNotice("too far behind")) == [Opened("resumed"), Resync("too far behind")]
    with pytest.raises(ProtocolError):
        place.take(Events([event("e:2")]))


def test_without_snapshots_a_gap_is_told_and_the_head_is_the_place() -> None:
    """`never`: told, then on from the head."""
    place = tracker("e:1", "never")
    assert take(place, ready("gap", "f:7"), Events([event("f:8")])) == [Opened("gap", position="f:7"), "f:8"]
    assert place.wish == "never"


def test_a_stream_from_the_head_has_a_place_at_once() -> None:
    """Without snapshots and without a position: what happens between a break and the way back is not missed."""
    place = tracker(None, "never")
    take(place, ready("resumed", "e:7"))
    assert place.position == "e:7"


def test_the_end_of_a_replay_is_no_place_before_it_was_read() -> None:
    """`ready` names where the replay leads; a break on the way resumes from the last event."""
    place = tracker("e:1")
    take(place, ready("resumed", "e:9"), Events([event("e:2")]))
    assert place.position == "e:2"


def test_always_is_asked_for_once() -> None:
    """A reconnect that can resume does not ask for everything again."""
    place = tracker(None, "always")
    wishes = [place.wish]
    take(place, ready("snapshot"), SnapshotPage([], "e:4", more=False))
    assert [*wishes, place.wish] == ["always", "auto"]


def test_a_heartbeat_moves_the_place_without_an_item() -> None:
    """A quiet filter's place keeps up with the log, so that a reconnect need not replay what is not for it."""
    place = tracker("e:1")
    assert place.take(Moved("e:50")) == [(None, "e:50")]
    assert place.position == "e:50"


def test_a_snapshot_too_large_to_send_says_where_to_read() -> None:
    """It is told as such and not taken for an empty project."""
    place = tracker()
    *_, snapshot = take(place, ready("snapshot"), SnapshotPage([], "e:4", more=False, read=("/v1/x",)))
    assert (snapshot.too_large, snapshot.read, snapshot.resources) == (True, ("/v1/x",), ())


@pytest.mark.parametrize(
    "frame",
    [
        Events([{}]),
        Events([event("nonsense")]),
        Moved("nonsense"),
        SnapshotPage([], None, more=False),
        SnapshotPage([{"kind": "task", "data": {}}], "e:1", more=False),
        SnapshotPage([{"kind": 7}], "e:1", more=False),
    ],
)
def test_nonsense_is_refused(frame: Frame) -> None:
    """What no server of ours says ends the stream instead of being guessed at."""
    with pytest.raises(ProtocolError):
        tracker().take(frame)
