"""Many replacements or deletions in one transaction, with as many statements as one of them needs.

Tasks and sessions that somebody else has locked are passed over and left to the caller, to be done one by one: waiting
for one of them here would keep all the others locked, and two that wait for each other's would never end.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.service import enabled
from sessioncast_server.models.rules import compare
from sessioncast_server.models.service import ask_model
from sessioncast_server.problems import Problem, not_found, stale
from sessioncast_server.sessions import refusals, statements
from sessioncast_server.sessions.record import Place, Record
from sessioncast_server.sessions.rules import Decision, decide, reason_of
from sessioncast_server.sessions.service import emit, new_record, removal, removed_record
from sessioncast_server.sessions.start import Outcome, Start, Terms
from sessioncast_server.tasks.service import lock_free_tasks
from sessioncast_server.turns.service import end_queues, session_turn
from sessioncast_shared.events import EventType


@dataclass(frozen=True, slots=True)
class Replace:
    """A replacement: what a start with `on_conflict: replace` asks for."""

    task_id: str
    start: Start


@dataclass(frozen=True, slots=True)
class Delete:
    """A deletion, of a session that is at this version, if one is named."""

    session_id: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """A session is gone, now or before."""


Item = Outcome | Deleted | Problem
"""What came of an item."""


def replace_many(
    tx: WriteTx, project_id: str, wishes: Sequence[Replace], *, user: str, terms: Terms
) -> list[Outcome | Problem | None]:
    """What came of each, in order; None for what somebody else has locked: nothing was done about it.

    Each place is decided by the table of a single start; all that is written is written together.
    """
    tasks, taken = lock_free_tasks(tx, sorted({wish.task_id for wish in wishes}))
    places = [Place(project_id, wish.task_id, wish.start.phase, wish.start.debug) for wish in wishes]
    # Models before sessions: a deletion locks them in this order, too.
    missing = _missing(tx, project_id, {wish.start.model["name"] for wish in wishes})
    single = enabled(tx, Flag.SINGLE_SESSION, project_id)
    occupied = _Occupied(tx, places)
    writes = _Writes(tx, user)

    def one(wish: Replace, place: Place) -> Outcome | Problem | None:
        task = tasks.get(wish.task_id)
        if task is None or task.project_id != project_id:
            return not_found()
        if wish.task_id in taken or place in occupied.others or (single and place in occupied.unsettled):
            return None
        if problem := missing.get(wish.start.model["name"]):
            return problem
        live = occupied.live.get(place.slot) if single else None
        if live is None:
            created = writes.create(place, wish.start, slotted=single)
            occupied.live[place.slot] = created
            return Outcome("created", created, "pessimistic")
        difference = compare(orjson.loads(live.model), wish.start.model, critical=terms.critical)
        decision = decide(
            live_id=live.id,
            difference=difference,
            on_conflict=wish.start.on_conflict,
            confirmed_id=wish.start.confirmed_id,
            treat_minor_as_change=wish.start.treat_minor_as_change,
        )
        match decision:
            case Decision.EXISTING:
                return Outcome("existing", live, "pessimistic")
            case Decision.CONFIRM:
                return refusals.confirmation_required(live, difference)
            case Decision.CHANGED:
                return refusals.session_changed(live, difference)
        created, replaced = writes.replace(place, wish.start, live)
        occupied.live[place.slot] = created
        return Outcome("replaced", created, "pessimistic", replaced, reason_of(difference))

    outcomes = [one(wish, place) for wish, place in zip(wishes, places, strict=True)]
    writes.flush()
    return outcomes


def delete_many(tx: WriteTx, project_id: str, wishes: Sequence[Delete], *, user: str) -> list[Deleted | Problem | None]:
    """What came of each, in order; None for what somebody else has locked."""
    ids = sorted({wish.session_id for wish in wishes})
    free = None if tx.serial else tx.ask(statements.LOCK_FREE, ids=ids)
    records = {row.id: Record(*row) for row in tx.all(statements.BY_IDS, ids=ids, limit=len(ids))}
    taken = set() if free is None else records.keys() - {row.id for row in free.all()}
    gone: list[dict[str, Any]] = []

    def one(wish: Delete) -> Deleted | Problem | None:
        record = records.get(wish.session_id)
        if record is None or record.project_id != project_id:
            return not_found()
        if record.deleted_at is not None:
            return Deleted()
        if record.id in taken:
            return None
        if wish.version is not None and wish.version != record.version:
            return stale()
        removed = removed_record(tx, record, user=user, replaced_by=None)
        records[record.id] = removed
        gone.append(removal(removed))
        emit(tx, EventType.SESSION_DELETED, removed)
        return Deleted()

    outcomes = [one(wish) for wish in wishes]
    if gone:
        _remove(tx, gone)
    return outcomes


class _Occupied:
    """Who lives in the places of a bulk.

    Attributes:
        live: the session that holds a slot, by slot.
        others: places whose session somebody else has locked.
        unsettled: places with live sessions that have no slot.
    """

    def __init__(self, tx: WriteTx, places: Sequence[Place]) -> None:
        slots = sorted({place.slot for place in places})
        task_ids = sorted({place.task_id for place in places})
        free = None if tx.serial else tx.ask(statements.LOCK_FREE_SLOTS, slots=slots)
        holders = tx.ask(statements.IN_SLOTS, slots=slots)
        slotless = tx.ask(statements.SLOTLESS_OF_TASKS, ids=task_ids)
        by_slot = {place.slot: place for place in places}
        self.live = {row.slot: Record(*row) for row in holders.all()}
        unlocked = None if free is None else {row.id for row in free.all()}
        self.others = {
            by_slot[slot] for slot, record in self.live.items() if unlocked is not None and record.id not in unlocked
        }
        project = places[0].project_id
        self.unsettled = {Place(project, row.task_id, row.phase, row.debug) for row in slotless.all()}


class _Writes:
    """Collects what is to be written: events in order, rows together. No slot is written twice: a second replacement
    of the same place would have to confirm the session that the first one makes, whose id nobody knows yet."""

    def __init__(self, tx: WriteTx, user: str) -> None:
        self._tx = tx
        self._user = user
        self._beside: Counter[Place] = Counter()
        self._removed: list[dict[str, Any]] = []
        self._created: list[dict[str, Any]] = []

    def create(self, place: Place, start: Start, **rest: Any) -> Record:
        record = new_record(
            self._tx,
            place,
            model=start.model,
            agent=start.agent,
            metadata=start.metadata or {},
            user=self._user,
            **rest,
        )
        if record.slot is None:
            # The newest keeps the slot one day: of several in a place it has to be the one of the last item.
            at = record.created_at + timedelta(microseconds=self._beside[place])
            record = replace(record, created_at=at, updated_at=at, last_activity_at=at)
            self._beside[place] += 1
        self._created.append(record.columns())
        emit(self._tx, EventType.SESSION_CREATED, record)
        return record

    def replace(self, place: Place, start: Start, live: Record) -> tuple[Record, Record]:
        successor = new_id()
        removed = removed_record(self._tx, live, user=self._user, replaced_by=successor)
        self._removed.append(removal(removed))
        emit(self._tx, EventType.SESSION_REPLACED, removed)
        return self.create(place, start, after=removed, session_id=successor), removed

    def flush(self) -> None:
        """Write the rows; slots are given free before they are taken."""
        if self._removed:
            _remove(self._tx, self._removed)
        if self._created:
            self._tx.many(statements.INSERT, self._created)


def _remove(tx: WriteTx, removals: list[dict[str, Any]]) -> None:
    tx.many(statements.REMOVE, removals)
    end_queues(tx, [session_turn(removal["session_id"]) for removal in removals])


def _missing(tx: WriteTx, project_id: str, names: set[str]) -> dict[str, Problem]:
    asked = {name: ask_model(tx, project_id, name) for name in sorted(names)}
    found = {}
    for name, look in asked.items():
        try:
            look()
        except Problem as problem:
            found[name] = problem
    return found
