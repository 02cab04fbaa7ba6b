"""What is live, by kind: which of two states of a resource counts, and what leaves with what."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sessioncast.live.change import Change
from sessioncast.live.shelf import Shelf
from sessioncast.streams.items import Snapshot
from sessioncast_shared.providers import ProviderSession, Totals
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

ThreadKey = tuple[str, str]
MessageKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Told:
    """Where something was told: an offset of the log, and as the position that it is."""

    offset: int
    position: str


class State:
    """Resources and their changes. Each method is O(1), but for what goes with a session or a thread that leaves.

    Within an epoch the highest version of a resource wins; what is not above the offset that a state is known from is
    in it already. A session that has left comes back by a higher version only.
    """

    def __init__(self) -> None:
        self.tasks: Shelf[str, Task] = Shelf("task")
        self.sessions: Shelf[str, Session] = Shelf("session")
        self.uses: Shelf[str, ProviderSession] = Shelf("provider")
        self.totals: Shelf[str, Totals] = Shelf("totals")
        self.threads: Shelf[ThreadKey, Thread] = Shelf("thread")
        self.messages: Shelf[MessageKey, Message] = Shelf("message")
        self._uses_of: dict[str, set[str]] = {}
        self._seqs_of: dict[ThreadKey, set[int]] = {}
        self._changes: list[Change] = []

    def changes(self) -> list[Change]:
        """What has changed since they were last asked for."""
        changes, self._changes = self._changes, []
        return changes

    def doubt(self) -> None:
        """Another epoch has begun without a snapshot: whatever is told from now on is newer than what is held."""
        for shelf in (self.tasks, self.sessions, self.uses, self.totals, self.threads, self.messages):
            shelf.doubt()

    def replace(self, snapshot: Snapshot, told: Told) -> None:
        """Hold what a snapshot shows, and nothing else."""
        messages = {message_key(message): (message.id, message) for message in snapshot.messages}
        sessions = {s.id: (s.id, s) for s in snapshot.sessions if s.deleted_at is None}
        where = told.offset, told.position
        self._changes += self.tasks.replace({task.id: (task.id, task) for task in snapshot.tasks}, *where)
        self._changes += self.sessions.replace(sessions, *where)
        self._changes += self.uses.replace({use.id: (use.id, use) for use in snapshot.provider_sessions}, *where)
        self._changes += self.totals.replace({}, *where)
        self._changes += self.threads.replace({thread_key(th): (th.id, th) for th in snapshot.threads}, *where)
        self._changes += self.messages.replace(messages, *where)
        self._uses_of.clear()
        for use in self.uses.held.values():
            self._uses_of.setdefault(use.session_id, set()).add(use.id)
        self._seqs_of.clear()
        for user, thread_id, seq in messages:
            self._seqs_of.setdefault((user, thread_id), set()).add(seq)

    def put_task(self, task: Task, told: Told) -> None:
        """A task as it is."""
        if self.tasks.takes(task.id, task.version, told.offset):
            self.hold_task(task, told)

    def hold_task(self, task: Task, told: Told) -> None:
        """A task as it is, whatever is known of it."""
        self._tell(self.tasks.put(task.id, task, id_=task.id, offset=told.offset, position=told.position))

    def drop_task(self, task_id: str, told: Told) -> None:
        """A task is not there."""
        self._tell(self.tasks.drop(task_id, None, 0, told.offset, told.position))

    def put_session(self, session: Session, told: Told) -> None:
        """A session as it is; a deleted one leaves."""
        if not self.sessions.takes(session.id, session.version, told.offset):
            return
        if session.deleted_at is not None:
            self.drop_session(session.id, session, session.version, told)
        else:
            self.hold_session(session, told)

    def hold_session(self, session: Session, told: Told) -> None:
        """A live session as it is, unless it was seen with more output."""
        known = self.sessions.held.get(session.id)
        if known is not None and not self.sessions.is_doubted(session.id):
            session = _grown(session, known.output_seq, known.last_activity_at)
        self._tell(self.sessions.put(session.id, session, id_=session.id, offset=told.offset, position=told.position))

    def add_output(self, session_id: str, last: int, at: datetime, told: Told) -> None:
        """A session has printed up to chunk `last`."""
        known = self.sessions.held.get(session_id)
        if known is not None and self.sessions.takes(session_id, known.version, told.offset):
            self.hold_session(_grown(known, last, at), told)

    def set_head(self, session_id: str, head: str | None, told: Told) -> None:
        """The chain of a session has this head."""
        known = self.sessions.held.get(session_id)
        if known is not None and self.sessions.takes(session_id, known.version, told.offset):
            self.hold_session(known.model_copy(update={"head_provider_session_id": head}), told)

    def drop_session(self, session_id: str, last: Session | None, version: int, told: Told) -> None:
        """A session leaves, with its provider sessions."""
        self._tell(self.sessions.drop(session_id, last, version, told.offset, told.position))
        for use_id in sorted(self._uses_of.pop(session_id, ())):
            self._tell(self.uses.drop(use_id, None, 0, told.offset, told.position))

    def put_use(self, use: ProviderSession, told: Told) -> None:
        """A provider session as it is. They have no version: the log's order is theirs."""
        if self.uses.takes(use.id, 0, told.offset):
            self.hold_use(use, told)

    def hold_use(self, use: ProviderSession, told: Told) -> None:
        """A provider session as it is, whatever is known of it."""
        self._uses_of.setdefault(use.session_id, set()).add(use.id)
        self._tell(self.uses.put(use.id, use, id_=use.id, offset=told.offset, position=told.position))

    def put_totals(self, task_id: str, totals: Totals, told: Told) -> None:
        """Totals of a task as they are."""
        if self.totals.takes(task_id, 0, told.offset):
            self._tell(self.totals.put(task_id, totals, id_=task_id, offset=told.offset, position=told.position))

    def put_thread(self, thread: Thread, told: Told) -> bool:
        """A thread as it is; False when what is told of it is old, and so is whatever was told of its messages.

        One that was deleted may be made again, and begins with version 1 then.
        """
        taken = self.threads.takes(thread_key(thread), thread.version, told.offset, again=True)
        if taken:
            self.hold_thread(thread, told)
        return taken

    def hold_thread(self, thread: Thread, told: Told) -> None:
        """A thread as it is, whatever is known of it."""
        key = thread_key(thread)
        self._tell(self.threads.put(key, thread, id_=thread.id, offset=told.offset, position=told.position))

    def drop_thread(self, thread: Thread, told: Told) -> None:
        """A thread is deleted, with its messages."""
        if self.threads.takes(thread_key(thread), thread.version, told.offset, again=True):
            self.let_thread_go(thread, told)

    def let_thread_go(self, thread: Thread, told: Told) -> None:
        """A thread is not there, nor are its messages, whatever is known of it."""
        key = thread_key(thread)
        self.drop_messages(key, tuple(self.seqs(key)), told)
        self._tell(self.threads.drop(key, thread, thread.version, told.offset, told.position))

    def hold_message(self, message: Message, told: Told) -> None:
        """A message that there is."""
        key = message_key(message)
        self._seqs_of.setdefault(key[:2], set()).add(message.seq)
        self._tell(self.messages.put(key, message, id_=message.id, offset=told.offset, position=told.position))

    def drop_messages(self, thread: ThreadKey, seqs: Iterable[int], told: Told) -> None:
        """Messages are taken out of a thread."""
        known = self._seqs_of.get(thread, set())
        for seq in seqs:
            if seq in known:
                known.discard(seq)
                self._tell(self.messages.drop((*thread, seq), None, 0, told.offset, told.position))
        if not known:
            self._seqs_of.pop(thread, None)

    def drop_ranges(self, thread: ThreadKey, ranges: Iterable[tuple[int, int]], told: Told) -> None:
        """Messages from the first to the last `seq` of each range are taken out of a thread."""
        known = sorted(self.seqs(thread))
        gone = [seq for first, last in ranges for seq in known if first <= seq <= last]
        self.drop_messages(thread, gone, told)

    def seqs(self, thread: ThreadKey) -> Collection[int]:
        """`seq` of the messages of a thread that are known, in no order."""
        return self._seqs_of.get(thread, ())

    def threads_called(self, thread_id: str) -> list[ThreadKey]:
        """The threads of that id that messages are known of, one per user."""
        return [key for key in self._seqs_of if key[1] == thread_id]

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self._changes.append(change)


def thread_key(thread: Thread) -> ThreadKey:
    """What names a thread: ids are unique per user only."""
    return thread.user, thread.id


def message_key(message: Message) -> MessageKey:
    """What names a message."""
    return message.user, message.thread_id, message.seq


def _grown(session: Session, output_seq: int, at: datetime) -> Session:
    """With so much output and activity at least: neither ever falls, and neither raises the version."""
    if session.output_seq >= output_seq and session.last_activity_at >= at:
        return session
    more = {"output_seq": max(session.output_seq, output_seq), "last_activity_at": max(session.last_activity_at, at)}
    return session.model_copy(update=more)
