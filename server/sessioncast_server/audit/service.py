"""Writing and reading the audit trail."""

from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, bindparam, func, insert, select, tuple_

from sessioncast_server.audit.tables import AuditRow
from sessioncast_server.db.ids import new_id
from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime

_AUDIT = AuditRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_INSERT = Statement(insert(_AUDIT))
_SESSION = _AUDIT.c.session_id == bindparam("session_id")
_NEWEST_AT = Statement(select(func.max(_AUDIT.c.at, type_=UtcTime).label("at")).where(_SESSION))
_CONDITIONS = {
    "session_id": _SESSION,
    "user_id": _AUDIT.c.user_id == bindparam("user_id"),
    "before_id": tuple_(_AUDIT.c.at, _AUDIT.c.id)
    < tuple_(bindparam("before_at", type_=UtcTime), bindparam("before_id")),
}
_PAGE = (
    select(*_AUDIT.c)
    .where(_AUDIT.c.project_id == bindparam("project_id"))
    .order_by(_AUDIT.c.at.desc(), _AUDIT.c.id.desc())
    .limit(bindparam("limit", type_=BigInteger))
)
_pages: dict[frozenset[str], Statement] = {}


def record_line(
    tx: WriteTx, action: str, *, project_id: str, session_id: str, user: str | None, data: dict[str, Any]
) -> None:
    """Add a line about a session, in the transaction that does what it tells of.

    The caller has locked the session, so that lines of one session have times in the order of what they tell; without
    the lock two might have the same time.
    """
    newest = tx.one(_NEWEST_AT, session_id=session_id)
    at = tx.now if newest.at is None else max(tx.now, newest.at + timedelta(microseconds=1))
    tx.run(
        _INSERT,
        id=new_id(),
        at=at,
        project_id=project_id,
        session_id=session_id,
        user_id=user,
        action=action,
        data=orjson.dumps(data).decode(),
    )


def list_lines(
    tx: ReadTx,
    project_id: str,
    *,
    limit: int,
    session_id: str | None = None,
    user: str | None = None,
    before: tuple[datetime, str] | None = None,
) -> list[Any]:
    """At most `limit` rows, newest first, after the one with sort key `before`."""
    params: dict[str, Any] = {"session_id": session_id, "user_id": user}
    if before is not None:
        params["before_at"], params["before_id"] = before
    params = {name: value for name, value in params.items() if value is not None}
    statement = page_of_lines(frozenset(params.keys() & _CONDITIONS.keys()))
    return tx.all(statement, project_id=project_id, limit=limit, **params)


def page_of_lines(conditions: frozenset[str]) -> Statement:
    """The statement that lists a project's lines under some of `session_id`, `user_id` and `before_id`."""
    statement = _pages.get(conditions)
    if statement is None:
        statement = _pages[conditions] = Statement(_PAGE.where(*(_CONDITIONS[name] for name in sorted(conditions))))
    return statement


def line_resource(row: Any) -> dict[str, Any]:
    """A row of the table as the resource."""
    resource: dict[str, Any] = row._asdict()
    resource["user"] = resource.pop("user_id")
    resource["data"] = orjson.Fragment(row.data)
    return resource
