"""A server's log of one task with two sessions, and a client that sees some of it, for the rules of the cache."""

from datetime import UTC, datetime
from typing import Any

from sessioncast.answer import Answer
from sessioncast.cache import Cache, Fetched
from sessioncast.cachevalues import Key
from sessioncast.streams.items import Snapshot
from sessioncast_shared.events import Event
from sessioncast_shared.position import Position
from sessioncast_shared.resources import Session, Task, TaskDetail

AT = datetime(2026, 1, 1, tzinfo=UTC)
TASK = "t"


def session(id_: str, version: int = 1, **more: Any) -> Session:
    """A session of the task."""
    times = dict.fromkeys(("created_at", "updated_at", "last_activity_at"), AT)
    phase = {"a": "run", "b": "plan"}.get(id_, "verify")
    return Session.model_validate(
        {
            "id": id_, "project_id": "p", "task_id": TASK, "phase": phase, "debug": False, "model": {"name": "m"},
            "user": "u", "status": "running", "active": True, "version": version, "fence": 1, "output_seq": 0,
            **times, **more,
        }
    )  # fmt: skip


def task(sessions: dict[str, Session], version: int = 1, **more: Any) -> TaskDetail:
    """The task with these sessions."""
    shown = {str(one.phase): one for one in sessions.values()}
    given = {"id": TASK, "project_id": "p", "title": f"T{version}", "version": version, "sessions": shown}
    return TaskDetail.model_validate({**given, "created_at": AT, "updated_at": AT, **more})


class World:
    """The server's states by offset, and what the client has seen of each read, as the newest offset that changed it.

    Attributes:
        states: at each offset, what each read gives.
        changed: at each offset, the reads that were changed by it.
        seen: by read, the newest offset that the client has seen a change of.
    """

    def __init__(self) -> None:
        not_yet = session("c", 0, deleted_at=AT)
        self.sessions = {"a": session("a"), "b": session("b"), "c": not_yet}
        self.task_version = 1
        self.states: list[dict[Key, Any]] = []
        self.events: list[Event | None] = [None]
        self.seen: dict[Key, int] = {}
        self.time = 0.0
        self.cache = Cache(clock=lambda: self.time, jitter=lambda: 0.5)
        self._note()

    @property
    def head(self) -> int:
        """The newest offset."""
        return len(self.states) - 1

    def is_there(self, key: Key, offset: int) -> bool:
        """Whether a read finds something at an offset: the session `c` is not made at first."""
        return key.kind != "session" or bool(self.states[offset][key].version)

    def change(self, id_: str, what: str) -> None:
        """A session, or the task (`t`), changes on the server."""
        offset, old = len(self.states), self.sessions.get(id_)
        if old is not None and old.version == 0:
            what = "delete"  # made, the first time
        more: dict[str, Any] = {"position": f"e:{offset}", "at": AT, "project_id": "p", "task_id": TASK}
        if what == "task" or old is None:
            self.task_version += 1
            plain = Task.model_validate(task({}, self.task_version).model_dump())
            event = Event(type="task.updated", data=plain.model_dump(mode="json"), **more)
        elif what == "output":
            new = old.model_copy(update={"output_seq": old.output_seq + 1})
            self.sessions[id_] = new
            data = {"first": new.output_seq, "last": new.output_seq, "chunks": []}
            event = Event(type="session.output", session_id=id_, data=data, **more)
        else:
            new = old.model_copy(update={"version": old.version + 1})
            if what == "delete":
                new = new.model_copy(update={"deleted_at": None if old.version == 0 else AT})
            self.sessions[id_] = new
            data = new.model_dump(mode="json")
            event = Event(type="session.updated", session_id=id_, data=data, **more)
        self.events.append(event)
        self._note()

    def see(self, offset: int) -> None:
        """The client has seen the event at an offset."""
        event = self.events[offset]
        assert event is not None
        self._saw(Key("task", TASK) if event.session_id is None else Key("session", event.session_id), offset)

    def see_state(self, key: Key, offset: int) -> None:
        """The client has seen what a read gave at an offset."""
        self._saw(key, offset)
        if key.kind != "session":
            for id_ in self.sessions:
                self._saw(Key("session", id_), self._told_by(id_, offset))

    def fetched(self, key: Key, offset: int, began: int) -> Fetched:
        """The answer to a read at an offset."""
        return Fetched(self.states[offset][key], f'"{offset}"', Position("e", offset), began)

    def snapshot(self) -> None:
        """The client gets the present state."""
        live = tuple(one for one in self.sessions.values() if one.deleted_at is None)
        plain = Task.model_validate(task({}, self.task_version).model_dump())
        self.cache.item("p", Snapshot((plain, *live), f"e:{self.head}"))
        self._saw(Key("task", TASK), self.head)
        self.see_state(Key("sessions", TASK), self.head)

    def is_new_enough(self, key: Key, value: Any) -> bool:
        """Whether a value is one of the state at an offset that the client has seen of this read, or a later one."""
        since = self.seen.get(key, 0)
        if key.kind == "session":
            return self._of(value) >= self._of(self.states[since][key])
        if key.kind == "task" and value.version < self.states[since][key].version:
            return False
        have = {one.id: one for one in _sessions(value)}
        for id_ in self.sessions:
            known = max(since, self.seen.get(Key("session", id_), 0))
            if id_ not in have:  # then it was deleted once since then
                if all(state[Key("session", id_)].deleted_at is None for state in self.states[known:]):
                    return False
            elif self._of(have[id_]) < self._of(
                self.states[self.seen.get(Key("session", id_), 0)][Key("session", id_)]
            ):
                return False
        return True

    def answer(self, offset: int | None) -> Answer:
        """The answer to a write, with its place."""
        headers = {} if offset is None else {"x-position": f"e:{offset}"}
        return Answer("http://x", 200, headers, b"{}")

    def _note(self) -> None:
        live = {id_: one for id_, one in self.sessions.items() if one.deleted_at is None}
        state: dict[Key, Any] = {Key("session", id_): one for id_, one in self.sessions.items()}
        state[Key("task", TASK)] = task(live, self.task_version)
        state[Key("sessions", TASK)] = tuple(live.values())
        self.states.append(state)

    def _saw(self, key: Key, offset: int) -> None:
        self.seen[key] = max(offset, self.seen.get(key, 0))

    def _told_by(self, id_: str, offset: int) -> int:
        """How far a list at an offset tells of a session: of one that is not in it, that it was deleted, once."""
        key = Key("session", id_)
        if self.states[offset][key].deleted_at is not None:
            while offset and self.states[offset - 1][key].deleted_at is not None:
                offset -= 1
        return offset

    @staticmethod
    def _of(one: Session) -> tuple[int, int]:
        return one.version, one.output_seq


def _sessions(value: Any) -> list[Session]:
    return list(value.sessions.values()) if isinstance(value, TaskDetail) else list(value)
