"""The full check: does a mirror show what the server has? No I/O."""

from collections.abc import Iterator

from sessioncast.live.change import ChangeKind
from sessioncast.live.mirror import Mirror
from sessioncast.live.settle import excess, shown_threads, unseen_sessions, unseen_threads
from sessioncast.live.state import State, thread_key
from sessioncast.streams.items import Snapshot
from sessioncast_shared.position import Position
from sessioncast_shared.threads import Message, Thread

Mismatch = tuple[ChangeKind, str]
"""What differs: a kind, and the id of a resource."""


def mismatches(mirror: Mirror, snapshot: Snapshot) -> list[Mismatch]:
    """What the mirror has not, or has in an older version, or has although it is not there any more.

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
        if state.tasks.lacks(task.id, task.version, offset):
            yield "task", task.id
    for id_ in state.tasks.known_by(offset):
        if id_ not in shown:
            yield "task", id_
    for session in snapshot.sessions:
        if session.deleted_at is None and state.sessions.lacks(session.id, session.version, offset):
            yield "session", session.id
    for session in unseen_sessions(state, snapshot, offset):
        yield "session", session.id
    for use in snapshot.provider_sessions:
        if state.uses.lacks(use.id, 0, offset):
            yield "provider", use.id


def _of_threads(state: State, snapshot: Snapshot, offset: int) -> Iterator[Mismatch]:
    for thread, messages, whole in shown_threads(snapshot):
        if state.threads.lacks(thread_key(thread), thread.version, offset):
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
