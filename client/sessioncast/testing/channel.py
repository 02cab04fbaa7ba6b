"""A project in memory: its log, and its state as the log tells it. No I/O."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sessioncast.live.mirror import Mirror
from sessioncast_shared.events import Event, EventType, Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.position import BadPositionError, Position
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

Putable = Task | Session | ProviderSession | Thread | Message


class Channel:
    """One project's events.

    Attributes:
        mirror: its live state.
        sessions: all sessions there ever were, deleted ones too.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self.mirror = Mirror()
        self.sessions: dict[str, Session] = {}
        self._epoch = uuid4().hex[:12]
        self._head = 0
        self._floor = 0
        self._gap = "expired"
        self._events: list[Event] = []

    @property
    def position(self) -> str:
        """The newest one."""
        return f"{self._epoch}:{self._head}"

    def put(self, resource: Putable) -> Event:
        """The event that makes a resource what it is now."""
        data = resource.model_dump(mode="json")
        match resource:
            case Task():
                known = resource.id in self.mirror.tasks
                return self.emit(EventType.TASK_UPDATED if known else EventType.TASK_CREATED, data, task_id=resource.id)
            case Session():
                return self.emit(self._session_type(resource), data, task_id=resource.task_id, session_id=resource.id)
            case ProviderSession():
                ended = resource.ended_at is not None
                known = resource.id in self.mirror.provider_sessions
                type_ = EventType.PROVIDER_UPDATED if known else EventType.PROVIDER_STARTED
                type_ = EventType.PROVIDER_ENDED if ended else type_
                return self.emit(type_, data, task_id=resource.task_id, session_id=resource.session_id)
            case Thread():
                return self.emit(EventType.THREAD_CREATED, data, thread_id=resource.id)
            case Message():
                whole = {**data, "thread": self._thread_with(resource).model_dump(mode="json")}
                return self.emit(EventType.MESSAGE_CREATED, whole, thread_id=resource.thread_id)
        raise TypeError(f"not a resource that is put: {type(resource).__name__}")

    def emit(self, type_: str, data: Mapping[str, Any], **about: Any) -> Event:
        """An event of the log; the state is what it makes of it."""
        self._head += 1
        now = datetime.now(UTC)
        given = {"position": self.position, "type": str(type_), "at": now, "project_id": self.project, "data": data}
        event = Event.model_validate({**given, **about})
        self.mirror.take(event)
        self._events.append(event)
        if {"id", "task_id", "phase"} <= data.keys():
            self.sessions[data["id"]] = Session.model_validate(data)
        elif event.session_id in self.mirror.sessions:
            self.sessions[str(event.session_id)] = self.mirror.sessions[str(event.session_id)]
        return event

    def forget(self, reason: str) -> None:
        """No position of before can be resumed from."""
        self._head += 1
        self._floor, self._gap = self._head, reason
        self._events.clear()

    def gap(self, position: str) -> str | None:
        """Why events after a position cannot be told; None: they can."""
        try:
            place = Position.parse(position)
        except BadPositionError:
            return "malformed"
        if place.epoch != self._epoch:
            return "epoch"
        if place.offset > self._head:
            return "ahead"
        return self._gap if place.offset < self._floor else None

    def since(self, position: str, wanted: Filter) -> list[dict[str, Any]]:
        """The events after a position that a filter covers, as they travel."""
        offset = Position.parse(position).offset
        told = self._events[offset - self._floor :]
        return [event.model_dump(mode="json", exclude_none=True) for event in told if covers(wanted, event)]

    def resources(self, wanted: Filter) -> list[dict[str, Any]]:
        """The state that a filter covers, as it travels."""
        mirror, whole = self.mirror, wanted.whole_project
        kinds = set(wanted.kinds or Kind)
        sessions = [one for one in mirror.sessions.values() if whole or one.id in wanted.sessions or
                    one.task_id in wanted.tasks]  # fmt: skip
        ids = {one.id for one in sessions}
        found: list[tuple[str, Putable]] = []
        if Kind.TASK in kinds:
            found += [("task", one) for one in mirror.tasks.values() if whole or one.id in wanted.tasks]
        if Kind.SESSION in kinds:
            found += [("session", one) for one in sessions]
        if Kind.PROVIDER in kinds:
            heads = {one.head_provider_session_id for one in sessions}
            uses = [one for one in mirror.provider_sessions.values() if one.session_id in ids]
            found += [("provider", one) for one in uses if one.provider_session_id in heads]
        if Kind.THREAD in kinds:
            threads = [one for one in mirror.threads if one.id in wanted.threads]
            found += [("thread", one) for one in threads]
            found += [("message", one) for thread in threads for one in mirror.messages(thread.id, thread.user)]
        return [{"kind": kind, "data": one.model_dump(mode="json")} for kind, one in found]

    def _session_type(self, session: Session) -> EventType:
        if session.deleted_at is None:
            return EventType.SESSION_UPDATED if session.id in self.sessions else EventType.SESSION_CREATED
        return EventType.SESSION_DELETED if session.replaced_by is None else EventType.SESSION_REPLACED

    def _thread_with(self, message: Message) -> Thread:
        key = message.user, message.thread_id
        thread = next((one for one in self.mirror.threads if (one.user, one.id) == key), None)
        if thread is None:
            raise KeyError(f"no thread {message.thread_id} of {message.user}; put it first")
        more = {"version": thread.version + 1, "message_seq": message.seq, "message_count": thread.message_count + 1}
        return thread.model_copy(update={**more, "last_activity_at": message.created_at})


def covers(wanted: Filter, event: Event) -> bool:
    """Whether a subscription with this filter is told of an event."""
    kind = _kind(event.type)
    if wanted.kinds is not None and kind not in wanted.kinds:
        return False
    if wanted.whole_project:
        return kind != Kind.THREAD
    return (
        (event.task_id in wanted.tasks if event.task_id else False)
        or (event.session_id in wanted.sessions if event.session_id else False)
        or (event.thread_id in wanted.threads if event.thread_id else False)
    )


def _kind(type_: str) -> str:
    try:
        return EventType(type_).kind
    except ValueError:  # of a newer server
        return type_.partition(".")[0]
