"""Registering, deleting and looking up models.

Why no session starts with a model behind its deletion. Who starts one keeps the model's turn (an advisory lock by
project and name) in shared mode until its COMMIT, whether the model is registered or not; who registers or deletes one
keeps it in exclusive mode. So a start either committed before the deletion got its turn, and its session is there to
be marked; or it got its own turn after the deletion committed, and the reading that follows, a statement with a
snapshot of its own, finds the model deleted. On SQLite transaction follows transaction, and there is nothing to lock.

Why not a lock of the row. A row that is held FOR SHARE is given to the next who asks for the same, past a deletion
that waits for it: while starts overlap, a model could not be deleted. Advisory locks are given in order of arrival,
cover names that have no row, and write nothing.

Take the turn before the lock of any session: a deletion takes it first, and then locks the model's sessions.
"""

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import BigInteger, bindparam, insert, select, update

from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import ReadTx, Staged, WriteTx
from sessioncast_server.db.types import IdList, UtcTime, any_of
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.models.tables import ModelRow
from sessioncast_server.problems import Problem, not_found
from sessioncast_shared import texts
from sessioncast_shared.codes import Code
from sessioncast_shared.events import EventType

_MODEL = ModelRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_COLUMNS = tuple(_MODEL.c)
_OF_PROJECT = _MODEL.c.project_id == bindparam("project_id")
_IT = (_OF_PROJECT, _MODEL.c.name == bindparam("name"))
_GET = Statement(select(*_COLUMNS).where(*_IT))
_INSERT = Statement(insert(_MODEL).returning(*_COLUMNS))
_UPDATE = Statement(
    update(_MODEL)
    .where(*_IT)
    .values(
        version=bindparam("new_version", type_=BigInteger),
        updated_at=bindparam("new_updated_at", type_=UtcTime),
        deleted_at=bindparam("new_deleted_at", type_=UtcTime),
    )
    .returning(*_COLUMNS)
)
_PAGE = (
    select(*_COLUMNS)
    .where(_OF_PROJECT, _MODEL.c.deleted_at.is_(None))
    .order_by(_MODEL.c.name)
    .limit(bindparam("limit", type_=BigInteger))
)
_FIRST_PAGE = Statement(_PAGE)
_NEXT_PAGE = Statement(_PAGE.where(_MODEL.c.name > bindparam("before")))
_DELETED = Statement(
    select(_MODEL.c.name).where(
        _OF_PROJECT, any_of(_MODEL.c.name, bindparam("names", type_=IdList)), _MODEL.c.deleted_at.is_not(None)
    )
)

_REGISTERED = select(_MODEL.c.deleted_at.is_(None)).where(*_IT).scalar_subquery().label("registered")
_OTHERS = select(1).where(_OF_PROJECT, _MODEL.c.deleted_at.is_(None)).exists().label("others")
_CHECK = Statement(select(_REGISTERED, _OTHERS))

# The first key tells turns of models from other advisory locks.
_TURN = "(1836016741, hashtext(%(project_id)s::text || '/' || %(name)s::text))"
_TAKE_TURN = Text(postgresql=f"SELECT pg_advisory_xact_lock{_TURN}", columns={"turn": None})
_SHARE_TURN = Text(postgresql=f"SELECT pg_advisory_xact_lock_shared{_TURN}", columns={"turn": None})


def register_model(tx: WriteTx, project_id: str, name: str) -> tuple[Any, bool]:
    """The model's row, and whether it was registered now; a deleted one is registered again.

    The project must be there.

    Raises:
        LockTimeoutError: sessions start with it, or it is deleted, for too long.
    """
    row = _in_turn(tx, project_id, name)
    if row is None:
        row = tx.change(
            _INSERT, project_id=project_id, name=name, version=1, created_at=tx.now, updated_at=tx.now, deleted_at=None
        )
    elif row.deleted_at is not None:
        row = _change(tx, row, deleted=False)
    else:
        return row, False
    _emit(tx, EventType.MODEL_REGISTERED, row)
    return row, True


def delete_model(tx: WriteTx, project_id: str, name: str) -> bool:
    """Take a model out of the registry; whether it was there. Deleting it again does nothing.

    Raises:
        Problem: 404, when it never was registered.
        LockTimeoutError: sessions start with it for too long.
    """
    row = _in_turn(tx, project_id, name)
    if row is None:
        raise not_found()
    if row.deleted_at is not None:
        return False
    _emit(tx, EventType.MODEL_DELETED, _change(tx, row, deleted=True))
    return True


def list_models(tx: ReadTx, project_id: str, *, limit: int, before: str | None = None) -> list[Any]:
    """At most `limit` rows of registered models, by name, after the one named `before`."""
    if before is None:
        return tx.all(_FIRST_PAGE, project_id=project_id, limit=limit)
    return tx.all(_NEXT_PAGE, project_id=project_id, limit=limit, before=before)


def model_resource(row: Any) -> dict[str, Any]:
    """A row of the table as the resource."""
    resource: dict[str, Any] = row._asdict()
    return resource


def check_model(tx: WriteTx, project_id: str, name: str) -> None:
    """Whether a session may start with a model, good until the transaction ends.

    One statement, and one more for the turn on PostgreSQL, in one round trip.

    While no model is registered any name will do, but a deleted one.

    Raises:
        Problem: 422 `model_not_found`.
        LockTimeoutError: it is being registered or deleted for too long.
    """
    ask_model(tx, project_id, name)()


def ask_model(tx: WriteTx, project_id: str, name: str) -> Callable[[], None]:
    """As `check_model`, to look at later. Look before anything else that was asked for after it."""
    turn = None if tx.serial else tx.ask(_SHARE_TURN, project_id=project_id, name=name)
    asked = tx.ask(_CHECK, project_id=project_id, name=name)

    def look() -> None:
        if turn is not None:
            turn.one()  # its error is the one to tell: what was asked for after it only failed with it
        row = asked.one()
        if not (row.registered or (row.registered is None and not row.others)):
            raise Problem(422, Code.MODEL_NOT_FOUND, texts.MODEL_MISSING, model=name)

    return look


def missing_models(tx: ReadTx, project_id: str, names: Collection[str]) -> set[str]:
    """Those of the names whose model was deleted."""
    return {row.name for row in tx.all(_DELETED, project_id=project_id, names=list(names))} if names else set()


def _in_turn(tx: WriteTx, project_id: str, name: str) -> Any:
    """The row, read once no start is under way with it, and none can begin before the transaction ends."""
    tx.lock(_TAKE_TURN, project_id=project_id, name=name)
    return tx.one(_GET, project_id=project_id, name=name)


def _change(tx: WriteTx, row: Any, *, deleted: bool) -> Any:
    # A transaction that waited began before the change it waited for.
    at = max(tx.now, row.updated_at)
    return tx.change(
        _UPDATE,
        project_id=row.project_id,
        name=row.name,
        new_version=row.version + 1,
        new_updated_at=at,
        new_deleted_at=at if deleted else None,
    )


def _emit(tx: WriteTx, type_: EventType, row: Any) -> None:
    tx.emit(
        Staged(
            channel=row.project_id,
            type=type_.value,
            kind=type_.kind.value,
            at=tx.now,
            data=json_bytes(model_resource(row)),
            model=row.name,
            updated_at=row.updated_at,
            version=row.version,
        )
    )
