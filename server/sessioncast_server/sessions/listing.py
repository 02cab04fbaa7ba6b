"""Sessions of a task, read many at a time."""

from dataclasses import replace
from typing import Any

from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.models.service import missing_models
from sessioncast_server.sessions import statements
from sessioncast_server.sessions.record import Record


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


def with_lost_models(tx: ReadTx, project_id: str, records: list[Record]) -> list[Record]:
    """Records of a project, where also those that were deleted before their model was tell that it is gone.

    A model's deletion marks live sessions only, which are few; of the others it is found out when they are read.
    """
    names = {record.model_name for record in records if record.deleted_at is not None and record.model_available}
    missing = missing_models(tx, project_id, names) if names else ()
    if not missing:
        return records
    return [replace(record, model_available=record.model_name not in missing) for record in records]


def live_by_phase(tx: ReadTx, task_id: str) -> dict[str, Record]:
    """A task's live sessions by phase; debug sessions under `<phase>.debug`."""
    rows = list_sessions(tx, task_id, limit=100)
    return {f"{record.phase}.debug" if record.debug else record.phase: record for record in rows}
