"""Telling the sessions of a model that it was deleted, or is there again."""

from sqlalchemy import BigInteger, Boolean, bindparam, case, select, update

from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.db.types import IdList, UtcTime, any_of
from sessioncast_server.sessions.record import FIELDS, Record
from sessioncast_server.sessions.service import session_event
from sessioncast_server.sessions.tables import SessionRow
from sessioncast_shared.events import EventType

_SESSION = SessionRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

PAGE = 500
"""Sessions that are marked by one pair of statements."""

_AT = bindparam("at", type_=UtcTime)
# Locked in the order of their ids, and changed by a second statement: it sees what those did that were waited for.
LOCK_PAGE = Statement(
    select(_SESSION.c.id)
    .where(
        _SESSION.c.project_id == bindparam("project_id"),
        _SESSION.c.deleted_at.is_(None),
        _SESSION.c.id > bindparam("after"),
        _SESSION.c.model_name == bindparam("model_name"),
        _SESSION.c.model_available != bindparam("available", type_=Boolean),
    )
    .order_by(_SESSION.c.id)
    .limit(bindparam("limit", type_=BigInteger))
    .with_for_update(key_share=True)
)
MARK = Statement(
    update(_SESSION)
    .where(any_of(_SESSION.c.id, bindparam("ids", type_=IdList)))
    .values(
        model_available=bindparam("available", type_=Boolean),
        version=_SESSION.c.version + 1,
        updated_at=case((_SESSION.c.updated_at > _AT, _SESSION.c.updated_at), else_=_AT),
    )
    .returning(*(_SESSION.c[name] for name in FIELDS))
)


def mark_sessions(tx: WriteTx, project_id: str, model_name: str, *, available: bool) -> int:
    """Mark all live sessions of a model, with one `session.updated` each, in the order of their ids; how many it were.

    Two statements for each 500 of them. Those that are marked so already are left alone. The caller keeps the model's
    turn (`models.service`), so that none can start meanwhile.

    Raises:
        LockTimeoutError: somebody keeps one of them for too long.
    """
    marked, after = 0, ""
    while True:
        page = {"project_id": project_id, "model_name": model_name, "available": available, "after": after}
        ids = [row.id for row in tx.all(LOCK_PAGE, **page, limit=PAGE)]
        if ids:
            rows = tx.change_all(MARK, ids=ids, available=available, at=tx.now)
            for record in sorted((Record(*row) for row in rows), key=lambda record: record.id):
                data = record.json()
                tx.emit(session_event(EventType.SESSION_UPDATED, record, at=tx.now, data=data))
            marked += len(rows)
            after = ids[-1]
        if len(ids) < PAGE:
            return marked
