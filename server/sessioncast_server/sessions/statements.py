"""The SQL of sessions."""

from sqlalchemy import BigInteger, bindparam, func, insert, select, true, tuple_, update

from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import Lock
from sessioncast_server.db.types import IdList, UtcTime, any_of
from sessioncast_server.sessions.record import FIELDS
from sessioncast_server.sessions.tables import OutputRow, SessionRow

_SESSION = SessionRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_OUTPUT = OutputRow.__table__  # type: ignore[attr-defined]  # the same

_ALL = tuple(_SESSION.c[name] for name in FIELDS)
_LIVE = _SESSION.c.deleted_at.is_(None)
_TASK = _SESSION.c.task_id == bindparam("task_id")
_NEWEST = (_SESSION.c.created_at.desc(), _SESSION.c.id.desc())
_LIMIT = bindparam("limit", type_=BigInteger)
_ID = _SESSION.c.id == bindparam("session_id")

GET = Statement(select(*_ALL).where(_ID))
LOCK = Lock(select(*_ALL).where(_ID))
SLOT = Lock(select(*_ALL).where(_SESSION.c.slot == bindparam("slot")))
_SLOTLESS_INDEX = ("session", "ix_session_slotless")
OCCUPANTS = Statement(
    select(*_ALL)
    .where(_SESSION.c.slot == bindparam("slot"))
    .union_all(
        select(*_ALL).where(
            _TASK,
            _SESSION.c.phase == bindparam("phase"),
            _SESSION.c.debug == bindparam("debug"),
            _SESSION.c.slot.is_(None),
            _LIVE,
        )
    ),
    sqlite_index=_SLOTLESS_INDEX,
)
IN_SLOTS = Statement(select(*_ALL).where(any_of(_SESSION.c.slot, bindparam("slots", type_=IdList))))
LOCK_FREE_SLOTS = Statement(
    select(_SESSION.c.id)
    .where(any_of(_SESSION.c.slot, bindparam("slots", type_=IdList)))
    .order_by(_SESSION.c.id)
    .with_for_update(key_share=True, skip_locked=True)
)
LOCK_FREE = Statement(
    select(_SESSION.c.id)
    .where(any_of(_SESSION.c.id, bindparam("ids", type_=IdList)))
    .order_by(_SESSION.c.id)
    .with_for_update(key_share=True, skip_locked=True)
)
SLOTLESS_OF_TASKS = Statement(
    select(_SESSION.c.task_id, _SESSION.c.phase, _SESSION.c.debug).where(
        any_of(_SESSION.c.task_id, bindparam("ids", type_=IdList)), _SESSION.c.slot.is_(None), _LIVE
    ),
    sqlite_index=_SLOTLESS_INDEX,
)
LOCK_SLOTLESS = Statement(
    select(_SESSION.c.id)
    .where(_TASK, _SESSION.c.slot.is_(None), _LIVE)
    .order_by(_SESSION.c.id)
    .with_for_update(key_share=True),
    sqlite_index=_SLOTLESS_INDEX,
)
TASKS_WITH_SLOTLESS = Statement(
    select(_SESSION.c.task_id, _SESSION.c.project_id)
    .where(_SESSION.c.slot.is_(None), _LIVE, _SESSION.c.task_id > bindparam("after"))
    .distinct()
    .order_by(_SESSION.c.task_id)
    .limit(_LIMIT),
    sqlite_index=_SLOTLESS_INDEX,
)
INSERT = Statement(insert(_SESSION))
TAKE_SLOT = Statement(
    update(_SESSION)
    .where(_ID, _SESSION.c.version == bindparam("old_version"), _LIVE)
    .values(slot=bindparam("new_slot"))
)
UPDATE = Statement(
    update(_SESSION)
    .where(_ID)
    .values({name: bindparam(f"new_{name}") for name in ("status", "agent", "metadata", "version")})
    .values({name: bindparam(f"new_{name}", type_=UtcTime) for name in ("updated_at", "last_activity_at", "ended_at")})
)
_REMOVED = (
    update(_SESSION)
    .where(_ID)
    .values({name: bindparam(f"new_{name}") for name in ("status", "version", "deleted_by", "replaced_by")})
    .values({name: bindparam(f"new_{name}", type_=UtcTime) for name in ("updated_at", "ended_at", "deleted_at")})
    .values(slot=None)
)
REMOVE = Statement(_REMOVED)
REMOVE_AT_VERSION = Statement(_REMOVED.where(_SESSION.c.version == bindparam("old_version")).returning(*_ALL))
RESUME = Statement(
    update(_SESSION)
    .where(_ID)
    .values({name: bindparam(f"new_{name}") for name in ("fence", "status", "version")})
    .values({name: bindparam(f"new_{name}", type_=UtcTime) for name in ("updated_at", "last_activity_at", "ended_at")})
)
USE = Statement(
    update(_SESSION)
    .where(_ID)
    .values({name: bindparam(f"new_{name}") for name in ("head_row_id", "head_provider_session_id")})
    .values(last_activity_at=bindparam("new_last_activity_at", type_=UtcTime))
)
GROW = Statement(
    update(_SESSION)
    .where(_ID)
    .values(
        output_seq=bindparam("new_output_seq"),
        last_activity_at=bindparam("new_last_activity_at", type_=UtcTime),
    )
)

_LISTED = select(*_ALL).where(_TASK).order_by(*_NEWEST).limit(_LIMIT)
_WITH_PHASE = _SESSION.c.phase == bindparam("phase")
_WITH_DEBUG = _SESSION.c.debug == bindparam("debug")
_AFTER = tuple_(_SESSION.c.created_at, _SESSION.c.id) < tuple_(
    bindparam("before_at", type_=UtcTime), bindparam("before_id")
)
_CONDITIONS = {"phase": _WITH_PHASE, "debug": _WITH_DEBUG, "before_id": _AFTER, "live": _LIVE}
_lists: dict[frozenset[str], Statement] = {}


def list_of(conditions: frozenset[str]) -> Statement:
    """The statement that lists a task's sessions under some of `phase`, `debug`, `before_id` and `live`."""
    statement = _lists.get(conditions)
    if statement is None:
        query = _LISTED.where(*(_CONDITIONS[name] for name in sorted(conditions)))
        statement = _lists[conditions] = Statement(query)
    return statement


LIVE_OF_PROJECT = Statement(
    select(*_ALL).where(_SESSION.c.project_id == bindparam("project_id"), _LIVE).order_by(_SESSION.c.id).limit(_LIMIT)
)
LIVE_OF_TASKS = Statement(
    select(*_ALL)
    # «(…) IS true» hides the condition from SQLite's planner, which else reads all live sessions of all projects.
    .where(any_of(_SESSION.c.task_id, bindparam("ids", type_=IdList)), _LIVE.self_group().is_(true()))
    .order_by(_SESSION.c.id)
    .limit(_LIMIT)
)
BY_IDS = Statement(select(*_ALL).where(any_of(_SESSION.c.id, bindparam("ids", type_=IdList))).limit(_LIMIT))
_HEADED = _SESSION.c.head_row_id.is_not(None)
_HEADS = select(_SESSION.c.head_row_id).order_by(_SESSION.c.id).limit(_LIMIT)
HEADS_OF_PROJECT = Statement(_HEADS.where(_SESSION.c.project_id == bindparam("project_id"), _LIVE, _HEADED))
HEADS_OF_TASKS = Statement(
    _HEADS.where(any_of(_SESSION.c.task_id, bindparam("ids", type_=IdList)), _LIVE.self_group().is_(true()), _HEADED)
)
HEADS_OF_SESSIONS = Statement(_HEADS.where(any_of(_SESSION.c.id, bindparam("ids", type_=IdList)), _HEADED))

_CHUNKS = (
    _OUTPUT.c.session_id == bindparam("session_id"),
    _OUTPUT.c.seq > bindparam("after"),
    _OUTPUT.c.seq <= bindparam("upto"),
)
INSERT_OUTPUT = Statement(insert(_OUTPUT))
OUTPUT = Statement(
    select(_OUTPUT.c.seq, _OUTPUT.c.stream, _OUTPUT.c.text, _OUTPUT.c.at)
    .where(*_CHUNKS)
    .order_by(_OUTPUT.c.seq)
    .limit(_LIMIT)
)
OUTPUT_LENGTHS = Statement(
    select(_OUTPUT.c.seq, func.length(_OUTPUT.c.text).label("length"))
    .where(*_CHUNKS)
    .order_by(_OUTPUT.c.seq)
    .limit(_LIMIT)
)
