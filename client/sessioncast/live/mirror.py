"""The present state of what a subscription covers. No I/O: items in, changes out."""

from collections.abc import Collection, Mapping
from typing import Any

from sessioncast.decode import validated
from sessioncast.errors import ProtocolError
from sessioncast.live.change import Change
from sessioncast.live.settle import settle
from sessioncast.live.state import State, Told, thread_key
from sessioncast.streams.items import Item, Snapshot
from sessioncast_shared.events import Event, EventType, Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.position import Position
from sessioncast_shared.providers import ProviderSession, Totals
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

_TASKS = {EventType.TASK_CREATED, EventType.TASK_UPDATED}
_SESSIONS = {
    EventType.SESSION_CREATED,
    EventType.SESSION_UPDATED,
    EventType.SESSION_REPLACED,
    EventType.SESSION_DELETED,
    EventType.SESSION_RESUMED,
}
_PROVIDERS = {
    EventType.PROVIDER_STARTED,
    EventType.PROVIDER_UPDATED,
    EventType.PROVIDER_ENDED,
    EventType.RESUME_FAILED,
}
_THREADS = {EventType.THREAD_CREATED, EventType.THREAD_PRUNED, EventType.THREAD_QUARANTINED, EventType.THREAD_DELETED}
_MESSAGES = {EventType.MESSAGE_CREATED, EventType.MESSAGE_POPPED}


class Mirror:
    """The server's state, as far as the items of one subscription tell of it.

    A subscription yields events in the order of the log and each once, so taking them in turn is right. Versions are
    compared all the same: a full check may have put in a state that is newer than events still on their way.

    Attributes:
        tasks, sessions, provider_sessions, totals: by id (totals by their task's); read-only, always of this moment.
            Sessions are live ones. Provider sessions are the heads of their chains and whatever was told since the
            last snapshot; totals are told by events only.
        position: of the last item that was taken, or that `moved` told; None before there was any.
        epoch: that all of this belongs to.
        state: what all of this is read from; for the full check.
    """

    def __init__(self, *, kinds: Collection[str] | None = None) -> None:
        """Nothing is known.

        Args:
            kinds: those of the subscription's filter. Where it covers sessions, a provider session of one that is not
                there is of one that has left, and is left out; where it does not, nobody tells of leaving.
        """
        self.position: str | None = None
        self.epoch: str | None = None
        self.state = State()
        self.tasks: Mapping[str, Task] = self.state.tasks.held
        self.sessions: Mapping[str, Session] = self.state.sessions.held
        self.provider_sessions: Mapping[str, ProviderSession] = self.state.uses.held
        self.totals: Mapping[str, Totals] = self.state.totals.held
        self._knows_sessions = kinds is None or Kind.SESSION in kinds

    @property
    def threads(self) -> list[Thread]:
        """The threads, of whatever user."""
        return list(self.state.threads.held.values())

    def messages(self, thread_id: str, user: str | None = None) -> list[Message]:
        """The messages of a thread that are known, oldest first; none of one that is not there.

        Args:
            user: whose thread; needed where several users have one of this id, which only `threads:read_all` shows.

        Raises:
            ValueError: it is needed, and missing.
        """
        keys = self.state.threads_called(thread_id) if user is None else [(user, thread_id)]
        if len(keys) > 1:
            raise ValueError(f"{len(keys)} users have a thread {thread_id}; name one")
        held = self.state.messages.held
        return [held[*key, seq] for key in keys for seq in sorted(self.state.seqs(key))]

    def take(self, item: Item) -> list[Change]:
        """What an item changes; nothing for one that is no snapshot and no event, or of an unknown type.

        Raises:
            ProtocolError: an event lacks what its type says it has.
        """
        match item:
            case Snapshot():
                self._snapshot(item)
            case Event():
                told = self._enter(item.position)
                self.position = item.position
                self._event(item, told)
        return self.state.changes()

    def moved(self, position: str) -> None:
        """The subscription stands there; nothing has changed on the way."""
        self.position = position

    def correct(self, snapshot: Snapshot) -> list[Change]:
        """Take what a snapshot of the same filter, read beside the stream, knows better; nothing newer is undone.

        Nothing of one of another epoch: the stream will tell of that.
        """
        return self._settle(snapshot, None)

    def fill(self, part: Snapshot, covered: Filter) -> list[Change]:
        """Take a part of a state that is too large for a snapshot of the stream, read beside it.

        Args:
            covered: what the part covers: of that, what it does not show is let go of, unless told of since.
        """
        return self._settle(part, covered)

    def _settle(self, snapshot: Snapshot, covered: Filter | None) -> list[Change]:
        place = Position.parse(snapshot.position)
        if snapshot.too_large or self.epoch not in (None, place.epoch):
            return []
        self.epoch = place.epoch
        settle(self.state, snapshot, Told(place.offset, snapshot.position), covered)
        return self.state.changes()

    def _snapshot(self, snapshot: Snapshot) -> None:
        # One that is too large tells nothing anew, so nothing is thrown away.
        told = self._enter(snapshot.position)
        self.position = snapshot.position
        if not snapshot.too_large:
            self.state.replace(snapshot, told)

    def _enter(self, position: str) -> Told:
        place = Position.parse(position)
        if self.epoch is not None and self.epoch != place.epoch:
            self.state.doubt()
        self.epoch = place.epoch
        return Told(place.offset, position)

    def _event(self, event: Event, told: Told) -> None:
        type_, data = event.type, event.data
        if type_ == EventType.SESSION_OUTPUT:
            if event.session_id is not None:
                self.state.add_output(event.session_id, _number(data, "last", type_), event.at, told)
        elif type_ in _SESSIONS:
            self.state.put_session(validated(Session, data, type_), told)
        elif type_ in _TASKS:
            self.state.put_task(validated(Task, data, type_), told)
        elif type_ in _PROVIDERS:
            self._provider(validated(ProviderSession, data, type_), event, told)
        elif type_ in _THREADS:
            self._thread(validated(Thread, data, type_), event, told)
        elif type_ in _MESSAGES and self.state.put_thread(validated(Thread, data.get("thread"), type_), told):
            self._message(validated(Message, data, type_), type_, told)

    def _provider(self, use: ProviderSession, event: Event, told: Told) -> None:
        totals = event.data.get("totals")
        if totals is not None and use.task_id is not None:
            self.state.put_totals(use.task_id, validated(Totals, totals, event.type), told)
        if use.session_id not in self.sessions and self._knows_sessions:
            return
        self.state.put_use(use, told)
        if "head_provider_session_id" in event.data:
            self.state.set_head(use.session_id, event.data["head_provider_session_id"], told)

    def _thread(self, thread: Thread, event: Event, told: Told) -> None:
        if event.type == EventType.THREAD_DELETED:
            self.state.drop_thread(thread, told)
        elif self.state.put_thread(thread, told) and event.type != EventType.THREAD_CREATED:
            self.state.drop_ranges(thread_key(thread), _ranges(event.data, event.type), told)

    def _message(self, message: Message, type_: str, told: Told) -> None:
        if type_ == EventType.MESSAGE_CREATED:
            self.state.hold_message(message, told)
        else:
            self.state.drop_messages((message.user, message.thread_id), [message.seq], told)


def _number(data: dict[str, Any], name: str, type_: str) -> int:
    value = data.get(name)
    if not isinstance(value, int):
        raise ProtocolError(type_, f"{name} is no number")
    return value


def _ranges(data: dict[str, Any], type_: str) -> list[tuple[int, int]]:
    try:
        return [(int(first), int(last)) for first, last in data["removed"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(type_, "removed is no list of ranges") from error
