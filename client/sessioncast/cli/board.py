"""What `watch` knows: tasks, live sessions and what they use, and what has changed. No I/O."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sessioncast.decode import validated
from sessioncast.streams.items import Item, Snapshot
from sessioncast_shared.events import Event, EventType
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session, Task

_TASKS = {EventType.TASK_CREATED, EventType.TASK_UPDATED}
_SESSIONS = {
    EventType.SESSION_CREATED,
    EventType.SESSION_UPDATED,
    EventType.SESSION_REPLACED,
    EventType.SESSION_DELETED,
    EventType.SESSION_RESUMED,
}
_USES = {
    EventType.PROVIDER_STARTED,
    EventType.PROVIDER_UPDATED,
    EventType.PROVIDER_ENDED,
    EventType.RESUME_FAILED,
}


class Board:
    """The present state, kept up by a subscription's items.

    Attributes:
        known: whether the present state was told.
        tasks, sessions: by id; only live sessions.
        uses: provider sessions of live sessions, by id: of each chain the newest when it was told first, and all since.
    """

    def __init__(self) -> None:
        self.known = False
        self.uses: dict[str, ProviderSession] = {}
        self.tasks: dict[str, Task] = {}
        self.sessions: dict[str, Session] = {}

    def take(self, item: Item) -> list[str]:
        """What an item changes, one line for a person each."""
        match item:
            case Snapshot(too_large=True, read=read):
                # Nothing is known anew, so nothing is thrown away.
                return [f"too many to show; read {' '.join(read)}"]
            case Snapshot():
                return list(self._replace(item))
            case Event(type=type_, data=data) if type_ in _TASKS:
                return list(self._task(validated(Task, data, type_)))
            case Event(type=type_, data=data) if type_ in _SESSIONS:
                return list(self._session(validated(Session, data, type_)))
            case Event(type=type_, data=data) if type_ in _USES:
                self._use(validated(ProviderSession, data, type_))
        return []

    def tokens(self, session: str) -> int | None:
        """Tokens of what a session is known to have used; None where nobody told any."""
        told = [use.usage.tokens for use in self.uses.values() if use.session_id == session]
        known = [tokens for tokens in told if tokens is not None]
        return sum(known) if known else None

    @property
    def done(self) -> bool:
        """Whether there are sessions and all have ended."""
        return bool(self.sessions) and not any(session.active for session in self.sessions.values())

    def rows(self) -> Iterator[tuple[Task | None, list[Session]]]:
        """Tasks, newest change first, with their live sessions; last the sessions whose task is not known."""
        by_task: dict[str, list[Session]] = {}
        for session in sorted(self.sessions.values(), key=lambda session: (session.phase, session.debug)):
            by_task.setdefault(session.task_id, []).append(session)
        for task in sorted(self.tasks.values(), key=lambda task: task.updated_at, reverse=True):
            yield task, by_task.pop(task.id, [])
        for sessions in by_task.values():
            yield None, sessions

    def _replace(self, snapshot: Snapshot) -> Iterator[str]:
        self.known = True
        tasks = {task.id: task for task in snapshot.tasks}
        sessions = {session.id: session for session in snapshot.sessions}
        for task in [task for id_, task in self.tasks.items() if id_ not in tasks]:
            del self.tasks[task.id]
        for gone in [session for id_, session in self.sessions.items() if id_ not in sessions]:
            self._forget(gone.id)
            yield self._line(gone, "gone")
        for task in tasks.values():
            yield from self._task(task)
        for session in sessions.values():
            yield from self._session(session)
        for use in snapshot.provider_sessions:
            self._use(use)

    def _use(self, use: ProviderSession) -> None:
        if use.session_id in self.sessions:
            self.uses[use.id] = use

    def _forget(self, session: str) -> Session | None:
        for id_ in [id_ for id_, use in self.uses.items() if use.session_id == session]:
            del self.uses[id_]
        return self.sessions.pop(session, None)

    def _task(self, task: Task) -> Iterator[str]:
        old = self.tasks.get(task.id)
        if old is None or old.version <= task.version:
            self.tasks[task.id] = task
        if old is None or old.title != task.title:
            yield f"task {task.id} {_quoted(task.title)}"

    def _session(self, session: Session) -> Iterator[str]:
        old = self.sessions.get(session.id)
        if session.deleted_at is not None:
            if self._forget(session.id) is not None:
                yield self._line(session, f"replaced by {session.replaced_by}" if session.replaced_by else "deleted")
            return
        # The highest version wins, in whatever order they are heard.
        if old is not None and old.version > session.version:
            return
        self.sessions[session.id] = session
        if old is None or _shown(old) != _shown(session):
            yield self._line(session, str(session.status))

    def _line(self, session: Session, what: str) -> str:
        task = self.tasks.get(session.task_id)
        title = f" {_quoted(task.title)}" if task else ""
        return f"session {session.id} {phase_of(session)} {what} {_quoted(model_of(session))}{title}"


def phase_of(session: Session) -> str:
    """Its phase, and whether it debugs."""
    return f"{session.phase}.debug" if session.debug else str(session.phase)


def model_of(session: Session) -> str:
    """Its model, as a person names it."""
    return model_name(session.model)


def model_name(model: Mapping[str, Any]) -> str:
    """A model, as a person names it."""
    label = model.get("label")
    name = str(label or model.get("name", "?"))
    version = model.get("version")
    return f"{name} {version}" if version and not label else name


def _shown(session: Session) -> tuple[object, ...]:
    return session.status, session.model, session.agent


def _quoted(text: str) -> str:
    # One change is one line, whatever people put into titles.
    return json.dumps(text, ensure_ascii=False)
