"""Making and finding projects."""

import re
from typing import Any

from sqlalchemy import bindparam, select

from sessioncast_server.channels.log import open_channel
from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime
from sessioncast_server.problems import not_found
from sessioncast_server.projects.tables import ProjectRow

_PROJECT = ProjectRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_INSERT_SQL = "INSERT INTO project (id, created_at) VALUES ({0}) ON CONFLICT (id) DO NOTHING RETURNING id"
_INSERT = Text(
    sqlite=_INSERT_SQL.format(":id, :created_at"),
    postgresql=_INSERT_SQL.format("%(id)s, %(created_at)s"),
    columns={"id": None},
    types={"created_at": UtcTime()},
)
_GET = Statement(select(_PROJECT).where(_PROJECT.c.id == bindparam("project_id")))


def is_project_id(text: str) -> bool:
    """Whether a project can have this id."""
    return _ID.fullmatch(text) is not None


def put_project(tx: WriteTx, project_id: str) -> tuple[Any, bool]:
    """The project, made with its channel when there was none; whether it was made now."""
    made = tx.change(_INSERT, id=project_id, created_at=tx.now) is not None
    if made:
        open_channel(tx, project_id)
    return get_project(tx, project_id), made


def get_project(tx: ReadTx, project_id: str) -> Any:
    """The project.

    Raises:
        Problem: 404.
    """
    # What cannot be an id is not asked for: PostgreSQL cannot even be sent a NUL.
    row = tx.one(_GET, project_id=project_id) if is_project_id(project_id) else None
    if row is None:
        raise not_found()
    return row


def project_exists(tx: ReadTx, project_id: str) -> bool:
    """Whether there is such a project."""
    return is_project_id(project_id) and tx.one(_GET, project_id=project_id) is not None
