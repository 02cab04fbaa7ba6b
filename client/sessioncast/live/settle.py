"""A state is brought in line with a snapshot that was read beside the stream, at a position of its own."""

from collections.abc import Iterable

from sessioncast.live.state import State, ThreadKey, Told, message_key, thread_key
from sessioncast.streams.items import Snapshot
from sessioncast_shared.filters import Filter
from sessioncast_shared.resources import Session
from sessioncast_shared.threads import Message, Thread


def settle(state: State, snapshot: Snapshot, told: Told, covered: Filter | None = None) -> None:
    """Take what a snapshot knows better, and let go of what it should show and does not.

    Nothing newer is undone: of what is there the higher version counts, and what was told after the snapshot's offset
    is none of its business. Provider sessions are let go of with their sessions only: a snapshot shows but heads.

    Args:
        covered: what the snapshot is a part of; None: it covers all that is held.
    """
    for task in snapshot.tasks:
        if state.tasks.may_take(task.id, task.version, told.offset):
            state.hold_task(task, told)
    live = [session for session in snapshot.sessions if session.deleted_at is None]
    for session in live:
        if state.sessions.may_take(session.id, session.version, told.offset):
            state.hold_session(session, told)
    for use in snapshot.provider_sessions:
        if state.uses.may_take(use.id, 0, told.offset):
            state.hold_use(use, told)
    for thread, messages, whole in shown_threads(snapshot):
        if state.threads.may_take(thread_key(thread), thread.version, told.offset):
            state.hold_thread(thread, told)
            for message in messages:
                state.hold_message(message, told)
            state.drop_messages(thread_key(thread), excess(state, thread, messages, whole=whole), told)
    _let_go(state, snapshot, told, covered)


def _let_go(state: State, snapshot: Snapshot, told: Told, covered: Filter | None) -> None:
    for session in unseen_sessions(state, snapshot, told.offset):
        if covered is None or _covers(covered, session):
            state.drop_session(session.id, session, session.version, told)
    shown = {task.id for task in snapshot.tasks}
    for id_ in state.tasks.known_by(told.offset):
        if id_ not in shown and (covered is None or covered.whole_project or id_ in covered.tasks):
            state.drop_task(id_, told)
    for thread in unseen_threads(state, snapshot, told.offset):
        if covered is None or covered.whole_project or thread.id in covered.threads:
            state.let_thread_go(thread, told)


def _covers(covered: Filter, session: Session) -> bool:
    return covered.whole_project or session.id in covered.sessions or session.task_id in covered.tasks


def unseen_sessions(state: State, snapshot: Snapshot, offset: int) -> list[Session]:
    """Sessions that were known by an offset, and that a snapshot at it does not show."""
    shown = {session.id for session in snapshot.sessions if session.deleted_at is None}
    return [state.sessions.held[id_] for id_ in state.sessions.known_by(offset) if id_ not in shown]


def unseen_threads(state: State, snapshot: Snapshot, offset: int) -> list[Thread]:
    """Threads that were known by an offset, and that a snapshot at it does not show."""
    shown = {thread_key(thread) for thread in snapshot.threads}
    return [state.threads.held[key] for key in state.threads.known_by(offset) if key not in shown]


def shown_threads(snapshot: Snapshot) -> list[tuple[Thread, list[Message], bool]]:
    """The threads that a snapshot shows, their messages that it shows, and whether these are all of them."""
    by_thread: dict[ThreadKey, list[Message]] = {}
    for message in snapshot.messages:
        by_thread.setdefault(message_key(message)[:2], []).append(message)
    shown = [(thread, by_thread.get(thread_key(thread), [])) for thread in snapshot.threads]
    return [(thread, messages, len(messages) >= thread.message_count) for thread, messages in shown]


def excess(state: State, thread: Thread, messages: Iterable[Message], *, whole: bool) -> list[int]:
    """`seq` of messages that are held, and that are not among a thread's.

    Args:
        messages: of the thread, its newest; none of a snapshot that does not show messages.
        whole: whether these are all. If not, nothing is said of those before them.
    """
    shown = {message.seq for message in messages}
    first = 0 if whole else min(shown, default=thread.message_seq + 1)
    return sorted(seq for seq in state.seqs(thread_key(thread)) if seq >= first and seq not in shown)
