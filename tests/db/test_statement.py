"""Statements: compiled once for each database, with values as its driver takes them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import BigInteger, bindparam, column, insert, literal, select, table, update

from sessioncast_server.db.statement import POSTGRESQL, SQLITE, Statement, Text
from sessioncast_server.db.types import IdList, UtcTime, any_of

_T = table("t", column("id"), column("at", UtcTime()), column("n", BigInteger()))
_AT = datetime(2026, 11, 20, 12, 0, 0, 5, timezone(timedelta(hours=2)))
_TEXT = "2026-11-20T10:00:00.000005Z"
_BOTH = pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL], ids=["sqlite", "postgresql"])


@_BOTH
def test_a_statement_is_compiled_once(dialect: Any) -> None:
    """The second use of a statement on a database is the same object."""
    statement = Statement(select(_T.c.id))
    assert statement.on(dialect) is statement.on(dialect)


def test_each_database_gets_its_own_text() -> None:
    """Parameters are named in the driver's style."""
    statement = Statement(select(_T.c.id).where(_T.c.n == bindparam("n")))
    assert statement.on(SQLITE).sql.endswith("t.n = :n")
    assert statement.on(POSTGRESQL).sql.endswith("t.n = %(n)s::BIGINT")


def test_times_are_converted_on_their_way_in() -> None:
    """SQLite gets text that sorts by time, PostgreSQL a time; both are UTC."""
    statement = Statement(update(_T).values(at=bindparam("new_at", type_=UtcTime)))
    assert statement.on(SQLITE).bind({"new_at": _AT}) == {"new_at": _TEXT}
    assert statement.on(POSTGRESQL).bind({"new_at": _AT}) == {"new_at": _AT}
    assert statement.on(SQLITE).bind({"new_at": None}) == {"new_at": None}


@_BOTH
def test_a_naive_time_is_refused(dialect: Any) -> None:
    """It would mean another moment on another machine."""
    statement = Statement(select(_T.c.id).where(_T.c.at < bindparam("before", type_=UtcTime)))
    with pytest.raises(ValueError, match="without a zone"):
        statement.on(dialect).bind({"before": datetime(2026, 1, 1)})  # noqa: DTZ001  the mistake


def test_times_are_converted_on_their_way_out() -> None:
    """Rows have aware times in UTC, and nothing where there was nothing."""
    statement = Statement(select(_T.c.id, _T.c.at))
    row = statement.on(SQLITE).row(("a", _TEXT))
    assert (row.id, row.at, row.at.utcoffset()) == ("a", _AT, timedelta(0))
    assert statement.on(SQLITE).row(("a", None)).at is None
    assert statement.on(POSTGRESQL).row(("a", _AT)).at.tzinfo is UTC


def test_text_sorts_by_time() -> None:
    """What SQLite compares as text is ordered as the moments are, whole seconds included."""
    statement = Statement(update(_T).values(at=bindparam("new_at", type_=UtcTime))).on(SQLITE)
    times = [datetime(2026, 1, 1, 0, 0, second, micro, UTC) for second in (0, 1, 59) for micro in (0, 1, 999_999)]
    texts = [statement.bind({"new_at": time})["new_at"] for time in times]
    assert texts == sorted(texts)
    assert {len(text) for text in texts} == {27}


@_BOTH
def test_constants_need_not_be_given(dialect: Any) -> None:
    """Values that stand in the statement are bound with every call, and a call's own values win nothing over them."""
    statement = Statement(select(_T.c.id).where(_T.c.n == literal(7, BigInteger), _T.c.id == bindparam("id")))
    bound = statement.on(dialect).bind({"id": "x"})
    assert bound["id"] == "x"
    assert 7 in bound.values()
    assert len(bound) == 2


def test_an_insert_takes_a_row() -> None:
    """An INSERT of a table names all its columns and converts what needs it."""
    compiled = Statement(insert(_T)).on(SQLITE)
    assert compiled.bind({"id": "a", "at": _AT, "n": 1}) == {"id": "a", "at": _TEXT, "n": 1}


def test_returned_columns_are_named() -> None:
    """Rows of RETURNING are named and converted like others."""
    compiled = Statement(update(_T).values(n=1).returning(_T.c.id, _T.c.at)).on(SQLITE)
    assert compiled.row(("a", _TEXT)) == ("a", _AT)


def test_a_list_of_ids_is_one_parameter() -> None:
    """However many ids, the text is the same: an array for PostgreSQL, JSON for SQLite."""
    statement = Statement(select(_T.c.id).where(any_of(_T.c.id, bindparam("ids", type_=IdList))))
    assert "= ANY(%(ids)s" in statement.on(POSTGRESQL).sql
    # Not «… = 1», which SQLAlchemy adds to what it does not know for a condition: no index serves that.
    assert statement.on(SQLITE).sql.endswith("IN (SELECT value FROM json_each(:ids))")
    assert statement.on(POSTGRESQL).bind({"ids": ("a", "b")}) == {"ids": ["a", "b"]}
    assert statement.on(SQLITE).bind({"ids": ("a", 'b"')}) == {"ids": '["a","b\\""]'}
    assert statement.on(SQLITE).bind({"ids": []}) == {"ids": "[]"}


def test_text_by_hand_is_for_the_databases_it_names() -> None:
    """Hand-written SQL is converted by the types it is given, and refused where it was not written."""
    text = Text(sqlite="SELECT :at AS at", columns={"at": UtcTime()}, types={"at": UtcTime()})
    compiled = text.on(SQLITE)
    assert compiled.bind({"at": _AT}) == {"at": _TEXT}
    assert compiled.row((_TEXT,)).at == _AT
    with pytest.raises(ValueError, match="postgresql"):
        text.on(POSTGRESQL)


def test_a_statement_without_columns_has_no_rows() -> None:
    """A statement that returns nothing converts nothing."""
    assert Statement(insert(_T)).on(SQLITE).sql.startswith("INSERT INTO t")
    assert Text(sqlite="SELECT 1").on(SQLITE).bind({"n": 1}) == {"n": 1}
