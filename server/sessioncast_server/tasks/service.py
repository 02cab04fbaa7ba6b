"""Making, changing and finding tasks."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import orjson
from sqlalchemy import BigInteger, bindparam, insert, select, tuple_, update

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.ids import new_id
from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import Lock, ReadTx, Staged, WriteTx
from sessioncast_server.db.types import IdList, UtcTime, any_of
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import not_found, stale
from sessioncast_server.tasks.rules import merged_metadata
from sessioncast_server.tasks.tables import TaskRow
from sessioncast_shared.events import EventType, Kind

_TASK = TaskRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_COLUMNS = tuple(_TASK.c)
_GET = Statement(select(*_COLUMNS).where(_TASK.c.id == bindparam("task_id")))
_LOCK = Lock(select(*_COLUMNS).where(_TASK.c.id == bindparam("task_id")))
_LOCK_FREE = Statement(
    select(_TASK.c.id)
    .where(any_of(_TASK.c.id, bindparam("ids", type_=IdList)))
    .order_by(_TASK.c.id)
    .with_for_update(key_share=True, skip_locked=True)
)
_INSERT = Statement(insert(_TASK))
_UPDATE = Statement(
    update(_TASK)
    .where(_TASK.c.id == bindparam("task_id"))
    .values({name: bindparam(f"new_{name}") for name in ("title", "milestone", "metadata", "version")})
    .values(updated_at=bindparam("new_updated_at", type_=UtcTime))
)
_NEWEST = (_TASK.c.created_at.desc(), _TASK.c.id.desc())
_LIMIT = bindparam("limit", type_=BigInteger)
_OF_PROJECT = select(*_COLUMNS).where(_TASK.c.project_id == bindparam("project_id")).order_by(*_NEWEST).limit(_LIMIT)
_BEFORE = tuple_(_TASK.c.created_at, _TASK.c.id) < tuple_(bindparam("before_at", type_=UtcTime), bindparam("before_id"))
_TITLED = _TASK.c.title == bindparam("title")
_LISTS = {
    (False, False): Statement(_OF_PROJECT),
    (False, True): Statement(_OF_PROJECT.where(_BEFORE)),
    (True, False): Statement(_OF_PROJECT.where(_TITLED)),
    (True, True): Statement(_OF_PROJECT.where(_TITLED, _BEFORE)),
}
OF_MILESTONE = select(_TASK.c.id).where(
    _TASK.c.project_id == bindparam("project_id"), _TASK.c.milestone == bindparam("milestone")
)
"""Ids of the tasks with a label, for statements of others."""

_BY_ID = Statement(
    select(*_COLUMNS).where(any_of(_TASK.c.id, bindparam("ids", type_=IdList))).order_by(*_NEWEST).limit(_LIMIT)
)

Visible = Callable[[str], bool]
"""Whether a project exists for the one who asks."""


def task_resource(row: Any) -> dict[str, Any]:
    """A row of the table as the resource."""
    resource: dict[str, Any] = row._asdict()
    resource["metadata"] = orjson.Fragment(row.metadata)
    return resource


def get_task(tx: ReadTx, task_id: str, visible: Visible) -> Any:
    """The task's row.

    Raises:
        Problem: 404, also when its project does not exist for the one who asks.
    """
    row = tx.one(_GET, task_id=task_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    return row


def lock_task(tx: WriteTx, task_id: str, visible: Visible) -> Any:
    """The task's row, locked until the end of the transaction: what happens to a task happens one after another.

    Raises:
        Problem: 404.
        LockTimeoutError: another transaction kept the lock for too long.
    """
    row = tx.locked(_LOCK, task_id=task_id)
    if row is None or not visible(row.project_id):
        raise not_found()
    return row


def lock_free_tasks(tx: WriteTx, ids: Collection[str]) -> tuple[dict[str, Any], set[str]]:
    """Those of the tasks that there are, by id, and the ids of those that somebody else has locked.

    The others are locked until the end of the transaction; two round trips for however many.
    """
    free = None if tx.serial else tx.ask(_LOCK_FREE, ids=list(ids))
    rows = {row.id: row for row in tx.all(_BY_ID, ids=list(ids), limit=len(ids))}
    return rows, set() if free is None else rows.keys() - {row.id for row in free.all()}


def create_task(tx: WriteTx, project_id: str, title: str, milestone: str | None, metadata: dict[str, Any]) -> Any:
    """A new task's row."""
    task_id = new_id()
    values: dict[str, Any] = {
        "id": task_id,
        "project_id": project_id,
        "title": title,
        "milestone": milestone,
        "metadata": orjson.dumps(metadata).decode(),
        "version": 1,
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    tx.run(_INSERT, **values)
    return _emit(tx, EventType.TASK_CREATED, task_id)


def patch_task(
    tx: WriteTx, task_id: str, changes: dict[str, Any], visible: Visible, *, versions: frozenset[int] | None
) -> Any:
    """The task's row after a change of `title`, `milestone` or `metadata` (merged by RFC 7396).

    Args:
        versions: those that the change may meet; None for any.

    Raises:
        Problem: as `lock_task`; 412 when it has another version; 422 when `metadata` grows too large.
    """
    row = lock_task(tx, task_id, visible)
    if versions is not None and row.version not in versions:
        raise stale()
    title = changes.get("title", row.title)
    milestone = changes.get("milestone", row.milestone)
    metadata = row.metadata
    if "metadata" in changes:
        metadata = merged_metadata(row.metadata, changes["metadata"])
    if (title, milestone, metadata) == (row.title, row.milestone, row.metadata):
        return row
    tx.run(
        _UPDATE,
        task_id=task_id,
        new_title=title,
        new_milestone=milestone,
        new_metadata=metadata,
        new_version=row.version + 1,
        new_updated_at=tx.now,
    )
    return _emit(tx, EventType.TASK_UPDATED, task_id)


def list_tasks(
    tx: ReadTx, project_id: str, *, limit: int, before: tuple[Any, str] | None = None, title: str | None = None
) -> list[Any]:
    """At most `limit` rows, newest first, after the one with sort key `before`."""
    params: dict[str, Any] = {"project_id": project_id, "limit": limit}
    if title is not None:
        params["title"] = title
    if before is not None:
        params["before_at"], params["before_id"] = before
    return tx.all(_LISTS[title is not None, before is not None], **params)


def ids_of_project(tx: ReadTx, project_id: str, ids: Iterable[str]) -> set[str]:
    """Those of the ids that are tasks of the project."""
    wanted = list(ids)
    rows = tx.all(_BY_ID, ids=wanted, limit=len(wanted)) if wanted else []
    return {row.id for row in rows if row.project_id == project_id}


def snapshot_tasks(tx: ReadTx, project_id: str, audience: Audience, room: int) -> list[bytes]:
    """Tasks of a channel that an audience wants, as JSON; at most one more than there is room for."""
    wishes = audience.filter
    if wishes.whole_project:
        rows = list_tasks(tx, project_id, limit=room + 1)
    elif wishes.tasks:
        rows = tx.all(_BY_ID, ids=list(wishes.tasks), limit=room + 1)
    else:
        rows = []
    return [json_bytes(task_resource(row)) for row in rows]


def _emit(tx: WriteTx, type_: EventType, task_id: str) -> Any:
    row = tx.one(_GET, task_id=task_id)
    tx.emit(
        Staged(
            channel=row.project_id,
            type=type_.value,
            kind=Kind.TASK.value,
            at=tx.now,
            data=json_bytes(task_resource(row)),
            task_id=task_id,
            updated_at=row.updated_at,
            version=row.version,
        )
    )
    return row
