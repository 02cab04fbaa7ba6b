"""Who lives in a place, and giving its slot to one of them.

While `single_session_enabled` is off for a project its sessions start without a slot, several to a place. Once it is
on again the newest of them keeps the slot and replaces the others: at once for all places (`settle_some`, when the flag
changes), and, where that has not come yet, by the next start in the place. A transaction that acts on «off» keeps the
flag from coming on until it has committed (`flags.service.enabled`), so none can slip in behind the one that settles.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from sessioncast_server.db.errors import ConflictError
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.flags.rules import Flag
from sessioncast_server.flags.service import enabled
from sessioncast_server.sessions import statements
from sessioncast_server.sessions.record import Place, Record
from sessioncast_server.sessions.service import remove_session
from sessioncast_server.tasks.service import lock_task
from sessioncast_shared.events import EventType

SYSTEM = "sessioncast"
"""Who replaced a session when nobody asked for it."""


def ask_occupants(tx: WriteTx, place: Place, *, locked: bool) -> Callable[[], list[Record]]:
    """The live sessions of a place, to look at later: at most one of them has its slot.

    Args:
        locked: whether their rows are to be locked.
    """
    where = {"slot": place.slot, "task_id": place.task_id, "phase": place.phase, "debug": place.debug}
    locks = locked and not tx.serial
    free = tx.ask(statements.SLOT.passing, slot=place.slot) if locks else None
    asked = tx.ask(statements.OCCUPANTS, **where)

    def look() -> list[Record]:
        found = [Record(*row) for row in asked.all()]
        if free is not None and any(record.slot is not None for record in found) and free.one() is None:
            tx.wait_for(statements.SLOT, slot=place.slot)
            found = [Record(*row) for row in tx.all(statements.OCCUPANTS, **where)]
        if locks and any(record.slot is None for record in found):
            tx.lock(statements.LOCK_SLOTLESS, task_id=place.task_id)
            found = [Record(*row) for row in tx.all(statements.OCCUPANTS, **where)]
        return found

    return look


def age(record: Record) -> tuple[datetime, str]:
    """Sorts sessions of a place: the greater, the newer."""
    return record.created_at, record.id


def settle(
    tx: WriteTx, place: Place, occupants: Sequence[Record], *, user: str = SYSTEM, locked: bool
) -> Record | None:
    """Leave one live session in a place, the newest, with the slot; that session, or None.

    Raises:
        ConflictError: nothing was locked, and somebody was faster.
    """
    if not occupants:
        return None
    if len(occupants) == 1 and occupants[0].slot is not None:
        return occupants[0]
    newest = max(occupants, key=age)
    for record in occupants:
        if record is not newest:
            remove_session(tx, record, EventType.SESSION_REPLACED, user=user, replaced_by=newest.id, locked=locked)
    if newest.slot is not None:
        return newest
    taken = tx.count(statements.TAKE_SLOT, session_id=newest.id, old_version=newest.version, new_slot=place.slot)
    if not taken:
        raise ConflictError(f"session {newest.id} is not at version {newest.version} any more")
    return Record(*tx.one(statements.GET, session_id=newest.id))


def settle_some(tx: WriteTx, after: str, limit: int) -> tuple[str | None, int]:
    """Settle the places of the next `limit` tasks that have sessions without a slot, where the flag is on.

    Args:
        after: id of the last task that was looked at, empty at first.

    Returns:
        id of the last one looked at now, None when there are no more; how many sessions were replaced.
    """
    rows = tx.all(statements.TASKS_WITH_SLOTLESS, after=after, limit=limit)
    replaced = 0
    single: dict[str, bool] = {}
    for row in rows:
        if row.project_id not in single:
            single[row.project_id] = enabled(tx, Flag.SINGLE_SESSION, row.project_id)
        if not single[row.project_id]:
            continue
        lock_task(tx, row.task_id, lambda project_id: True)  # noqa: ARG005  the server itself sees all of them
        tx.lock(statements.LOCK_SLOTLESS, task_id=row.task_id)
        for place in _places(tx, row.task_id):
            occupants = ask_occupants(tx, place, locked=True)()
            settle(tx, place, occupants, locked=True)
            replaced += len(occupants) - 1
    return (rows[-1].task_id if len(rows) == limit else None), replaced


def _places(tx: WriteTx, task_id: str) -> list[Place]:
    rows = tx.all(statements.list_of(frozenset({"live"})), task_id=task_id, limit=10_000)
    found = {Place(row.project_id, row.task_id, row.phase, row.debug) for row in rows if row.slot is None}
    return sorted(found, key=lambda place: place.slot)
