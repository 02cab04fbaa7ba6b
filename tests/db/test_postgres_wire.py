"""Statements on libpq's pipeline: what goes out comes back, errors come in order, and the connection stays usable."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessioncast_server.db.postgres_wire import Plans, Wire, positional

_AT = datetime(2026, 11, 21, 10, 19, 6, 923068, tzinfo=UTC)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection as links open them."""
    with psycopg.connect(postgres_url, autocommit=True, options="-c timezone=UTC") as opened:
        yield opened


@pytest.fixture
def plans() -> Plans:
    """What the connection has prepared."""
    return Plans()


def _one(connection: "psycopg.Connection[Any]", plans: Plans, sql: str, **params: Any) -> Any:
    with Wire(connection, plans) as wire:
        cursor = wire.cursor()
        cursor.execute(sql, params)
        row = cursor.fetchone()
        return None if row is None else row[0]


def test_names_become_numbers() -> None:
    """Each name has one number, however often it stands there; a doubled percent sign is one."""
    text, order = positional("SELECT %(b)s, %(a)s::text, %(b)s, 7 %% 2")
    assert (text, order) == (b"SELECT $1, $2::text, $1, 7 % 2", ("b", "a"))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("text", "naïve \\ \" ' {,} \n ☃"),
        ("text", ""),
        ("text", None),
        ("boolean", True),
        ("boolean", False),
        ("bigint", 2**62),
        ("bigint", -1),
        ("double precision", 0.1),
        ("timestamptz", _AT),
        ("text[]", ["a", 'quo"te', "back\\slash", "", "NULL", "{,}", None]),
        ("text[]", []),
        ("bigint[]", [1, -2]),
        ("timestamptz[]", [_AT, None]),
    ],
)
def test_values_come_back(connection: "psycopg.Connection[Any]", plans: Plans, type_: str, value: Any) -> None:
    """Every kind of parameter that statements have returns as it was, also from a statement that is prepared."""
    for _ in range(3):
        assert _one(connection, plans, f"SELECT %(value)s::{type_}", value=value) == value
    assert plans.made == 1


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=texts, items=st.lists(texts | st.none(), max_size=5))
def test_any_text_comes_back(
    connection: "psycopg.Connection[Any]", plans: Plans, text: str, items: list[str | None]
) -> None:
    """Whatever a text or a list of texts holds, it is data."""
    assert _one(connection, plans, "SELECT %(text)s::text", text=text) == text
    assert _one(connection, plans, "SELECT %(items)s::text[]", items=items) == items


@pytest.mark.parametrize(("value", "error"), [("a\0b", psycopg.DataError), (object(), TypeError)])
def test_what_cannot_be_sent_is_refused(
    connection: "psycopg.Connection[Any]", plans: Plans, value: Any, error: type[Exception]
) -> None:
    """A NUL would end the text, another type has no form: both are errors, and the connection goes on."""
    with pytest.raises(error):
        _one(connection, plans, "SELECT %(value)s::text", value=value)
    assert _one(connection, plans, "SELECT 1") == 1


def test_what_is_large_goes_both_ways_at_once(connection: "psycopg.Connection[Any]") -> None:
    """Megabytes of parameters and of results do not wait for each other."""
    large = "x" * 3_000_000
    with Wire(connection, Plans()) as wire:
        cursors = [wire.cursor() for _ in range(5)]
        for cursor in cursors:
            cursor.execute("SELECT %(value)s::text", {"value": large})
        assert all(cursor.fetchone() == (large,) for cursor in cursors)


def test_the_first_error_is_told_and_the_rest_is_skipped(connection: "psycopg.Connection[Any]", plans: Plans) -> None:
    """Whoever looks next hears of what failed first; what was prepared behind it is prepared again when needed."""

    def fail(*statements: str) -> None:
        with Wire(connection, plans) as wire:
            for sql in statements:
                wire.cursor().execute(sql, {"zero": 0})
            last = wire.cursor()
            last.execute("SELECT 'later'")
            last.fetchone()

    with pytest.raises(psycopg.errors.DivisionByZero):
        fail("SELECT 1 / %(zero)s::int", "SELECT no_such_column")
    assert _one(connection, plans, "SELECT 'later'") == "later"
    with pytest.raises(psycopg.errors.UndefinedColumn):
        fail("SELECT no_such_column")
    assert _one(connection, plans, "SELECT 'later'") == "later"


def test_a_cursor_has_what_was_sent_last(connection: "psycopg.Connection[Any]") -> None:
    """A cursor that sends again before it looked shows the last result, and the rows that statement changed."""
    with Wire(connection, Plans()) as wire:
        cursor = wire.cursor()
        cursor.execute("CREATE TEMP TABLE t (n int)")
        cursor.executemany("INSERT INTO t VALUES (%(n)s)", [{"n": number} for number in range(3)])
        cursor.execute("UPDATE t SET n = n + 1 WHERE n < 2")
        assert cursor.rowcount == -1
        wire.sync()
        assert cursor.rowcount == 2
        cursor.execute("SELECT sum(n) FROM t")
        assert cursor.fetchall() == [(5,)]
