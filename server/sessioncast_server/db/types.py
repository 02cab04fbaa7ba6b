"""Column types that mean the same on both databases."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import DateTime, String, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Boolean, TypeDecorator, TypeEngine


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return value.astimezone(UTC)


@lru_cache(maxsize=64)
def _as_text(value: datetime) -> str:
    """One change writes the same moment into many columns."""
    return f"{_in_utc(value).isoformat(timespec='microseconds')[:26]}Z"


def _as_text_or_none(value: datetime | None) -> str | None:
    return None if value is None else _as_text(value)


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC, to the microsecond. SQLite keeps it as text that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text of 27 characters on SQLite, TIMESTAMPTZ elsewhere."""
        return dialect.type_descriptor(String(27) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuses naive times: they would mean another moment on another machine."""
        if value is None:
            return None
        return _as_text(value) if dialect.name == "sqlite" else _in_utc(value)

    def bind_processor(self, dialect: Dialect) -> Any:
        """As `process_bind_param`, without the layers between: times are a tenth of what a change costs."""
        return _as_text_or_none if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Always an aware time in UTC."""
        if value is None:
            return None
        return datetime.fromisoformat(value) if dialect.name == "sqlite" else value.astimezone(UTC)


class IdList(TypeDecorator[list[str]]):
    """A list of ids as one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT[] or TEXT."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else postgresql.ARRAY(Text()))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """A list stays one on PostgreSQL."""
        return orjson.dumps(list(value)).decode() if dialect.name == "sqlite" else list(value)


class any_of(ColumnElement[bool]):  # noqa: N801  reads as a function, like SQLAlchemy's own any_
    """`column IN (ids)` with the ids as one parameter, so that the statement is compiled and prepared once."""

    inherit_cache = False
    type = Boolean()
    _is_implicitly_boolean = True  # else SQLite gets `… IN (…) = 1`, for which no index is of use

    def __init__(self, column: Any, ids: Any) -> None:
        self.column = column
        self.ids = ids


@compiles(any_of, "sqlite")
def _any_of_sqlite(element: any_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, ids = compiler.process(element.column, **kw), compiler.process(element.ids, **kw)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608  both are compiled SQL


@compiles(any_of, "postgresql")
def _any_of_postgresql(element: any_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY({compiler.process(element.ids, **kw)})"
