"""Starting, changing, ending and finding sessions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import orjson

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import ReadTx, Staged, WriteTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem, invalid, not_found, stale
from sessioncast_server.sessions import refusals, statements
from sessioncast_server.sessions.record import Record, slot_of
from sessioncast_server.sessions.rules import Decision, Difference, OnConflict, compare, decide, status_when_replaced
from sessioncast_server.tasks.rules import merged_metadata
from sessioncast_server.tasks.service import lock_task
from sessioncast_shared.codes import Code
from sessioncast_shared.events import EventType
from sessioncast_shared.statuses import Status, may_move

Visible = Callable[[str], bool]


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    outcome: Literal["created", "existing", "replaced"]
    session: Record
    replaced: Record | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """On what terms a holder writes.

    Attributes:
        fence: the holder's fence, None when it has none.
        versions: those that `If-Match` allows; None for any.
    """

    fence: int | None = None
    versions: frozenset[int] | None = None


def start_session(tx: WriteTx, task_id: str, wish: Start, *, user: str, visible: Visible) -> Outcome:
    """Start a session, or tell why not. All starts of a task happen one after another, under the task's lock.

    Raises:
        Problem: 404, or a 409 by the table of the interface.
    """
    task = lock_task(tx, task_id, visible)
    slot = slot_of(task_id, wish.phase, debug=wish.debug)
    live = _live_in(tx, slot)
    difference = None if live is None else compare(orjson.loads(live.model), wish.model)
    decision = decide(
        live_id=None if live is None else live.id,
        difference=difference,
        on_conflict=wish.on_conflict,
        confirmed_id=wish.confirmed_id,
    )
    if live is None or difference is None:
        return Outcome("created", _create(tx, task.project_id, task_id, slot, wish, user, after=None))
    return _meet(tx, decision, live, difference, wish, user)


def _meet(tx: WriteTx, decision: Decision, live: Record, difference: Difference, wish: Start, user: str) -> Outcome:
    match decision:
        case Decision.REJECT:
            raise refusals.session_active(live)
        case Decision.CONFIRM:
            raise refusals.confirmation_required(live, difference)
        case Decision.CHANGED:
            raise refusals.session_changed(live)
        case Decision.EXISTING:
            return Outcome("existing", live)
    # Replaced first, created then: at no offset are there two live ones.
    successor = new_id()
    replaced = _remove(tx, live, EventType.SESSION_REPLACED, user=user, replaced_by=successor)
    slot = slot_of(live.task_id, live.phase, debug=live.debug)
    created = _create(tx, live.project_id, live.task_id, slot, wish, user, after=replaced, session_id=successor)
    return Outcome("replaced", created, replaced)


def _live_in(tx: WriteTx, slot: str) -> Record | None:
    """The session that holds a slot, locked."""
    row = tx.locked(statements.LOCK_SLOT, statements.IN_SLOT, slot=slot)
    return None if row is None else Record(*row)


def _create(
    tx: WriteTx,
    project_id: str,
    task_id: str,
    slot: str,
    wish: Start,
    user: str,
    *,
    after: Record | None,
    session_id: str | None = None,
) -> Record:
    at = tx.now if after is None else _after(tx, after)
    record = Record(
        id=session_id or new_id(),
        project_id=project_id,
        task_id=task_id,
        phase=wish.phase,
        debug=wish.debug,
        slot=slot,
        model_name=wish.model["name"],
        model=orjson.dumps(wish.model).decode(),
        agent=orjson.dumps(wish.agent).decode(),
        user_id=user,
        status=Status.PENDING.value,
        version=1,
        # A phase's fence never falls, whichever of its sessions one asks.
        fence=1 if after is None else after.fence + 1,
        metadata=orjson.dumps(wish.metadata or {}).decode(),
        output_seq=0,
        last_activity_at=at,
        head_provider_session_id=None,
        created_at=at,
        updated_at=at,
    )
    tx.run(statements.INSERT, **record.columns())
    _emit(tx, EventType.SESSION_CREATED, record)
    return record


def get_session(tx: ReadTx, session_id: str, visible: Visible) -> Record:
    """The session, soft-deleted or not.

    Raises:
        Problem: 404.
    """
    row = tx.one(statements.GET, session_id=session_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    return Record(*row)


def hold_session(tx: WriteTx, session_id: str, hold: Hold, visible: Visible) -> Record:
    """The session, locked for a write on these terms.

    Raises:
        Problem: 404; 409 `session_replaced`, `session_deleted`, `fenced`; 412.
        LockTimeoutError: another transaction kept the row for too long.
    """
    row = tx.locked(statements.LOCK, statements.GET, session_id=session_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    record = Record(*row)
    if record.replaced_by is not None:
        raise refusals.session_replaced(record)
    if record.deleted_at is not None:
        raise refusals.session_deleted(record)
    if hold.fence is not None and hold.fence != record.fence:
        if hold.fence > record.fence:
            raise invalid("X-Session-Fence", f"is ahead of the session's fence, {record.fence}")
        raise refusals.fenced(record)
    if hold.versions is not None and record.version not in hold.versions:
        raise stale()
    return record


def patch_session(tx: WriteTx, session_id: str, changes: dict[str, Any], *, hold: Hold, visible: Visible) -> Record:
    """Change `status`, `agent` or `metadata` (merged by RFC 7396); nothing is written when nothing changes.

    Raises:
        Problem: as `hold_session`; 409 `illegal_transition`; 422 for an agent or metadata that it cannot have.
    """
    record = hold_session(tx, session_id, hold, visible)
    status = Status(changes.get("status", record.status))
    if not may_move(record.state, status):
        raise refusals.illegal_transition(record, status.value)
    agent = orjson.dumps(changes["agent"]).decode() if "agent" in changes else record.agent
    if record.debug and isinstance(changes.get("agent"), list) and len(changes["agent"]) > 1:
        raise invalid("agent", "a debug session has one agent")
    metadata = record.metadata
    if "metadata" in changes:
        metadata = merged_metadata(record.metadata, changes["metadata"])
    at = _after(tx, record)
    changed = replace(
        record,
        status=status.value,
        agent=agent,
        metadata=metadata,
        ended_at=record.ended_at if status.active or record.ended_at else at,
    )
    if changed == record:
        return record
    changed = replace(changed, version=record.version + 1, updated_at=at, last_activity_at=at)
    tx.run(
        statements.UPDATE,
        session_id=session_id,
        new_status=changed.status,
        new_agent=changed.agent,
        new_metadata=changed.metadata,
        new_version=changed.version,
        new_updated_at=changed.updated_at,
        new_last_activity_at=changed.last_activity_at,
        new_ended_at=changed.ended_at,
    )
    _emit(tx, EventType.SESSION_UPDATED, changed)
    return changed


def delete_session(tx: WriteTx, session_id: str, *, hold: Hold, user: str, visible: Visible) -> None:
    """Soft-delete a session; an active one becomes cancelled. Deleting it again does nothing.

    Raises:
        Problem: as `hold_session`, `session_deleted` apart.
    """
    if get_session(tx, session_id, visible).deleted_at is not None:
        return
    try:
        record = hold_session(tx, session_id, hold, visible)
    except Problem as problem:
        if problem.code in (Code.SESSION_REPLACED, Code.SESSION_DELETED):
            return  # another one was faster: also gone
        raise
    _remove(tx, record, EventType.SESSION_DELETED, user=user, replaced_by=None)


def list_sessions(
    tx: ReadTx,
    task_id: str,
    *,
    limit: int,
    phase: str | None = None,
    debug: bool | None = None,
    live: bool = True,
    before: tuple[Any, str] | None = None,
) -> list[Record]:
    """At most `limit` sessions of a task, newest first, after the one with sort key `before`."""
    params: dict[str, Any] = {}
    conditions = {"live"} if live else set()
    if phase is not None:
        params["phase"] = phase
    if debug is not None:
        params["debug"] = debug
    conditions |= params.keys()
    if before is not None:
        conditions.add("before_id")
        params["before_at"], params["before_id"] = before
    rows = tx.all(statements.list_of(frozenset(conditions)), task_id=task_id, limit=limit, **params)
    return [Record(*row) for row in rows]


def live_by_phase(tx: ReadTx, task_id: str) -> dict[str, Record]:
    """A task's live sessions by phase; debug sessions under `<phase>.debug`."""
    rows = list_sessions(tx, task_id, limit=100)
    return {f"{record.phase}.debug" if record.debug else record.phase: record for record in rows}


def _remove(tx: WriteTx, record: Record, event: EventType, *, user: str, replaced_by: str | None) -> Record:
    at = _after(tx, record)
    removed = replace(
        record,
        slot=None,
        status=status_when_replaced(record.state).value,
        version=record.version + 1,
        updated_at=at,
        ended_at=record.ended_at or at,
        deleted_at=at,
        deleted_by=user,
        replaced_by=replaced_by,
    )
    tx.run(
        statements.REMOVE,
        session_id=record.id,
        new_status=removed.status,
        new_version=removed.version,
        new_updated_at=removed.updated_at,
        new_ended_at=removed.ended_at,
        new_deleted_at=removed.deleted_at,
        new_deleted_by=removed.deleted_by,
        new_replaced_by=removed.replaced_by,
    )
    _emit(tx, event, removed)
    return removed


def _after(tx: WriteTx, record: Record) -> datetime:
    """When a change happens: a transaction that waited for a lock began before the change it waited for."""
    return max(tx.now, record.updated_at)


def _emit(tx: WriteTx, type_: EventType, record: Record) -> None:
    tx.emit(session_event(type_, record, at=tx.now, data=json_bytes(record.resource())))


def session_event(type_: EventType, record: Record, *, at: Any, data: bytes, stored: bytes | None = None) -> Staged:
    """An event about a session, with all that caches and filters need beside its data."""
    return Staged(
        channel=record.project_id,
        type=type_.value,
        kind=type_.kind.value,
        at=at,
        data=data,
        stored=stored,
        task_id=record.task_id,
        session_id=record.id,
        phase=record.phase,
        model=record.model_name,
        updated_at=record.updated_at,
        version=record.version,
    )
