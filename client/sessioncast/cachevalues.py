"""What answers to reads hold, and how a session in them is changed."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sessioncast.answer import Answer
from sessioncast.decode import decoded
from sessioncast_shared.position import Position
from sessioncast_shared.resources import Page, Session, Task, TaskDetail


class Key(NamedTuple):
    """A read: a session, a task with its sessions, or the list of a task's sessions."""

    kind: Literal["session", "task", "sessions"]
    id: str


def sessions_of(value: Any) -> Iterable[Session]:
    """The sessions in an answer."""
    if isinstance(value, Session):
        return (value,)
    return value.sessions.values() if isinstance(value, TaskDetail) else value


def project_of(value: Any) -> str | None:
    """The project that an answer is of, None where it does not tell."""
    if isinstance(value, Session | Task):
        return value.project_id
    return value[0].project_id if value else None


def may_be_of(value: Any, project: str) -> bool:
    """Whether an answer is, or may be, of a project."""
    return project_of(value) in (project, None)


def with_session(value: Any, session: Session) -> Any:
    """The same with this state of a session that is in it."""
    if isinstance(value, Session):
        return session
    if isinstance(value, TaskDetail):
        sessions = {phase: session if one.id == session.id else one for phase, one in value.sessions.items()}
        return value.model_copy(update={"sessions": sessions})
    return tuple(session if one.id == session.id else one for one in value)


def grown(session: Session, output_seq: int, at: datetime) -> Session:
    """With so much output and activity at least."""
    more = {"output_seq": max(session.output_seq, output_seq), "last_activity_at": max(session.last_activity_at, at)}
    return session.model_copy(update=more)


def at_or_after(held: Position | None, place: Position) -> bool:
    """Whether a place is another one, or after it, in the same life of the log."""
    return held is not None and held.epoch == place.epoch and held.offset >= place.offset


def disagrees(value: Any, session: Session) -> bool:
    """Whether a session is in it in another state, or should be in it and is not."""
    known = next((one for one in sessions_of(value) if one.id == session.id), None)
    return session.deleted_at is None if known is None else known != session


def parsed(key: Key, answer: Answer) -> Any:
    """What an answer to a read says.

    Raises:
        ProtocolError: it is no such answer.
    """
    if key.kind == "session":
        return decoded(Session, answer)
    return decoded(TaskDetail, answer) if key.kind == "task" else tuple(decoded(Page[Session], answer).data)
