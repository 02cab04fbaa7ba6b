"""The full check of a mirror, by plain calls."""

from typing import Any

from sessioncast import Event, Session, Snapshot, Task
from sessioncast.live.comparison import mismatches
from sessioncast.live.mirror import Mirror
from sessioncast.streams.items import Shown
from sessioncast_shared.filters import Filter
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.threads import Message, Thread
from support.samples import AT, SESSION, TASK


def session(id_: str = "s", **members: Any) -> Session:
    """A session."""
    return Session.model_validate({**SESSION, "id": id_, **members})


def task(version: int = 1) -> Task:
    """A task."""
    return Task.model_validate({**TASK, "version": version})


def use(id_: str = "u") -> ProviderSession:
    """A provider session."""
    times = {"started_at": AT, "last_used_at": AT}
    members = {"operation": "run", "is_resumable": False, "resume_failure_count": 0, "fence": 1, "state": "open"}
    return ProviderSession.model_validate(
        {"id": id_, "provider_session_id": id_, "session_id": "s", **times, **members}
    )


def thread(version: int, *seqs: int, count: int | None = None) -> list[Shown]:
    """A thread and messages of it."""
    times = dict.fromkeys(("created_at", "last_activity_at", "expires_at"), AT)
    numbers = {"version": version, "message_seq": 9, "message_count": len(seqs) if count is None else count}
    shown: list[Shown] = [Thread.model_validate({"id": "h", "project_id": "p", "user": "u", **numbers, **times})]
    about = {"thread_id": "h", "user": "u", "role": "user", "content": {}, "created_at": AT}
    return shown + [Message.model_validate({"id": f"m{seq}", "seq": seq, **about}) for seq in seqs]


def snapshot(position: str, *resources: Shown, too_large: bool = False) -> Snapshot:
    """What the server shows."""
    return Snapshot(resources, position, too_large)


def mirror(position: str, *resources: Shown) -> Mirror:
    """One that was shown this."""
    made = Mirror()
    made.take(snapshot(position, *resources))
    return made


def told(position: str, type_: str, resource: Shown) -> Event:
    """An event with a whole resource."""
    data = resource.model_dump(mode="json")  # type: ignore[union-attr]  # no OtherResource is told here
    return Event.model_validate({"position": position, "type": type_, "at": AT, "project_id": "p", "data": data})


def test_what_is_equal_does_not_differ() -> None:
    """Wherever the two stand."""
    all_of_it = (task(), session(), use(), *thread(3, 1, 2))
    for position in ("e:1", "e:5", "e:9"):
        assert mismatches(mirror("e:5", *all_of_it), snapshot(position, *all_of_it)) == []


def test_what_is_missing_older_or_too_much_differs() -> None:
    """Each kind by its id, whatever it is that is wrong with it."""
    server = snapshot("e:9", task(2), session("a"), session("b", version=3), use(), *thread(3))
    assert sorted(mismatches(mirror("e:5", task(), session("b"), session("c")), server)) == [
        ("provider", "u"),
        ("session", "a"),
        ("session", "b"),
        ("session", "c"),
        ("task", "t"),
        ("thread", "h"),
    ]
    wrong = mismatches(mirror("e:5", task(), session(), *thread(3)), snapshot("e:9"))
    assert sorted(wrong) == [("session", "s"), ("task", "t"), ("thread", "h")]


def test_a_mirror_that_was_shown_nothing_lacks_everything() -> None:
    """It can be compared, and filled, all the same."""
    empty = Mirror()
    assert mismatches(empty, snapshot("e:9", session())) == [("session", "s")]
    assert [change.what for change in empty.correct(snapshot("e:9", session()))] == ["added"]


def test_what_was_told_after_the_snapshot_does_not_differ() -> None:
    """The stream was quicker than the check: made, changed and deleted since is right."""
    ahead = mirror("e:5", session("old"), session("changed"))
    ahead.take(told("e:6", "session.created", session("new")))
    ahead.take(told("e:7", "session.updated", session("changed", version=2)))
    ahead.take(told("e:8", "session.deleted", session("old", version=2, deleted_at=AT)))
    before = dict(ahead.sessions)
    server = snapshot("e:5", session("old"), session("changed"))
    assert mismatches(ahead, server) == []
    assert ahead.correct(server) == []
    assert ahead.sessions == before


def test_a_session_that_left_although_the_server_shows_it_is_put_back() -> None:
    """What a snapshot shows at the offset of the leaving, or after it, counts."""
    wrong = mirror("e:5", session())
    wrong.take(told("e:6", "session.deleted", session(deleted_at=AT)))
    server = snapshot("e:8", session())
    assert mismatches(wrong, server) == [("session", "s")]
    [change] = wrong.correct(server)
    assert (change.what, change.after) == ("added", session())


def test_provider_sessions_beside_the_heads_are_no_mismatch() -> None:
    """A snapshot shows heads only; the others go with their session."""
    ours = mirror("e:5", session(), use("a"))
    ours.take(told("e:6", "provider_session.started", use("b")))
    assert mismatches(ours, snapshot("e:9", session(), use("b"))) == []
    ours.correct(snapshot("e:9", session(), use("b")))
    assert set(ours.provider_sessions) == {"a", "b"}
    ours.correct(snapshot("e:10"))
    assert (dict(ours.provider_sessions), dict(ours.sessions)) == ({}, {})


def test_output_is_corrected_though_it_is_no_mismatch() -> None:
    """Versions do not tell of it, and a filter may leave its events out."""
    ours = mirror("e:5", session(output_seq=3))
    server = snapshot("e:9", session(output_seq=8))
    assert mismatches(ours, server) == []
    ours.correct(server)
    assert ours.sessions["s"].output_seq == 8
    ours.correct(snapshot("e:10", session(output_seq=2)))
    assert ours.sessions["s"].output_seq == 8


def test_messages_are_those_of_their_threads_version() -> None:
    """One that is missing or too much differs, and is put right."""
    server = snapshot("e:9", *thread(3, 1, 2, 4))
    ours = mirror("e:5", *thread(3, 1, 3, 4))
    assert mismatches(ours, server) == [("message", "m2"), ("message", "m3")]
    assert [(change.id, change.what) for change in ours.correct(server)] == [("m2", "added"), ("m3", "removed")]
    assert [message.seq for message in ours.messages("h")] == [1, 2, 4]


def test_messages_of_a_thread_that_has_changed_since_are_not_compared() -> None:
    """The stream was quicker than the check."""
    ours = mirror("e:5", *thread(4, 1, 2, 3))
    assert mismatches(ours, snapshot("e:4", *thread(3, 1, 2))) == []
    assert ours.correct(snapshot("e:4", *thread(3, 1, 2))) == []


def test_messages_that_a_snapshot_does_not_show_are_let_be() -> None:
    """Of a filter without threads it shows none, of a long thread the newest."""
    ours = mirror("e:5", *thread(3, 1, 2, 3))
    for seqs in ((), (2, 3)):
        server = snapshot("e:9", *thread(3, *seqs, count=3))
        assert mismatches(ours, server) == []
        ours.correct(server)
        assert [message.seq for message in ours.messages("h")] == [1, 2, 3]
    emptied = snapshot("e:9", *thread(3))
    assert [id_ for _, id_ in mismatches(ours, emptied)] == ["m1", "m2", "m3"]


def test_what_cannot_be_compared_does_not_differ() -> None:
    """Another epoch, or a snapshot that is too large: nothing is said, nothing is changed."""
    ours = mirror("e:5", session())
    for server in (snapshot("f:1"), snapshot("e:9", too_large=True)):
        assert mismatches(ours, server) == []
        assert ours.correct(server) == []
    assert list(ours.sessions) == ["s"]


def test_a_deleted_session_in_a_snapshot_is_none() -> None:
    """It is not missed, and one that is held is too much."""
    gone = session(version=2, deleted_at=AT)
    assert mismatches(Mirror(), snapshot("e:9", gone)) == []
    ours = mirror("e:5", session())
    assert mismatches(ours, snapshot("e:9", gone)) == [("session", "s")]
    assert [change.what for change in ours.correct(snapshot("e:9", gone))] == ["removed"]


def test_a_thread_that_is_gone_goes_with_its_messages() -> None:
    """Nothing is left of it."""
    ours = mirror("e:5", *thread(3, 1, 2))
    assert sorted(change.id for change in ours.correct(snapshot("e:9"))) == ["h", "m1", "m2"]
    assert (ours.threads, ours.messages("h")) == ([], [])


def test_what_was_corrected_from_ahead_is_not_undone_by_older_events() -> None:
    """The stream has the events still to tell that the snapshot had in it; none of them takes anything back."""
    ours = mirror("e:5", session(), use("a"))
    ahead = session(output_seq=9, head_provider_session_id="b")
    ours.correct(snapshot("e:9", ahead, use("b")))
    started = told("e:6", "provider_session.started", use("a")).model_copy(
        update={"data": {**use("a").model_dump(mode="json"), "head_provider_session_id": "a", "state": "ended"}}
    )
    assert [change.id for change in ours.take(started)] == ["a"]
    output = {"position": "e:7", "type": "session.output", "at": AT, "project_id": "p", "session_id": "s"}
    assert ours.take(Event.model_validate({**output, "data": {"first": 1, "last": 99, "chunks": []}})) == []
    assert ours.sessions["s"] == ahead
    ours.correct(snapshot("e:8", ahead, use("b")))
    assert ours.sessions["s"] == ahead


def test_what_was_let_go_from_ahead_does_not_come_back_by_older_events() -> None:
    """The snapshot knew of its leaving, which the stream has still to tell."""
    ours = mirror("e:5", session())
    ours.correct(snapshot("e:20"))
    assert ours.take(told("e:10", "session.updated", session(version=7))) == []
    assert dict(ours.sessions) == {}
    assert [change.what for change in ours.take(told("e:21", "session.updated", session(version=8)))] == ["added"]


def test_what_is_of_another_epoch_goes_when_a_part_does_not_show_it() -> None:
    """Its offset means nothing in this one, however high it is."""
    ours = mirror("e:50", session())
    ours.take(snapshot("f:3", too_large=True))
    assert [change.id for change in ours.fill(snapshot("f:4"), Filter(tasks=("t",)))] == ["s"]
