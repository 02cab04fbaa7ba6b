"""What a client has read, and what it has seen since. No I/O."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sessioncast.answer import Answer, Query
from sessioncast.cachevalues import (
    Key,
    at_or_after,
    disagrees,
    grown,
    may_be_of,
    parsed,
    project_of,
    sessions_of,
    with_session,
)
from sessioncast.errors import ProtocolError
from sessioncast.streams.items import Item, Snapshot
from sessioncast.touches import read_of, touched
from sessioncast_shared.events import Event
from sessioncast_shared.position import Position
from sessioncast_shared.resources import Session, Task

FRESH_S = 10.0
SPREAD = 0.1
"""What was read is fresh for this time, give or take this share of it."""
EARLY = 0.2
"""In the last so much of it, it is read again before it is needed."""
STALE_S = 60.0
"""For so long after that it is given as stale."""
ENTRIES_MAX = 1000
"""Of what is held, what was used last."""
SEEN_MAX = 10_000
"""Of how much it is remembered how far it was seen."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is held: `due`, it is to be read again; `stale`, it should have been."""

    value: Any
    age_s: float
    stale: bool
    due: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer of the server.

    Attributes:
        place: of the log, that it was read at.
        began: `Cache.now` when it was asked for.
    """

    value: Any
    etag: str | None
    place: Position | None
    began: int

    def reaches(self, floor: Position | None) -> bool:
        """Whether it was read at a position or after it. One of another life of the log says nothing."""
        if floor is None or self.place is None or self.place.epoch != floor.epoch:
            return True
        return self.place.offset >= floor.offset


@dataclass(frozen=True, slots=True)
class Known:
    """What the server may be asked to compare with."""

    value: Any
    etag: str


@dataclass(slots=True)
class _Entry:
    value: Any
    etag: str | None
    place: Position | None
    at: float
    fresh_s: float


@dataclass(slots=True)
class _Seen:
    """How far something was seen: up to a place of the log, and, where that is not known, when."""

    place: Position | None = None
    when: int = 0
    void: int = 0


class Cache:
    """Holds answers, and lets go of, or corrects, what is older than what is seen.

    Why nothing old is given: every answer tells the position of the log that it was read at, and so does whatever is
    seen (an event, a snapshot, the answer to a write). An answer that comes after something newer was seen of the same
    resource is not held. A write of which the position is not known (its answer was lost) counts for every answer that
    was asked for before the write was given up.

    Attributes:
        now: rises with whatever is seen.
    """

    def __init__(self, *, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self.now = 0
        self._clock = clock
        self._jitter = jitter
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._seen: OrderedDict[Key, _Seen] = OrderedDict()
        self._whole: OrderedDict[str, int] = OrderedDict()
        self._epochs: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._all = 0

    def __len__(self) -> int:
        return len(self._entries)

    def look(self, key: Key) -> Found | None:
        """What is held, None when it is nothing that may be given."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age_s = self._clock() - entry.at
        if age_s >= entry.fresh_s + STALE_S:
            return None
        self._entries.move_to_end(key)
        return Found(entry.value, age_s, age_s >= entry.fresh_s, age_s >= entry.fresh_s * (1 - EARLY))

    def known(self, key: Key) -> Known | None:
        """What is held as the server gave it, however old."""
        entry = self._entries.get(key)
        return None if entry is None or entry.etag is None else Known(entry.value, entry.etag)

    def floor(self, key: Key) -> Position | None:
        """How far it was seen."""
        seen = self._seen.get(key)
        return None if seen is None else seen.place

    def is_current(self, key: Key, answer: Fetched) -> bool:
        """Whether nothing newer than an answer was seen, of it or of what is in it."""
        if answer.began < self._all:
            return False
        parts = [key, *(Key("session", session.id) for session in sessions_of(answer.value))]
        if isinstance(answer.value, Session):  # it may have been seen to be gone
            parts += [Key("task", answer.value.task_id), Key("sessions", answer.value.task_id)]
        for part in parts:
            seen = self._seen.get(part)
            if seen is not None and (answer.began < seen.void or not self._reaches(answer, seen)):
                return False
        place, project = answer.place, project_of(answer.value)
        if place is not None and place.offset < self._whole.get(place.epoch, 0):
            return False
        epoch, when = self._epochs.get(project or "", ("", 0))
        return not epoch or place is None or place.epoch == epoch or answer.began >= when

    def store(self, key: Key, answer: Fetched) -> None:
        """Hold an answer, unless something newer was seen, or is held."""
        entry = self._entries.get(key)
        if not self.is_current(key, answer) or (entry is not None and not answer.reaches(entry.place)):
            return
        if answer.place is not None:
            self._agree(key, answer.value, answer.place)
        fresh_s = FRESH_S * (1 - SPREAD + 2 * SPREAD * self._jitter())
        self._entries[key] = _Entry(answer.value, answer.etag, answer.place, self._clock(), fresh_s)
        self._entries.move_to_end(key)
        if len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Let go of an answer."""
        self._entries.pop(key, None)

    def item(self, project: str, item: Item) -> None:
        """An item of a subscription, or a snapshot that was read beside one."""
        match item:
            case Event():
                self._event(item)
            case Snapshot():
                self._snapshot(project, item)

    def read(self, path: str, query: Query, answer: Answer, began: int) -> None:
        """An answer to a read, of whoever it was.

        Args:
            began: `now` when it was asked for.
        """
        key = read_of(path)
        if answer.status != 200 or key is None or answer.position is None:
            return
        try:
            value = parsed(Key(*key), answer)
        except ProtocolError:
            return  # the reader is told
        fetched = Fetched(value, answer.headers.get("etag"), Position.parse(answer.position), began)
        if all(name == "min_position" for name, _ in query):
            self.store(Key(*key), fetched)
        elif fetched.place is not None:  # a part of a list: nothing is said of the others
            self.now += 1
            for session in sessions_of(value):
                self._shown(session, fetched.place)

    def wrote(self, path: str, body: Any, answer: Answer | None) -> None:
        """A write of this client's own was answered, or may have been done though it was not.

        Args:
            body: of the request.
        """
        changed = touched(path, body, answer)
        place = None if answer is None or answer.position is None else Position.parse(answer.position)
        self.now += 1
        if changed.all:
            self._all = self.now
            self._entries.clear()
        for key in [Key(*name) for name in changed.names]:
            self._note(key, place, void=True)
            self._let_go(key)

    def _event(self, event: Event) -> None:
        place = Position.parse(event.position)
        self.now += 1
        self._enter(event.project_id, place.epoch)
        kind, _, what = event.type.partition(".")
        if kind in ("session", "provider_session") and event.session_id is not None:
            keys = [Key("session", event.session_id)]
            if event.task_id is not None:
                keys += [Key("task", event.task_id), Key("sessions", event.task_id)]
            for key in keys:
                self._note(key, place)
            held = [key for key in keys if key in self._entries]
            if not held:
                return
            if what == "output" and kind == "session" and isinstance(event.data.get("last"), int):
                self._grow(held, event.session_id, event.data["last"], event.at, place)
            elif kind == "session" and "version" in event.data:
                self._put(held, Session.model_validate(event.data), place)
            else:
                self._drop_older(held, place)
        elif kind == "task" and event.task_id is not None:
            key = Key("task", event.task_id)
            self._note(key, place)
            if key in self._entries:
                self._task(key, Task.model_validate(event.data), place)

    def _snapshot(self, project: str, snapshot: Snapshot) -> None:
        """What it shows is newer than what was read before; of the rest it is not known."""
        place = Position.parse(snapshot.position)
        self.now += 1
        self._enter(project, place.epoch)
        if snapshot.too_large:
            return
        self._whole[place.epoch] = max(place.offset, self._whole.pop(place.epoch, 0))
        if len(self._whole) > SEEN_MAX:
            self._whole.popitem(last=False)
        for session in snapshot.sessions:
            key = Key("session", session.id)
            if key in self._entries:
                self._put([key], session, place)
        self._drop_older([key for key, entry in self._entries.items() if may_be_of(entry.value, project)], place)

    def _agree(self, key: Key, value: Any, place: Position) -> None:
        """What was read once more is what is known of it, wherever else it is held."""
        self.now += 1
        self._note(key, place)
        shown = {session.id: session for session in sessions_of(value)}
        for session in shown.values():
            self._shown(session, place)
        if key.kind == "session":
            return
        for other, entry in list(self._entries.items()):
            if other == key or at_or_after(entry.place, place):
                continue
            if other.kind == "session":
                gone = entry.value.task_id == key.id and entry.value.deleted_at is None and other.id not in shown
            else:
                gone = other.id == key.id and {one.id for one in sessions_of(entry.value)} != set(shown)
            if gone:
                self.drop(other)

    def _shown(self, session: Session, place: Position) -> None:
        key, lists = Key("session", session.id), [Key("task", session.task_id), Key("sessions", session.task_id)]
        if key not in self._seen and session.deleted_at is None:  # a new one: lists of before do not have it
            for one in lists:
                self._note(one, place)
        self._note(key, place)
        held = [one for one in (*lists, key) if one in self._entries]
        self._put([one for one in held if disagrees(self._entries[one].value, session)], session, place)

    def _enter(self, project: str, epoch: str) -> None:
        """Another life of a log has begun: what was read in the one before is void."""
        before, _ = self._epochs.get(project, (epoch, 0))
        if before != epoch or project not in self._epochs:
            self._epochs[project] = epoch, self.now
            if len(self._epochs) > SEEN_MAX:
                self._epochs.popitem(last=False)
        if before != epoch:
            for key in [key for key, entry in self._entries.items() if may_be_of(entry.value, project)]:
                self.drop(key)

    def _note(self, key: Key, place: Position | None, *, void: bool = False) -> None:
        seen = self._seen.setdefault(key, _Seen())
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        if place is not None and (
            seen.place is None or seen.place.epoch != place.epoch or place.offset > seen.place.offset
        ):
            seen.place, seen.when = place, self.now
        if void:
            seen.void = self.now

    @staticmethod
    def _reaches(answer: Fetched, seen: _Seen) -> bool:
        if answer.place is None or seen.place is None or answer.place.epoch == seen.place.epoch:
            return answer.reaches(seen.place)
        return answer.began >= seen.when  # of two lives of the log, the one that was met later

    def _let_go(self, key: Key) -> None:
        """Of an answer, and of all that a session is in."""
        self.drop(key)
        if key.kind == "session":
            for other in [k for k, e in self._entries.items() if any(s.id == key.id for s in sessions_of(e.value))]:
                self.drop(other)

    def _drop_older(self, keys: Iterable[Key], place: Position) -> None:
        for key in keys:
            if not at_or_after(self._entries[key].place, place):
                self.drop(key)

    def _put(self, keys: Iterable[Key], session: Session, place: Position) -> None:
        for key in keys:
            entry = self._entries[key]
            if at_or_after(entry.place, place):
                continue
            known = next((one for one in sessions_of(entry.value) if one.id == session.id), None)
            if key.kind != "session" and (known is None or session.deleted_at is not None):
                self.drop(key)  # who is in it, and in which order, is the server's to say
            elif known is None or session.version >= known.version:
                if known is not None:
                    session = grown(session, known.output_seq, known.last_activity_at)
                self._correct(entry, session)
                if key.kind == "session":
                    entry.place = place

    def _grow(self, keys: Iterable[Key], session_id: str, last: int, at: datetime, place: Position) -> None:
        for key in keys:
            entry = self._entries[key]
            known = next((one for one in sessions_of(entry.value) if one.id == session_id), None)
            if known is not None and not at_or_after(entry.place, place):
                # Its place stays: of what else happened before this nothing may have been told.
                self._correct(entry, grown(known, last, at))

    def _correct(self, entry: _Entry, session: Session) -> None:
        # It is no older for it, and no younger: an event may have been long on its way.
        entry.value, entry.etag = with_session(entry.value, session), None

    def _task(self, key: Key, task: Task, place: Position) -> None:
        entry = self._entries[key]
        if at_or_after(entry.place, place) or task.version < entry.value.version:
            return
        entry.value = entry.value.model_copy(update={name: getattr(task, name) for name in Task.model_fields})
        entry.etag = None
