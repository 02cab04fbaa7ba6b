"""A session's chain of provider sessions, and its head.

The head is the newest id that the provider is known to know: what the next resume is decided about. It moves on
evidence only: an id that was given out, or an end without error. It never moves for a fork, nor for one whose fence is
older than the session's: who has lost the session cannot change what the next one resumes.

Lock order: task, session. All who write a provider session hold its session's lock, so its row needs none. The task is
locked by all that change its totals, for they are told: what commits first is in the sum that is told next.
"""

from typing import Any

import orjson

from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.problems import not_found
from sessioncast_server.providers import statements
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.rules import Structure
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import Visible, lock_session, record_use
from sessioncast_server.tasks.service import lock_task
from sessioncast_server.versions.service import follow_head


def get_use(tx: ReadTx, use_id: str, visible: Visible) -> Use:
    """The provider session.

    Raises:
        Problem: 404.
    """
    row = tx.one(statements.GET, use_id=use_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    return Use(*row)


def head_of_chain(tx: ReadTx, record: Record) -> Use | None:
    """The provider session that has the newest id of a session."""
    if record.head_row_id is None:
        return None
    return Use(*tx.one(statements.GET, use_id=record.head_row_id))


def link_of(tx: ReadTx, record: Record, provider_session_id: str, *, but: str) -> Use | None:
    """The newest provider session of a session that has an id, one apart."""
    row = tx.one(statements.LINK, session_id=record.id, linked_id=provider_session_id, but=but)
    return None if row is None else Use(*row)


def lock_use(tx: WriteTx, use_id: str, visible: Visible, *, totals: bool) -> tuple[Use, Record]:
    """A provider session, with its session locked, deleted or not.

    Args:
        totals: whether its task is locked too.

    Raises:
        Problem: 404.
    """
    found = get_use(tx, use_id, visible)
    if found.task_id is not None and totals:
        lock_task(tx, found.task_id, visible)
    record = lock_session(tx, found.session_id, visible)
    return found if tx.serial else get_use(tx, use_id, visible), record


def held(record: Record, use: Use) -> bool:
    """Whether nobody has taken the session over since a provider session began. A fork has taken nothing to be lost."""
    return use.fork or record.fence == use.fence


def update_use(tx: WriteTx, use: Use, *, sign: bool = True) -> None:
    """Write what may change of a provider session; the caller has locked its session.

    Args:
        sign: whether its holder gave a sign of life by it, which renews its lease.
    """
    values: dict[str, Any] = {f"new_{name}": getattr(use, name) for name in statements.CHANGING}
    tx.run(statements.UPDATE, use_id=use.id, signs=int(sign), **values)


def record_step(tx: WriteTx, record: Record, use: Use, *, evidence: bool) -> Record:
    """The session after a step of a provider session, whose id is its head now where there is evidence for it."""
    if record.deleted_at is not None:
        return record
    moves = evidence and not use.fork and held(record, use)
    row_id, head_id = record.head_row_id, record.head_provider_session_id
    if moves:
        row_id, head_id = use.id, use.provider_session_id
    changed = record_use(tx, record, row_id, head_id)
    if row_id == use.id:
        if record.head_row_id != use.id:
            tx.run(statements.DROP_PASSED, session_id=record.id, but=use.id)
        times: dict[str, Any] = {"created_at": use.id_created_at, "last_used_at": use.last_used_at}
        follow_head(tx, changed, head_id=use.provider_session_id, **times)
    return changed


def keep_structure(tx: WriteTx, use: Use, structure: Structure) -> None:
    """Keep the map of paths that a provider session left; an opaque fingerprint stands in its row."""
    if isinstance(structure, str):
        tx.run(statements.DROP_STRUCTURE, use_id=use.id)
    else:
        paths = orjson.dumps(dict(structure)).decode()
        tx.run(statements.PUT_STRUCTURE, use_id=use.id, session_id=use.session_id, paths=paths)


def inherit_structure(tx: WriteTx, use: Use, link: Use) -> None:
    """What resumes a link knows the files as the link left them, until it tells what it left itself."""
    if link.structure_fingerprint is not None:
        tx.run(statements.COPY_STRUCTURE, use_id=use.id, of_use=link.id)


def structure_of(tx: ReadTx, use: Use) -> Structure | None:
    """The fingerprint that a provider session left, whole."""
    if use.structure_fingerprint is None:
        return None
    row = tx.one(statements.STRUCTURE, use_id=use.id)
    if row is None:
        return use.structure_fingerprint
    paths: dict[str, str] = orjson.loads(row.paths)
    return paths
