"""A history as a server would tell it, with the state after each event."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sessioncast.streams.items import Shown, Snapshot
from sessioncast_shared.events import Event
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_STATUSES = ("running", "idle", "waiting", "completed")

Step = tuple[str, int]
"""What happens, and a number that says to which resource, and how."""


class LiveHistory:
    """A project to which one thing after another happens.

    Attributes:
        events: the one with offset n is `events[n - 1]`.
        snapshots: `snapshots[n]` is the state after offset n.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self.events: list[Event] = []
        self._tasks: dict[str, Task] = {}
        self._sessions: dict[str, Session] = {}
        self._uses: dict[str, ProviderSession] = {}
        self._heads: dict[str, str] = {}
        self._threads: dict[str, Thread] = {}
        self._messages: dict[tuple[str, int], Message] = {}
        self._made = 0
        self.snapshots = [self._snapshot()]
        for what, number in steps:
            STEPS[what](self, number)

    @property
    def uses(self) -> dict[str, ProviderSession]:
        """All provider sessions of live sessions."""
        return {id_: use for id_, use in self._uses.items() if use.session_id in self._sessions}

    def task(self, number: int) -> None:
        """A task is made or changed."""
        old = self._tasks.get(f"t{number}")
        version = 1 if old is None else old.version + 1
        created = self._now if old is None else old.created_at
        task = Task(
            id=f"t{number}", project_id="p", title=f"T{version}", version=version, created_at=created,
            updated_at=self._now,
        )  # fmt: skip
        self._tasks[task.id] = task
        self._tell("task.created" if old is None else "task.updated", task, task_id=task.id)

    def start(self, number: int) -> None:
        """A session is started; another one of its task, if there is one, is replaced."""
        self._made += 1
        id_ = f"s{self._made}"
        task = f"t{number}"
        for old in [session for session in self._sessions.values() if session.task_id == task]:
            more = {"status": "cancelled", "active": False, "version": old.version + 1} if old.active else {}
            self._leave(old, "replaced", replaced_by=id_, **more)
        times = dict.fromkeys(("created_at", "updated_at", "last_activity_at"), self._now)
        session = Session.model_validate(
            {
                "id": id_, "project_id": "p", "task_id": task, "phase": "run", "debug": False, "model": {"name": "m"},
                "user": "u", "status": "pending", "active": True, "version": 1, "fence": 1, "output_seq": 0, **times,
            }
        )  # fmt: skip
        self._sessions[id_] = session
        self._tell("session.created", session, session_id=id_)

    def status(self, number: int) -> None:
        """A session changes its status."""
        for session in self._some(number):
            status = _STATUSES[session.version % len(_STATUSES)]
            more = {"status": status, "active": status != "completed", "version": session.version + 1}
            self._sessions[session.id] = self._changed(session, **more, last_activity_at=self._now)
            self._tell("session.updated", self._sessions[session.id], session_id=session.id)

    def output(self, number: int) -> None:
        """A session prints."""
        for session in self._some(number):
            first, last = session.output_seq + 1, session.output_seq + 1 + number
            self._sessions[session.id] = self._changed(session, output_seq=last, last_activity_at=self._now)
            self._tell("session.output", {"first": first, "last": last, "chunks": []}, session_id=session.id)

    def delete(self, number: int) -> None:
        """A session is deleted."""
        for session in self._some(number):
            self._leave(session, "deleted", version=session.version + 1)

    def use(self, number: int) -> None:
        """A provider session begins, and is the head of its chain."""
        for session in self._some(number):
            self._made += 1
            use = ProviderSession.model_validate(
                {
                    "id": f"u{self._made}", "provider_session_id": f"x{self._made}", "session_id": session.id,
                    "operation": "run", "is_resumable": False, "resume_failure_count": 0, "fence": 1, "state": "open",
                    "started_at": self._now, "last_used_at": self._now,
                }
            )  # fmt: skip
            self._tell_use("started", use)

    def end_use(self, number: int) -> None:
        """A provider session ends."""
        for use in sorted(self.uses.values(), key=lambda use: use.id)[number : number + 1]:
            self._tell_use("ended", ProviderSession.model_validate({**use.model_dump(), "state": "ended"}))

    def message(self, number: int) -> None:
        """A message is appended, to a thread that is made for it if need be."""
        id_ = f"h{number}"
        thread = self._threads.get(id_)
        if thread is None:
            times = dict.fromkeys(("created_at", "last_activity_at", "expires_at"), self._now)
            numbers = {"version": 1, "message_seq": 0, "message_count": 0}
            thread = Thread.model_validate({"id": id_, "project_id": "p", "user": "u", **numbers, **times})
            self._tell_thread("created", thread)
        seq = thread.message_seq + 1
        more = {"version": thread.version + 1, "message_seq": seq, "message_count": thread.message_count + 1}
        thread = self._threads[id_] = Thread.model_validate({**thread.model_dump(), **more})
        message = Message(
            id=f"{id_}-{seq}", thread_id=id_, user="u", seq=seq, role="user", content={}, created_at=self._now
        )
        self._messages[id_, seq] = message
        self._tell("message.created", {**_json(message), "thread": _json(thread)}, thread_id=id_)

    def pop(self, number: int) -> None:
        """The newest message of a thread is taken back."""
        id_ = f"h{number}"
        for seq in self._seqs(id_)[-1:]:
            message = self._messages.pop((id_, seq))
            thread = self._threads[id_]
            more = {"version": thread.version + 1, "message_count": thread.message_count - 1}
            thread = self._threads[id_] = Thread.model_validate({**thread.model_dump(), **more})
            self._tell("message.popped", {**_json(message), "thread": _json(thread)}, thread_id=id_)

    def prune(self, number: int) -> None:
        """The oldest messages of a thread go, all but one."""
        id_ = f"h{number}"
        gone = self._seqs(id_)[:-1]
        if gone:
            for seq in gone:
                del self._messages[id_, seq]
            thread = self._threads[id_]
            more = {"version": thread.version + 1, "message_count": 1}
            thread = Thread.model_validate({**thread.model_dump(), **more})
            self._tell_thread("pruned", thread, removed=[[gone[0], gone[-1]]], count=len(gone), reason="limit")

    def delete_thread(self, number: int) -> None:
        """A thread is deleted."""
        thread = self._threads.pop(f"h{number}", None)
        if thread is not None:
            for seq in self._seqs(thread.id):
                del self._messages[thread.id, seq]
            thread = Thread.model_validate({**thread.model_dump(), "version": thread.version + 1})
            self._tell("thread.deleted", {**_json(thread), "reason": "deleted"}, thread_id=thread.id)

    @property
    def _now(self) -> datetime:
        return _BEGIN + timedelta(seconds=len(self.events) + 1)

    def _some(self, number: int) -> list[Session]:
        return list(self._sessions.values())[number : number + 1]

    def _seqs(self, thread: str) -> list[int]:
        return sorted(seq for id_, seq in self._messages if id_ == thread)

    def _changed(self, session: Session, **members: Any) -> Session:
        more = {"updated_at": self._now} if "version" in members else {}
        return Session.model_validate({**session.model_dump(), **more, **members})

    def _leave(self, session: Session, how: str, **members: Any) -> None:
        del self._sessions[session.id]
        gone = self._changed(session, deleted_at=self._now, **members)
        self._tell(f"session.{how}", gone, session_id=session.id)

    def _tell_use(self, how: str, use: ProviderSession) -> None:
        self._uses[use.id] = use
        head = self._heads[use.session_id] = use.id if how == "started" else self._heads[use.session_id]
        head_id = self._uses[head].provider_session_id
        session = self._sessions[use.session_id]
        self._sessions[session.id] = Session.model_validate(
            {**session.model_dump(), "head_provider_session_id": head_id}
        )
        data = {**_json(use), "head_provider_session_id": head_id}
        self._tell(f"provider_session.{how}", data, session_id=session.id)

    def _tell_thread(self, how: str, thread: Thread, **more: Any) -> None:
        self._threads[thread.id] = thread
        self._tell(f"thread.{how}", {**_json(thread), **more}, thread_id=thread.id)

    def _tell(self, type_: str, what: Task | Session | dict[str, Any], **about: str) -> None:
        data = what if isinstance(what, dict) else _json(what)
        place = {"position": f"e:{len(self.events) + 1}", "type": type_, "at": self._now, "project_id": "p"}
        self.events.append(Event.model_validate({**place, **about, "data": data}))
        self.snapshots.append(self._snapshot())

    def _snapshot(self) -> Snapshot:
        heads = [self._uses[use] for session, use in self._heads.items() if session in self._sessions]
        shown: list[Shown] = [*self._tasks.values(), *self._sessions.values(), *heads]
        shown += [*self._threads.values(), *self._messages.values()]
        return Snapshot(tuple(shown), f"e:{len(self.events)}")


def _json(resource: Task | Session | ProviderSession | Thread | Message) -> dict[str, Any]:
    return resource.model_dump(mode="json")


STEPS: dict[str, Callable[[LiveHistory, int], None]] = {
    "task": LiveHistory.task,
    "start": LiveHistory.start,
    "status": LiveHistory.status,
    "output": LiveHistory.output,
    "delete": LiveHistory.delete,
    "use": LiveHistory.use,
    "end_use": LiveHistory.end_use,
    "message": LiveHistory.message,
    "pop": LiveHistory.pop,
    "prune": LiveHistory.prune,
    "delete_thread": LiveHistory.delete_thread,
}
