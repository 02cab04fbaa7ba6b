"""The SQL of provider sessions."""

from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, insert, literal_column, or_, select, tuple_, update

from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.types import IdList, UtcTime, any_of
from sessioncast_server.providers.record import FIELDS
from sessioncast_server.providers.rules import NANO
from sessioncast_server.providers.tables import ProviderIdRow, ProviderSessionRow, StructureRow
from sessioncast_server.tasks.service import OF_MILESTONE

_USE = ProviderSessionRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_PROVIDER_ID = ProviderIdRow.__table__  # type: ignore[attr-defined]  # the same
_STRUCTURE = StructureRow.__table__  # type: ignore[attr-defined]  # the same

_ALL = tuple(_USE.c[name] for name in FIELDS)
_ID = _USE.c.id == bindparam("use_id")
_SESSION = _USE.c.session_id == bindparam("session_id")
_LIMIT = bindparam("limit", type_=BigInteger)
_OPEN: Any = literal_column("state = 'open'")  # as in the index: for a parameter no planner knows that it fits

GET = Statement(select(*_ALL).where(_ID))
BY_IDS = Statement(select(*_ALL).where(any_of(_USE.c.id, bindparam("ids", type_=IdList))).order_by(_USE.c.id))
INSERT = Statement(insert(_USE))
NEWEST_START = Statement(select(func.max(_USE.c.started_at, type_=UtcTime).label("at")).where(_SESSION))
_CHANGING = (
    "provider_session_id", "proved", "resumed_from", "is_resumable", "resume_failure_count", "tokens", "cached_tokens",
    "turns", "cost_nano", "structure_fingerprint", "state",
)  # fmt: skip
_CHANGING_TIMES = ("id_created_at", "last_used_at", "ended_at")
CHANGING = (*_CHANGING, *_CHANGING_TIMES)
UPDATE = Statement(
    update(_USE)
    .where(_ID)
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
    .values({name: bindparam(f"new_{name}", type_=UtcTime) for name in _CHANGING_TIMES})
    .values(renewals=_USE.c.renewals + bindparam("signs", type_=BigInteger))
)
RENEW = Statement(update(_USE).where(_ID, _OPEN).values(renewals=_USE.c.renewals + 1))
LINK = Statement(
    select(*_ALL)
    .where(
        _SESSION,
        _USE.c.provider_session_id == bindparam("linked_id"),
        _USE.c.id != bindparam("but"),
        # Attempts to resume an id have it too, until it is seen what becomes of them: they are nobody's link.
        or_(_USE.c.proved, _USE.c.resumed_from.is_(None), _USE.c.resumed_from != _USE.c.provider_session_id),
    )
    .order_by(_USE.c.proved.desc(), _USE.c.started_at.desc(), _USE.c.id.desc())
    .limit(1)
)
LEASES = Statement(
    select(_USE.c.id, _USE.c.renewals, _USE.c.lease_s)
    .where(_OPEN, _USE.c.id > bindparam("after"))
    .order_by(_USE.c.id)
    .limit(_LIMIT)
)

# The session that an id is bound to: this one, if it was nobody's.
_BIND_SQL = """
INSERT INTO provider_id (project_id, provider_session_id, session_id) VALUES ({0})
ON CONFLICT (project_id, provider_session_id) DO UPDATE SET session_id = provider_id.session_id
RETURNING session_id
"""
BIND = Text(
    sqlite=_BIND_SQL.format(":project_id, :provider_session_id, :session_id"),
    postgresql=_BIND_SQL.format("%(project_id)s, %(provider_session_id)s, %(session_id)s"),
    columns={"session_id": None},
)
BOUND = Statement(
    select(_PROVIDER_ID.c.project_id, _PROVIDER_ID.c.session_id)
    .where(_PROVIDER_ID.c.provider_session_id == bindparam("known_id"))
    .limit(_LIMIT)
)

PUT_STRUCTURE = Text(
    sqlite="INSERT OR REPLACE INTO provider_structure (provider_session, session_id, paths) "
    "VALUES (:use_id, :session_id, :paths)",
    postgresql="INSERT INTO provider_structure (provider_session, session_id, paths) "
    "VALUES (%(use_id)s, %(session_id)s, %(paths)s) "
    "ON CONFLICT (provider_session) DO UPDATE SET paths = excluded.paths",
)
STRUCTURE = Statement(select(_STRUCTURE.c.paths).where(_STRUCTURE.c.provider_session == bindparam("use_id")))
DROP_STRUCTURE = Statement(delete(_STRUCTURE).where(_STRUCTURE.c.provider_session == bindparam("use_id")))
# Of what is passed over only maps of provider sessions that are open may be asked for again.
DROP_PASSED = Statement(
    delete(_STRUCTURE).where(
        _STRUCTURE.c.session_id == bindparam("session_id"),
        _STRUCTURE.c.provider_session != bindparam("but"),
        ~select(_USE.c.id).where(_USE.c.id == _STRUCTURE.c.provider_session, _OPEN).exists(),
    )
)
_COPY_SQL = """
INSERT INTO provider_structure (provider_session, session_id, paths)
SELECT {0}, session_id, paths FROM provider_structure WHERE provider_session = {1}
"""
COPY_STRUCTURE = Text(
    sqlite=_COPY_SQL.format(":use_id", ":of_use"),
    postgresql=_COPY_SQL.format("%(use_id)s::text", "%(of_use)s"),
)

_BILLION = literal_column(str(NANO), BigInteger)


def _sums_of(rows: Any) -> Statement:
    def add(column: Any) -> Any:
        return func.coalesce(func.sum(column), 0)

    return Statement(
        select(
            func.count().label("count"),
            *(add(rows.c[name]).label(name) for name in ("tokens", "cached_tokens", "turns")),
            # Two sums: one alone could grow past 64 bits, and whole numbers are what makes it exact.
            add(rows.c.cost_nano // _BILLION).label("cost_whole"),
            add(rows.c.cost_nano % _BILLION).label("cost_rest"),
            func.count(rows.c.cost_nano).label("costs_known"),
        ).select_from(rows)
    )


def _page_of(rows: Any, *, further: bool) -> Statement:
    key = (rows.c.started_at, rows.c.id)
    page = select(*(rows.c[name] for name in FIELDS)).order_by(*key).limit(_LIMIT)
    if further:
        page = page.where(tuple_(*key) > tuple_(bindparam("after_at", type_=UtcTime), bindparam("after_id")))
    return Statement(page)


def _scopes(columns: tuple[Any, ...]) -> dict[str, Any]:
    rows = select(*columns)
    project = _USE.c.project_id == bindparam("project_id")
    return {
        "session": rows.where(_SESSION),
        "task": rows.where(_USE.c.task_id == bindparam("task_id")),
        "project": rows.where(project),
        # Two searches: for an «or» SQLite reads the whole project. No row has both a task and a milestone of its own.
        "milestone": rows.where(project, _USE.c.milestone == bindparam("milestone")).union_all(
            rows.where(_USE.c.task_id.in_(OF_MILESTONE))
        ),
    }


_SUMMED = tuple(_USE.c[name] for name in ("tokens", "cached_tokens", "turns", "cost_nano"))
SUMS = {scope: _sums_of(rows.subquery("uses")) for scope, rows in _scopes(_SUMMED).items()}
PAGES = {
    (scope, further): _page_of(rows.subquery("uses"), further=further)
    for scope, rows in _scopes(_ALL).items()
    for further in (False, True)
}
