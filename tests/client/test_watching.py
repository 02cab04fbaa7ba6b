"""What `watch` makes of a subscription's items, by plain calls."""

from collections.abc import AsyncIterator
from typing import Any

from sessioncast import ConnectionLost, Event, NotFound, OutputChunk, ProviderSession, Session, Snapshot, Task
from sessioncast.cli.board import Board
from sessioncast.cli.output import OutputFollower

AT = "2026-01-01T00:00:00Z"


def task(title: str = "T", version: int = 1) -> Task:
    """A task."""
    return Task.model_validate(
        {"id": "t", "project_id": "p", "title": title, "version": version, "created_at": AT, "updated_at": AT}
    )


def session(id_: str = "s", *, version: int = 1, **fields: Any) -> Session:
    """A session of that task."""
    rest = dict.fromkeys(("last_activity_at", "created_at", "updated_at"), AT)
    given = {"status": "running", "active": True, "output_seq": 0, **rest, **fields}
    ids = {"id": id_, "project_id": "p", "task_id": "t", "user": "u", "phase": "run", "model": {"name": "m"}}
    return Session.model_validate({**ids, "debug": False, "version": version, "fence": 1, **given})


def event(type_: str, data: Any, session_id: str | None = None) -> Event:
    """An event."""
    return Event(position="e:1", type=type_, at=AT, project_id="p", session_id=session_id, data=data)  # type: ignore[arg-type]  # a text that pydantic reads


def told(type_: str, resource: Task | Session) -> Event:
    """An event about a resource."""
    return event(type_, resource.model_dump(mode="json"))


def test_a_snapshot_tells_what_is_new_to_us_only() -> None:
    """The second snapshot, after a gap, tells the changes in between and not everything again."""
    board = Board()
    assert board.take(Snapshot((task(), session("a"), session("b")), "e:1")) == [
        'task t "T"',
        'session a run running "m" "T"',
        'session b run running "m" "T"',
    ]
    assert board.take(Snapshot((task(), session("b", version=2, status="completed", active=False)), "e:2")) == [
        'session a run gone "m" "T"',
        'session b run completed "m" "T"',
    ]
    assert board.done


def test_events_tell_changes_of_what_is_shown() -> None:
    """Status, model and end of a session, and a task's title; not its every touch."""
    board = Board()
    board.take(Snapshot((task(), session()), "e:1"))
    assert board.take(told("session.updated", session(version=2, metadata={"x": 1}))) == []
    assert board.take(told("session.updated", session(version=3, status="waiting"))) == [
        'session s run waiting "m" "T"'
    ]
    assert board.take(told("task.updated", task("New\nline", 2))) == ['task t "New\\nline"']
    gone = session(version=3, deleted_at=AT, replaced_by="z")
    assert board.take(told("session.replaced", gone)) == ['session s run replaced by z "m" "New\\nline"']
    assert board.take(told("session.created", session("z", debug=True))) == [
        'session z run.debug running "m" "New\\nline"'
    ]
    assert board.take(event("session.resume_decided", {"anything": 1})) == []


def use(id_: str, session_id: str, tokens: int | None) -> ProviderSession:
    """A provider session of a session."""
    rest = {"operation": "o", "is_resumable": True, "resume_failure_count": 0, "fence": 1, "state": "open"}
    ids = {"id": id_, "provider_session_id": id_, "session_id": session_id, "usage": {"tokens": tokens}}
    return ProviderSession.model_validate({**ids, **rest, "started_at": AT, "last_used_at": AT})


def test_tokens_are_of_all_uses_that_were_heard_of() -> None:
    """The newest word of each counts, none is no zero, and they go with their session."""
    board = Board()
    board.take(Snapshot((task(), session("a"), session("b"), use("1", "a", 100), use("x", "gone", 7)), "e:1"))
    assert (board.tokens("a"), board.tokens("b"), board.tokens("gone")) == (100, None, None)
    board.take(event("provider_session.updated", use("1", "a", 150).model_dump(mode="json")))
    board.take(event("provider_session.started", use("2", "a", None).model_dump(mode="json")))
    board.take(event("provider_session.ended", {**use("2", "a", 5).model_dump(mode="json"), "totals": {}}))
    assert board.tokens("a") == 155
    board.take(told("session.deleted", session("a", version=2, deleted_at=AT)))
    assert (board.tokens("a"), board.uses) == (None, {})


def test_the_highest_version_wins() -> None:
    """An older state that arrives late, beside a snapshot, does not come back."""
    board = Board()
    board.take(Snapshot((task(), session(version=5, status="waiting")), "e:1"))
    assert board.take(told("session.updated", session(version=4))) == []
    assert board.sessions["s"].status == "waiting"


def test_a_snapshot_too_large_throws_nothing_away() -> None:
    """What is known stays shown, and where to read the rest is told."""
    board = Board()
    board.take(Snapshot((task(),), "e:1"))
    assert board.take(Snapshot((), "e:2", too_large=True, read=("/v1/x",))) == ["too many to show; read /v1/x"]
    assert list(board.tasks) == ["t"]


class Server:
    """Output that the server has; each read may fail first."""

    def __init__(self) -> None:
        self.output: dict[str, list[str]] = {}
        self.failures: list[Exception] = []
        self.reads = 0

    async def fetch(self, session: str, after: int) -> AsyncIterator[OutputChunk]:
        """Output after a `seq`; a failure comes after the first chunk."""
        self.reads += 1
        for seq, text in enumerate(self.output.get(session, [])[after:], after + 1):
            yield OutputChunk.model_validate({"seq": seq, "stream": "log", "text": text, "at": AT})
            if self.failures:
                raise self.failures.pop()


def said(session: str, first: int, *texts: str, last: int | None = None) -> Event:
    """An output event; with `last` and no texts, one whose text the log does not carry."""
    chunks = [{"seq": seq, "stream": "log", "text": text} for seq, text in enumerate(texts, first)]
    data = {"first": first, "last": last or first + len(texts) - 1, "chunks": chunks}
    return event("session.output", data, session)


async def shown(follower: OutputFollower, *items: Any) -> list[str]:
    """What is shown for the items."""
    return [chunk.text for item in items for _, chunk in [pair async for pair in follower.take(item)]]


async def test_every_chunk_is_shown_once_and_in_order() -> None:
    """From the start, over repetitions, a hole, an event without its text, and a snapshot after a gap."""
    server = Server()
    server.output["s"] = ["1", "2", "3"]
    follower = OutputFollower(server.fetch)
    assert await shown(follower, Snapshot((session(output_seq=2),), "e:1")) == ["1", "2", "3"]
    assert await shown(follower, said("s", 3, "3"), said("s", 3, "3", "4")) == ["4"]
    server.output["s"] = list("123456789")
    assert await shown(follower, said("s", 6, "6")) == ["5", "6", "7", "8", "9"]
    assert await shown(follower, said("s", 7, last=9)) == []
    server.output["s"] += ["10", "11"]
    assert await shown(follower, said("s", 10, last=10)) == ["10", "11"]
    assert await shown(follower, Snapshot((session(output_seq=11),), "e:9")) == []
    assert server.reads == 3


async def test_a_session_that_went_in_a_gap_is_shown_to_its_end() -> None:
    """Its last words were missed with the news of its replacement; they are fetched all the same."""
    server = Server()
    server.output = {"old": ["1", "2"], "new": ["a"]}
    follower = OutputFollower(server.fetch)
    assert await shown(follower, Snapshot((session("old", output_seq=2),), "e:1")) == ["1", "2"]
    server.output["old"] += ["3"]
    assert await shown(follower, Snapshot((session("new", output_seq=1),), "e:9")) == ["3", "a"]


async def test_a_server_that_goes_away_while_reading_is_waited_for() -> None:
    """The read goes on behind the last chunk that was shown."""
    server = Server()
    server.output["s"] = ["1", "2", "3"]
    server.failures = [ConnectionLost("url", "gone"), ConnectionLost("url", "gone")]
    assert await shown(OutputFollower(server.fetch), Snapshot((session(output_seq=3),), "e:1")) == ["1", "2", "3"]


async def test_output_that_was_purged_is_not_waited_for() -> None:
    """A session that is not there any more ends the reading, not the watching."""
    server = Server()
    server.output["s"] = ["1", "2"]
    server.failures = [NotFound(404, {})]
    assert await shown(OutputFollower(server.fetch), Snapshot((session(output_seq=2),), "e:1")) == ["1"]
