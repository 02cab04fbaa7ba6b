"""Starting a session: the one place where the single-session rule is kept.

Pessimistic: the task's row is locked first, so what happens to a task's phases happens one after another; on SQLite
the writer's order is that lock. Optimistic: nothing is locked; whoever is late finds the live session at another
version (`REMOVE … WHERE version = :old`) or the slot taken (a unique index), and the store runs it again. Both may be
at work beside each other: the locked way takes the row locks that the other's writes wait for, and the slot is unique
for both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.service import ask_enabled
from sessioncast_server.models.rules import Difference, compare
from sessioncast_server.models.service import ask_model
from sessioncast_server.sessions import refusals
from sessioncast_server.sessions.occupants import age, ask_occupants, settle
from sessioncast_server.sessions.record import Place, Record
from sessioncast_server.sessions.rules import Decision, OnConflict, Reason, decide, reason_of
from sessioncast_server.sessions.service import Visible, create_session, new_record, remove_session
from sessioncast_server.tasks.service import get_task, lock_task
from sessioncast_shared.events import EventType

Strategy = Literal["pessimistic", "optimistic"]


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms sessions start on this node.

    Attributes:
        critical: model parameters whose difference is a change of model.
        locks: whether tasks are locked; None: it depends on the project.
        locks_in: whether tasks of a project are locked.
    """

    critical: frozenset[str]
    locks: Callable[[], bool | None]
    locks_in: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Start:
    """What is asked for when a session is to start."""

    phase: str
    model: dict[str, Any]
    agent: Any = None
    debug: bool = False
    metadata: dict[str, Any] | None = None
    on_conflict: OnConflict = "ask"
    confirmed_id: str | None = None
    treat_minor_as_change: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        reason: why another one was replaced, if one was.
        settled: sessions that were replaced because the place may have one only, again.
    """

    outcome: Literal["created", "existing", "replaced"]
    session: Record
    strategy: Strategy
    replaced: Record | None = None
    reason: Reason | None = None
    settled: int = 0


def start_session(tx: WriteTx, task_id: str, wish: Start, *, user: str, visible: Visible, terms: Terms) -> Outcome:
    """Start a session, or tell why not.

    Raises:
        Problem: 404, 422 `model_not_found`, or a 409 by the table of the interface.
        LockTimeoutError, ConflictError: somebody else was in the way.
    """
    task, locked = _task(tx, task_id, visible, terms)
    place = Place(task.project_id, task_id, wish.phase, wish.debug)
    # All asked for in one round trip. The model comes first: its deletion locks it before any session, too.
    model = ask_model(tx, place.project_id, wish.model["name"])
    single = ask_enabled(tx, Flag.SINGLE_SESSION, place.project_id)
    occupants = ask_occupants(tx, place, locked=locked)
    model()
    strategy: Strategy = "pessimistic" if locked else "optimistic"
    if not single():
        beside = max(occupants(), key=age, default=None)
        return Outcome("created", _create(tx, place, wish, user, slotted=False, beside=beside), strategy)
    found = occupants()
    live = settle(tx, place, found, user=user, locked=locked)
    settled = max(len(found) - 1, 0)
    if live is None:
        return Outcome("created", _create(tx, place, wish, user), strategy)
    difference = compare(orjson.loads(live.model), wish.model, critical=terms.critical)
    match _decide(live, difference, wish):
        case Decision.REJECT:
            raise refusals.session_active(live)
        case Decision.CONFIRM:
            raise refusals.confirmation_required(live, difference)
        case Decision.CHANGED:
            raise refusals.session_changed(live, difference)
        case Decision.EXISTING:
            return Outcome("existing", live, strategy, settled=settled)
    # Replaced first, created then: at no offset are there two live ones.
    successor = new_id()
    replaced = remove_session(tx, live, EventType.SESSION_REPLACED, user=user, replaced_by=successor, locked=locked)
    created = _create(tx, place, wish, user, after=replaced, session_id=successor)
    return Outcome("replaced", created, strategy, replaced, reason_of(difference), settled)


def _task(tx: WriteTx, task_id: str, visible: Visible, terms: Terms) -> tuple[Any, bool]:
    """The task, and whether its row is locked."""
    locks = terms.locks()
    if tx.serial or locks:
        return lock_task(tx, task_id, visible), True
    task = get_task(tx, task_id, visible)
    if locks is None and terms.locks_in(task.project_id):
        return lock_task(tx, task_id, visible), True
    return task, False


def _decide(live: Record, difference: Difference, wish: Start) -> Decision:
    return decide(
        live_id=live.id,
        difference=difference,
        on_conflict=wish.on_conflict,
        confirmed_id=wish.confirmed_id,
        treat_minor_as_change=wish.treat_minor_as_change,
    )


def _create(tx: WriteTx, place: Place, wish: Start, user: str, **rest: Any) -> Record:
    record = new_record(tx, place, model=wish.model, agent=wish.agent, metadata=wish.metadata or {}, user=user, **rest)
    return create_session(tx, record)
