"""Making, changing, ending and finding sessions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from sessioncast_server.db.errors import ConflictError
from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import ReadTx, Staged, WriteTx
from sessioncast_server.problems import Problem, invalid, not_found, stale
from sessioncast_server.sessions import refusals, statements
from sessioncast_server.sessions.record import Place, Record
from sessioncast_server.sessions.rules import status_when_replaced
from sessioncast_server.tasks.rules import merged_metadata
from sessioncast_server.turns.service import end_queues, session_turn
from sessioncast_shared.codes import Code
from sessioncast_shared.events import EventType
from sessioncast_shared.statuses import Status, may_move

Visible = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Hold:
    """On what terms a holder writes.

    Attributes:
        fence: the holder's fence, None when it has none.
        versions: those that `If-Match` allows; None for any.
    """

    fence: int | None = None
    versions: frozenset[int] | None = None


def create_session(tx: WriteTx, record: Record) -> Record:
    """A new session (`new_record`), and its event."""
    tx.run(statements.INSERT, **record.columns())
    emit(tx, EventType.SESSION_CREATED, record)
    return record


def new_record(
    tx: WriteTx,
    place: Place,
    *,
    model: dict[str, Any],
    agent: Any,
    metadata: dict[str, Any],
    user: str,
    session_id: str | None = None,
    after: Record | None = None,
    beside: Record | None = None,
    slotted: bool = True,
) -> Record:
    """A session to be created.

    Args:
        after: the one it replaces. A phase's fence never falls, whichever of its sessions one asks.
        beside: the newest of those that it joins; it is newer, whatever the clocks of two nodes say.
        slotted: whether it takes the slot of its place, of which there is one.
    """
    at = tx.now if after is None else _after(tx, after)
    if beside is not None:
        at = max(at, beside.created_at + timedelta(microseconds=1))
    return Record(
        id=session_id or new_id(),
        project_id=place.project_id,
        task_id=place.task_id,
        phase=place.phase,
        debug=place.debug,
        slot=place.slot if slotted else None,
        model_name=model["name"],
        model=orjson.dumps(model).decode(),
        agent=orjson.dumps(agent).decode(),
        user_id=user,
        status=Status.PENDING.value,
        version=1,
        fence=1 if after is None else after.fence + 1,
        metadata=orjson.dumps(metadata).decode(),
        output_seq=0,
        last_activity_at=at,
        head_provider_session_id=None,
        created_at=at,
        updated_at=at,
    )


def get_session(tx: ReadTx, session_id: str, visible: Visible) -> Record:
    """The session, soft-deleted or not.

    Raises:
        Problem: 404.
    """
    row = tx.one(statements.GET, session_id=session_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    return Record(*row)


def tasks_of(tx: ReadTx, session_ids: list[str]) -> dict[str, str]:
    """Ids of the tasks that sessions belong to, by session; those that there are not are left out."""
    if not session_ids:
        return {}
    return {row.id: row.task_id for row in tx.all(statements.BY_IDS, ids=session_ids, limit=len(session_ids))}


def hold_session(tx: WriteTx, session_id: str, hold: Hold, visible: Visible) -> Record:
    """The session, locked for a write on these terms.

    Raises:
        Problem: 404; 409 `session_replaced`, `session_deleted`, `fenced`; 412.
        LockTimeoutError: another transaction kept the row for too long.
    """
    record = lock_session(tx, session_id, visible)
    check_live(record)
    check_fence(record, hold.fence)
    if hold.versions is not None and record.version not in hold.versions:
        raise stale()
    return record


def lock_session(tx: WriteTx, session_id: str, visible: Visible) -> Record:
    """The session, locked, deleted or not.

    Raises:
        Problem: 404.
        LockTimeoutError: another transaction kept the row for too long.
    """
    row = tx.locked(statements.LOCK, session_id=session_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    return Record(*row)


def check_live(record: Record) -> None:
    """Let on who writes to a session that is there.

    Raises:
        Problem: 409 `session_replaced`, `session_deleted`.
    """
    if record.replaced_by is not None:
        raise refusals.session_replaced(record)
    if record.deleted_at is not None:
        raise refusals.session_deleted(record)


def check_fence(record: Record, fence: int | None) -> None:
    """Let a holder on who has the session's fence, or names none.

    Raises:
        Problem: 409 `fenced`; 422 for a fence that there was never.
    """
    if fence is None or fence == record.fence:
        return
    if fence > record.fence:
        raise invalid("X-Session-Fence", f"is ahead of the session's fence, {record.fence}")
    raise refusals.fenced(record)


def fenced(record: Record) -> Problem:
    """The refusal of one who has lost the session."""
    return refusals.fenced(record)


def take_over(tx: WriteTx, record: Record) -> Record:
    """A resumed session, which the caller has locked: the fence rises, and a terminal one is `pending` again.

    Raises:
        Problem: 422 `model_not_found`, when its model was deleted.
    """
    return _resumed(tx, record, fence=record.fence + 1)


def revive(tx: WriteTx, record: Record) -> Record:
    """As `take_over`, but nobody loses the session: for branches. Nothing is written for an active one."""
    if record.state.active and record.model_available:
        return record
    return _resumed(tx, record, fence=record.fence)


def _resumed(tx: WriteTx, record: Record, *, fence: int) -> Record:
    if not record.model_available:
        raise refusals.model_missing(record)
    at = _after(tx, record)
    changed = replace(record, fence=fence, updated_at=at, last_activity_at=max(at, record.last_activity_at))
    if not record.state.active:
        changed = replace(changed, status=Status.PENDING.value, version=record.version + 1, ended_at=None)
    tx.run(
        statements.RESUME,
        session_id=record.id,
        new_fence=changed.fence,
        new_status=changed.status,
        new_version=changed.version,
        new_updated_at=changed.updated_at,
        new_last_activity_at=changed.last_activity_at,
        new_ended_at=changed.ended_at,
    )
    emit(tx, EventType.SESSION_RESUMED, changed)
    return changed


def record_use(tx: WriteTx, record: Record, head_row_id: str | None, head_id: str | None) -> Record:
    """A provider was used for a session, which the caller has locked; the head of its chain is this one now.

    Like output it does not raise the version, and whoever calls it tells of it.
    """
    at = max(tx.now, record.last_activity_at)
    changed = replace(record, head_row_id=head_row_id, head_provider_session_id=head_id, last_activity_at=at)
    tx.run(
        statements.USE,
        session_id=record.id,
        new_head_row_id=head_row_id,
        new_head_provider_session_id=head_id,
        new_last_activity_at=at,
    )
    return changed


def patch_session(tx: WriteTx, session_id: str, changes: dict[str, Any], *, hold: Hold, visible: Visible) -> Record:
    """Change `status`, `agent` or `metadata` (merged by RFC 7396); nothing is written when nothing changes.

    Raises:
        Problem: as `hold_session`; 409 `illegal_transition`; 422 for an agent or metadata that it cannot have, and
            `model_not_found` when its model was deleted: then it can only be ended.
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
    if record.state.active and status.active and not record.model_available:
        raise refusals.model_missing(record)
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
    emit(tx, EventType.SESSION_UPDATED, changed)
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
    remove_session(tx, record, EventType.SESSION_DELETED, user=user, replaced_by=None)


def remove_session(
    tx: WriteTx, record: Record, event: EventType, *, user: str, replaced_by: str | None, locked: bool = True
) -> Record:
    """Soft-delete a session, cancel it if it is active, tell it.

    Args:
        locked: whether its row is locked; if not, it must still be at the record's version.

    Raises:
        ConflictError: it is not.
    """
    removed = removed_record(tx, record, user=user, replaced_by=replaced_by)
    if locked or tx.serial:
        tx.run(statements.REMOVE, **removal(removed))
    else:
        row = tx.change(statements.REMOVE_AT_VERSION, old_version=record.version, **removal(removed))
        if row is None:
            raise ConflictError(f"session {record.id} is not at version {record.version} any more")
        removed = Record(*row)  # output may have been appended meanwhile: it does not raise the version
    end_queues(tx, [session_turn(record.id)])
    emit(tx, event, removed)
    return removed


def removed_record(tx: WriteTx, record: Record, *, user: str, replaced_by: str | None) -> Record:
    """A session as it is once soft-deleted."""
    at = _after(tx, record)
    return replace(
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


def removal(removed: Record) -> dict[str, Any]:
    """Parameters of the statements that soft-delete."""
    return {
        "session_id": removed.id,
        "new_status": removed.status,
        "new_version": removed.version,
        "new_updated_at": removed.updated_at,
        "new_ended_at": removed.ended_at,
        "new_deleted_at": removed.deleted_at,
        "new_deleted_by": removed.deleted_by,
        "new_replaced_by": removed.replaced_by,
    }


def _after(tx: WriteTx, record: Record) -> datetime:
    """When a change happens: a transaction that waited for a lock began before the change it waited for."""
    return max(tx.now, record.updated_at)


def emit(tx: WriteTx, type_: EventType, record: Record) -> None:
    """Stage an event with the whole session."""
    tx.emit(session_event(type_, record, at=tx.now, data=record.json()))


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


def head_rows(
    tx: ReadTx, project_id: str, *, tasks: tuple[str, ...], sessions: tuple[str, ...], limit: int
) -> list[str]:
    """Ids of the provider sessions that head chains: of the sessions named, of the live ones of tasks; without any of
    both, of the project's live ones."""
    if not (tasks or sessions):
        rows = tx.all(statements.HEADS_OF_PROJECT, project_id=project_id, limit=limit)
    else:
        rows = tx.all(statements.HEADS_OF_TASKS, ids=list(tasks), limit=limit) if tasks else []
        rows += tx.all(statements.HEADS_OF_SESSIONS, ids=list(sessions), limit=limit) if sessions else []
    return list(dict.fromkeys(row.head_row_id for row in rows))
