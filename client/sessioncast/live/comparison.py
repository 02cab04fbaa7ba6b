"""The full check: does a mirror show what the server has? No I/O."""

from collections.abc import Iterator

from sessioncast.live.change import ChangeKind
from sessioncast.live.mirror import Mirror
from sessioncast.live.settle import excess, shown_threads, unseen_sessions, unseen_threads
from sessioncast.live.state import State, thread_key
from sessioncast.streams.items import Snapshot
from sessioncast_shared.position import Position
from sessioncast_shared.resources import Session
from sessioncast_shared.threads import Message, Thread

_OUTPUT = ("output_seq", "last_activity_at", "head_provider_session_id")
"""Fields of a session that change without its version, and are told of by other kinds of events."""
_MESSAGES = ("message_seq", "message_count", "last_activity_at", "expires_at")
"""Fields of a thread that are about its messages, which are compared themselves."""
Mismatch = tuple[ChangeKind, str]
"""What differs: a kind, and the id of a resource."""


def mismatches(mirror: Mirror, snapshot: Snapshot) -> list[Mismatch]:
    """What the mirror has not, or has in an older version or otherwise, or has although it is not there any more.

    A mirror that is behind the snapshot differs until the events between arrive: the caller waits, and asks again.
    One that is before it does not differ by what was told to it since.

    Args:
        snapshot: of the same filter. One of another epoch cannot be compared: the stream will tell of it.
    """
    place = Position.parse(snapshot.position)
    if snapshot.too_large or mirror.epoch not in (None, place.epoch):
        return []
    return [*_of_tasks(mirror.state, snapshot, place.offset), *_of_threads(mirror.state, snapshot, place.offset)]


def _of_tasks(state: State, snapshot: Snapshot, offset: int) -> Iterator[Mismatch]:
    shown = {task.id for task in snapshot.tasks}
    for task in snapshot.tasks:
        if state.tasks.lacks(task.id, task.version, offset) or state.tasks.differs(task.id, task, offset):
            yield "task", task.id
    for id_ in state.tasks.known_by(offset):
        if id_ not in shown:
            yield "task", id_
    for session in snapshot.sessions:
        if session.deleted_at is None and _is_wrong(state, session, offset):
            yield "session", session.id
    for session in unseen_sessions(state, snapshot, offset):
        yield "session", session.id
    for use in snapshot.provider_sessions:
        if state.uses.lacks(use.id, 0, offset):
            yield "provider", use.id


def _is_wrong(state: State, session: Session, offset: int) -> bool:
    sessions = state.sessions
    return sessions.lacks(session.id, session.version, offset) or sessions.differs(
        session.id, session, offset, but=_OUTPUT
    )


def _of_threads(state: State, snapshot: Snapshot, offset: int) -> Iterator[Mismatch]:
    for thread, messages, whole in shown_threads(snapshot):
        key = thread_key(thread)
        if state.threads.lacks(key, thread.version, offset) or state.threads.differs(
            key, thread, offset, but=_MESSAGES
        ):
            yield "thread", thread.id
        else:
            yield from _messages(state, thread, messages, whole=whole)
    for gone in unseen_threads(state, snapshot, offset):
        yield "thread", gone.id


def _messages(state: State, thread: Thread, messages: list[Message], *, whole: bool) -> Iterator[Mismatch]:
    """A thread's version names the messages it has; those of another version say nothing."""
    key = thread_key(thread)
    held = state.threads.held.get(key)
    if held is None or held.version != thread.version:
        return
    seqs = state.seqs(key)
    for message in messages:
        if message.seq not in seqs:
            yield "message", message.id
    for seq in excess(state, thread, messages, whole=whole):
        yield "message", state.messages.held[*key, seq].id
