"""Making versions, and letting them follow."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, func, insert, select, update

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import not_found
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import session_event
from sessioncast_server.versions.tables import VersionRow
from sessioncast_shared.events import EventType

_VERSION = VersionRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_OF_PROJECT = _VERSION.c.project_id == bindparam("project_id")
_LATEST = Statement(select(*_VERSION.c).where(_OF_PROJECT).order_by(_VERSION.c.number.desc()).limit(1))
_NUMBER = Statement(select(func.max(_VERSION.c.number, type_=BigInteger).label("number")).where(_OF_PROJECT))
_INSERT = Statement(insert(_VERSION).returning(*_VERSION.c))
_FOLLOWING = Statement(
    select(*_VERSION.c)
    .where(_VERSION.c.session_id == bindparam("session_id"))
    .order_by(_VERSION.c.number.desc())
    .limit(1)
)
_FOLLOW = Statement(
    update(_VERSION)
    .where(_VERSION.c.id == bindparam("version_id"))
    .values(ai_session_id=bindparam("new_ai_session_id"))
    .values(
        {name: bindparam(f"new_{name}", type_=UtcTime) for name in ("ai_session_created_at", "ai_session_last_used_at")}
    )
    .returning(*_VERSION.c)
)


def create_version(
    tx: WriteTx, record: Record, *, head_id: str | None, created_at: datetime | None, last_used_at: datetime | None
) -> Any:
    """The row of a new version of the project, with the session's head; the caller has locked the session.

    Raises:
        UniqueError: another one was made in the same moment; the store's answer is «being modified».
    """
    newest = tx.one(_NUMBER, project_id=record.project_id)
    row = tx.change(
        _INSERT,
        id=new_id(),
        project_id=record.project_id,
        number=(newest.number or 0) + 1,
        session_id=record.id,
        ai_session_id=head_id,
        ai_session_created_at=created_at,
        ai_session_last_used_at=last_used_at,
        created_at=tx.now,
    )
    _emit(tx, EventType.VERSION_CREATED, record, row)
    return row


def follow_head(tx: WriteTx, record: Record, *, head_id: str, created_at: datetime, last_used_at: datetime) -> None:
    """Tell the newest version that names a session of its head; the caller has locked the session."""
    row = tx.one(_FOLLOWING, session_id=record.id)
    if row is None:
        return
    changed = tx.change(
        _FOLLOW,
        version_id=row.id,
        new_ai_session_id=head_id,
        new_ai_session_created_at=created_at,
        new_ai_session_last_used_at=last_used_at,
    )
    _emit(tx, EventType.VERSION_UPDATED, record, changed)


def latest_version(tx: ReadTx, project_id: str) -> Any:
    """The row of a project's newest version.

    Raises:
        Problem: 404, when it has none.
    """
    row = tx.one(_LATEST, project_id=project_id)
    if row is None:
        raise not_found()
    return row


def version_resource(row: Any) -> dict[str, Any]:
    """A row of the table as the resource."""
    resource: dict[str, Any] = row._asdict()
    return resource


def _emit(tx: WriteTx, type_: EventType, record: Record, row: Any) -> None:
    tx.emit(session_event(type_, record, at=tx.now, data=json_bytes(version_resource(row))))
