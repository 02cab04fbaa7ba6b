"""Statements of threads and messages."""

from typing import Any

from sqlalchemy import BigInteger, LargeBinary, bindparam, cast, delete, exists, insert, select, tuple_, update

from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import Lock
from sessioncast_server.db.types import IdList, UtcTime, any_of
from sessioncast_server.threads.record import FIELDS
from sessioncast_server.threads.tables import MessageCallRow, MessageQuarantineRow, MessageRow, ThreadRow

_THREAD = ThreadRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_MESSAGE = MessageRow.__table__  # type: ignore[attr-defined]  # the same
_CALL = MessageCallRow.__table__  # type: ignore[attr-defined]  # the same
_QUARANTINE = MessageQuarantineRow.__table__  # type: ignore[attr-defined]  # the same

_COLUMNS = tuple(_THREAD.c[name] for name in FIELDS)
_KEY = _THREAD.c.key == bindparam("of_key")
_ONE = select(*_COLUMNS).where(_KEY)
_LIMIT = bindparam("limit", type_=BigInteger)


def _number(name: str) -> Any:
    return bindparam(name, type_=BigInteger)


GET = Statement(_ONE)
LOCK = Lock(_ONE)

_INSERT_SQL = (
    "INSERT INTO thread (key, id, project_id, user_id, title, version, message_seq, message_count, kept_from, "
    "created_at, last_activity_at) VALUES ({0}) ON CONFLICT (key) DO NOTHING RETURNING key"
)
INSERT = Text(
    sqlite=_INSERT_SQL.format(", ".join(f":{name}" for name in FIELDS)),
    postgresql=_INSERT_SQL.format(", ".join(f"%({name})s" for name in FIELDS)),
    columns={"key": None},
    types={"created_at": UtcTime(), "last_activity_at": UtcTime()},
)
UPDATE = Statement(
    update(_THREAD)
    .where(_KEY)
    .values({name: _number(f"new_{name}") for name in ("version", "message_seq", "message_count", "kept_from")})
    .values(last_activity_at=bindparam("new_last_activity_at", type_=UtcTime))
)
DELETE = Statement(delete(_THREAD).where(_KEY))

_NEWEST = (_THREAD.c.created_at.desc(), _THREAD.c.key.desc())
_CONDITIONS = {
    "user_id": _THREAD.c.user_id == bindparam("user_id"),
    "before_key": tuple_(_THREAD.c.created_at, _THREAD.c.key)
    < tuple_(bindparam("before_at", type_=UtcTime), bindparam("before_key")),
}
_PAGE = select(*_COLUMNS).where(_THREAD.c.project_id == bindparam("project_id")).order_by(*_NEWEST).limit(_LIMIT)
_pages: dict[frozenset[str], Statement] = {}


def page(conditions: frozenset[str]) -> Statement:
    """The threads of a project, newest first, under some of `user_id` and `before_key`."""
    statement = _pages.get(conditions)
    if statement is None:
        statement = _pages[conditions] = Statement(_PAGE.where(*(_CONDITIONS[name] for name in sorted(conditions))))
    return statement


_OF_IDS = (
    select(*_COLUMNS)
    .where(_THREAD.c.project_id == bindparam("project_id"), any_of(_THREAD.c.id, bindparam("ids", type_=IdList)))
    .limit(_LIMIT)
)
ALL_OF_IDS = Statement(_OF_IDS)
OWN_OF_IDS = Statement(_OF_IDS.where(_CONDITIONS["user_id"]))

IDLE = Statement(
    select(_THREAD.c.key)
    .where(_THREAD.c.last_activity_at < bindparam("before", type_=UtcTime), _THREAD.c.key > bindparam("after"))
    .order_by(_THREAD.c.key)
    .limit(_LIMIT)
)

_OF_THREAD = _MESSAGE.c.thread_key == bindparam("of_key")
# As bytes, whatever stands there: text that is not UTF-8 would make a whole page unreadable.
_READ = (
    _MESSAGE.c.seq,
    cast(_MESSAGE.c.body, LargeBinary).label("body"),
    _MESSAGE.c.checksum,
)
READ_UP = Statement(
    select(*_READ).where(_OF_THREAD, _MESSAGE.c.seq > _number("after")).order_by(_MESSAGE.c.seq).limit(_LIMIT)
)
READ_DOWN = Statement(
    select(*_READ)
    .where(_OF_THREAD, _MESSAGE.c.seq < _number("before"), _MESSAGE.c.seq >= _number("kept_from"))
    .order_by(_MESSAGE.c.seq.desc())
    .limit(_LIMIT)
)
BY_IDS = Statement(
    select(*_READ, _MESSAGE.c.id).where(_OF_THREAD, any_of(_MESSAGE.c.id, bindparam("ids", type_=IdList)))
)
BY_SEQ = Statement(select(*_READ, _MESSAGE.c.leads).where(_OF_THREAD, _MESSAGE.c.seq == _number("of_seq")))
ADD = Statement(insert(_MESSAGE))
REMOVE = Statement(delete(_MESSAGE).where(_OF_THREAD, _MESSAGE.c.seq == _number("of_seq")))
# From where anything is left: PostgreSQL would step over all that went before and is not cleaned away yet.
REMOVE_UPTO = Statement(
    delete(_MESSAGE).where(_OF_THREAD, _MESSAGE.c.seq >= _number("since"), _MESSAGE.c.seq <= _number("upto"))
)

CUT = Statement(
    select(_MESSAGE.c.seq, _MESSAGE.c.leads)
    .where(_OF_THREAD, _MESSAGE.c.seq >= _number("kept_from"))
    .order_by(_MESSAGE.c.seq)
    .limit(1)
    .offset(_number("skip"))
)
"""The last one that goes, when all but the first `skip` + 1 stay."""
AFTER = Statement(
    select(_MESSAGE.c.seq, _MESSAGE.c.leads)
    .where(_OF_THREAD, _MESSAGE.c.seq > _number("after"))
    .order_by(_MESSAGE.c.seq)
    .limit(1)
)

BEFORE = Statement(
    select(_MESSAGE.c.seq, _MESSAGE.c.leads)
    .where(_OF_THREAD, _MESSAGE.c.seq < _number("before"))
    .order_by(_MESSAGE.c.seq.desc())
    .limit(1)
)

_CALLS = _CALL.c.thread_key == bindparam("of_key")
_EARLIER = _CALL.alias("earlier")
CALLS_AFTER = Statement(
    select(
        _CALL.c.seq,
        _CALL.c.call,
        exists()
        .where(
            _EARLIER.c.thread_key == _CALL.c.thread_key,
            _EARLIER.c.call == _CALL.c.call,
            _EARLIER.c.seq <= _number("cut"),
        )
        .label("lost"),
    ).where(_CALLS, _CALL.c.seq > _number("cut"))
)
"""Calls of the messages that would stay, and whether a message that goes has them too."""
ADD_CALL = Statement(insert(_CALL))
REMOVE_CALLS = Statement(delete(_CALL).where(_CALLS, _CALL.c.seq == _number("of_seq")))
REMOVE_CALLS_UPTO = Statement(
    delete(_CALL).where(_CALLS, _CALL.c.seq >= _number("since"), _CALL.c.seq <= _number("upto"))
)

SET_ASIDE = Statement(insert(_QUARANTINE))
FORGET_ASIDE = Statement(delete(_QUARANTINE).where(_QUARANTINE.c.thread_key == bindparam("of_key")))
