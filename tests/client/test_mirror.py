"""Mirrors over whole histories: whatever happens, and wherever one begins, what is live is what the server has."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast import Event, Opened, ProtocolError, Resync, Session, Snapshot
from sessioncast.live.change import Change, Changes
from sessioncast.live.comparison import mismatches
from sessioncast.live.mirror import Mirror
from sessioncast.live.shelf import LEFT_MAX
from sessioncast.streams.items import Item
from sessioncast_shared.filters import Filter
from support.livehistory import STEPS, LiveHistory
from support.samples import AT, SESSION, TASK

QUICK = settings(max_examples=60, derandomize=True, deadline=None, database=None)
HISTORIES = st.lists(
    st.tuples(st.sampled_from(["start", "status", "message", *STEPS]), st.integers(0, 2)), min_size=1, max_size=40
).map(LiveHistory)


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """What a snapshot shows, but for provider sessions."""
    return {
        "tasks": {task.id: task for task in snapshot.tasks},
        "sessions": {session.id: session for session in snapshot.sessions},
        "threads": {thread.id: thread for thread in snapshot.threads},
        "messages": {message.id: message for message in snapshot.messages},
    }


def held(mirror: Mirror) -> dict[str, Any]:
    """What a mirror shows, but for provider sessions."""
    return {
        "tasks": dict(mirror.tasks),
        "sessions": dict(mirror.sessions),
        "threads": {thread.id: thread for thread in mirror.threads},
        "messages": {message.id: message for thread in mirror.threads for message in mirror.messages(thread.id)},
    }


def of(history: LiveHistory, since: int, upto: int | None = None) -> Mirror:
    """A mirror that begins with the snapshot at `since`, and has heard the events up to `upto`."""
    mirror = Mirror()
    mirror.take(history.snapshots[since])
    for event in history.events[since:upto]:
        mirror.take(event)
    return mirror


@QUICK
@given(HISTORIES, st.data())
def test_from_any_point_of_any_history_on(history: LiveHistory, data: st.DataObject) -> None:
    """A snapshot and the events behind it amount to the present state."""
    mirror = of(history, data.draw(st.integers(0, len(history.events))))
    last = history.snapshots[-1]
    assert held(mirror) == shown(last)
    assert mirror.position == last.position
    heads = {use.id for use in last.provider_sessions}
    assert heads <= mirror.provider_sessions.keys() <= history.uses.keys()
    assert all(use == history.uses[id_] for id_, use in mirror.provider_sessions.items())


@QUICK
@given(HISTORIES, st.data())
def test_changes_lead_from_what_was_seen_to_what_is(history: LiveHistory, data: st.DataObject) -> None:
    """Who applies the changes, whenever they are read, has the state; each begins with what the reader had."""
    mirror, changes = Mirror(), Changes()
    seen: dict[Any, Any] = {}
    since = data.draw(st.integers(0, len(history.events)))
    again = data.draw(st.integers(since, len(history.events)))
    items: list[Item] = [history.snapshots[since], *history.events[since:again]]
    items += [history.snapshots[again], *history.events[again:]]
    for item in items:
        for change in mirror.take(item):
            changes.add(change)
        if data.draw(st.booleans()):
            read(changes, seen)
    read(changes, seen)
    assert {key: value for (kind, key), value in seen.items() if kind == "session"} == mirror.sessions
    assert {key: value for (kind, key), value in seen.items() if kind == "provider"} == mirror.provider_sessions
    assert {value.id: value for (kind, _), value in seen.items() if kind == "message"} == held(mirror)["messages"]


def read(changes: Changes, seen: dict[Any, Any]) -> None:
    """A reader takes all changes there are."""
    while (change := changes.take()) is not None:
        name = change.kind, change.key
        assert change.before == seen.pop(name, None)
        assert (change.after is None) == (change.last is not None)
        if change.after is not None:
            seen[name] = change.after
    assert len(changes) == 0


@QUICK
@given(HISTORIES, st.data())
def test_a_right_mirror_differs_from_no_snapshot_of_before(history: LiveHistory, data: st.DataObject) -> None:
    """The full check finds nothing wrong where nothing is, nor does it undo what was told since."""
    since = data.draw(st.integers(0, len(history.events)))
    upto = data.draw(st.integers(since, len(history.events)))
    mirror = of(history, since)
    before = held(mirror)
    assert mismatches(mirror, history.snapshots[upto]) == []
    mirror.correct(history.snapshots[upto])
    assert held(mirror) == before


@QUICK
@given(HISTORIES, st.data())
def test_what_was_lost_is_found_and_put_right(history: LiveHistory, data: st.DataObject) -> None:
    """Whichever events a stream loses, the full check makes the mirror right, and it stays so."""
    lost = data.draw(st.sets(st.integers(0, len(history.events))))
    upto = data.draw(st.integers(0, len(history.events)))
    mirror = Mirror()
    mirror.take(history.snapshots[0])
    for offset, event in enumerate(history.events[:upto], 1):
        if offset not in lost:
            mirror.take(event)
    wrong = held(mirror)
    found = mismatches(mirror, history.snapshots[upto])
    changes = mirror.correct(history.snapshots[upto])
    assert held(mirror) == shown(history.snapshots[upto])
    assert mismatches(mirror, history.snapshots[upto]) == []
    # Versions tell of all but output and heads, which are corrected unsaid.
    assert {id_ for kind, id_ in found if kind == "task"} == {change.id for change in changes if change.kind == "task"}
    assert bool(changes) or wrong == held(mirror)
    for event in history.events[upto:]:
        mirror.take(event)
    assert held(mirror) == shown(history.snapshots[-1])


@QUICK
@given(HISTORIES, st.data())
def test_a_snapshot_from_ahead_does_not_go_back_with_the_events_behind_it(
    history: LiveHistory, data: st.DataObject
) -> None:
    """A mirror that was corrected before its stream had come so far is not led astray by what it then hears."""
    upto = data.draw(st.integers(0, len(history.events)))
    ahead = data.draw(st.integers(upto, len(history.events)))
    mirror = of(history, 0, upto)
    mirror.correct(history.snapshots[ahead])
    assert held(mirror) == shown(history.snapshots[ahead])
    for event in history.events[upto:]:
        mirror.take(event)
    last = shown(history.snapshots[-1])
    assert held(mirror)["sessions"] == last["sessions"]
    assert held(mirror)["threads"] == last["threads"]
    assert held(mirror)["messages"] == last["messages"]


def event(position: str, type_: str, data: dict[str, Any], **about: Any) -> Event:
    """An event."""
    return Event.model_validate(
        {"position": position, "type": type_, "at": AT, "project_id": "p", "data": data, **about}
    )


def session(**members: Any) -> dict[str, Any]:
    """A session as JSON."""
    return {**SESSION, **members}


def test_items_that_are_about_the_stream_change_nothing() -> None:
    """An opening, a resync and a heartbeat leave everything as it is; the last moves the position."""
    mirror = Mirror()
    assert [mirror.take(item) for item in (Opened("resumed"), Resync("lagged"))] == [[], []]
    assert mirror.position is None
    mirror.moved("e:9")
    assert mirror.position == "e:9"


def test_views_are_read_only_and_of_this_moment() -> None:
    """A program may keep a view, and cannot break the mirror by it."""
    mirror = Mirror()
    sessions = mirror.sessions
    mirror.take(event("e:1", "session.created", session()))
    assert list(sessions) == ["s"]
    with pytest.raises(TypeError):
        sessions["x"] = sessions["s"]  # type: ignore[index]  # that it cannot be done is the claim


def test_one_that_leaves_is_told_in_its_last_state() -> None:
    """Who waits for a session learns what replaced it."""
    mirror = Mirror()
    mirror.take(event("e:1", "session.created", session()))
    [change] = mirror.take(event("e:2", "session.replaced", session(version=2, deleted_at=AT, replaced_by="n")))
    assert isinstance(change, Change)
    assert (change.what, change.after, change.position) == ("removed", None, "e:2")
    assert isinstance(change.last, Session)
    assert change.last.replaced_by == "n"


def test_two_users_may_have_a_thread_of_one_id() -> None:
    """Their messages are never mixed, and which is meant must be said."""
    times = dict.fromkeys(("created_at", "last_activity_at", "expires_at"), AT)
    mirror = Mirror()
    for offset, user in enumerate(("a", "b"), 1):
        thread = {"id": "h", "project_id": "p", "user": user, "version": 2, "message_seq": 1, "message_count": 1}
        message = {"id": f"of {user}", "thread_id": "h", "user": user, "seq": 1, "role": "user", "content": {}}
        data = {**message, "created_at": AT, "thread": {**thread, **times}}
        mirror.take(event(f"e:{offset}", "message.created", data, thread_id="h"))
    assert [message.id for message in mirror.messages("h", "a")] == ["of a"]
    assert [message.id for message in mirror.messages("h", "b")] == ["of b"]
    assert (len(mirror.threads), mirror.messages("h", "c"), mirror.messages("k")) == (2, [], [])
    with pytest.raises(ValueError, match="2 users have a thread h; name one"):
        mirror.messages("h")


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("session.updated", {"id": "s"}),
        ("session.output", {"first": 1}),
        ("session.output", {"last": "many"}),
        ("task.created", {}),
        ("provider_session.started", {}),
        ("thread.created", {}),
        ("message.created", {"thread": None}),
    ],
)
def test_an_event_that_lacks_what_it_is_for_is_refused(type_: str, data: dict[str, Any]) -> None:
    """What is no event of ours changes nothing unsaid."""
    with pytest.raises(ProtocolError):
        Mirror().take(event("e:1", type_, data, session_id="s"))


@pytest.mark.parametrize("removed", [None, 7, [[1]], [["a", "b"]]])
def test_ranges_that_are_none_are_refused(removed: Any) -> None:
    """A thread is not pruned by guesses."""
    times = dict.fromkeys(("created_at", "last_activity_at", "expires_at"), AT)
    thread = {"id": "h", "project_id": "p", "user": "u", "version": 2, "message_seq": 1, "message_count": 1, **times}
    with pytest.raises(ProtocolError):
        Mirror().take(event("e:1", "thread.pruned", {**thread, "removed": removed}))


def test_of_those_that_left_only_so_many_are_remembered() -> None:
    """A mirror that lives for long does not grow with what is gone."""
    mirror = Mirror()
    for number in range(LEFT_MAX + 5):
        gone = session(id=f"s{number}", version=2, deleted_at=AT)
        mirror.take(event(f"e:{number + 1}", "session.deleted", gone))
    assert len(mirror.state.sessions.left) == LEFT_MAX
    assert "s0" not in mirror.state.sessions.left


def test_parts_of_what_is_too_large_fill_the_mirror() -> None:
    """Each part is taken at its own position: what it covers and does not show goes, the rest stays."""
    mirror = Mirror()
    tasks = [{**TASK, "id": id_} for id_ in ("1", "2")]
    for offset, id_ in enumerate(("a1", "b1", "a2"), 1):
        mirror.take(event(f"e:{offset}", "session.created", session(id=id_, task_id=id_[-1])))
    for offset, task in enumerate(tasks, 4):
        mirror.take(event(f"e:{offset}", "task.created", task))
    mirror.take(Snapshot((), "e:20", too_large=True, read=("/v1/projects/p/tasks",)))
    part = Snapshot((Session.model_validate(session(id="c1", task_id="1", version=4)),), "e:21")
    covered = Filter(tasks=("1",))
    changes = mirror.fill(part, covered)
    assert sorted((change.kind, change.id, change.what) for change in changes) == [
        ("session", "a1", "removed"),
        ("session", "b1", "removed"),
        ("session", "c1", "added"),
        ("task", "1", "removed"),
    ]
    assert (set(mirror.sessions), set(mirror.tasks)) == ({"c1", "a2"}, {"2"})
    assert mirror.fill(Snapshot((), "f:1"), covered) == []
    assert mirror.fill(Snapshot((), "e:30", too_large=True), covered) == []
    assert [change.id for change in mirror.fill(Snapshot((), "e:30"), Filter(sessions=("a2",)))] == ["a2"]
    assert {change.id for change in mirror.fill(Snapshot((), "e:31"), Filter())} == {"c1", "2"}


def test_a_part_that_was_read_before_an_event_undoes_nothing_of_it() -> None:
    """Parts are read while events go on; what the stream has told since stays."""
    mirror = Mirror()
    mirror.take(Snapshot((), "e:1", too_large=True))
    mirror.take(event("e:3", "session.created", session(version=2)))
    mirror.take(event("e:4", "session.deleted", session(id="z", version=2, deleted_at=AT)))
    old = Session.model_validate(session(version=1))
    gone = Session.model_validate(session(id="z", version=1))
    assert mirror.fill(Snapshot((old, gone), "e:2"), Filter(tasks=("t",))) == []
    assert mirror.sessions["s"].version == 2
    assert mirror.fill(Snapshot((), "e:2"), Filter(tasks=("t",))) == []
    assert list(mirror.sessions) == ["s"]
