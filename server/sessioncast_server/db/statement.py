"""SQLAlchemy Core statements, compiled once per database and run on the bare driver.

Building and compiling a statement costs ten times what SQLite needs to run it; the execution layers of
SQLAlchemy cost as much again. Both databases take the compiled text with named parameters.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import CompoundSelect, Float
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

SQLITE: Dialect = sqlite.dialect(paramstyle="named")
POSTGRESQL: Dialect = psycopg.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]  # SQLAlchemy's gap

Processor = Callable[[Any], Any]


class Compiled:
    """A statement as one driver takes it.

    Attributes:
        sql: text with named parameters of the driver's style.
    """

    __slots__ = ("_constants", "_inputs", "_outputs", "_row", "sql")

    def __init__(
        self, sql: str, constants: Mapping[str, Any], inputs: Mapping[str, Processor], columns: Mapping[str, Any]
    ) -> None:
        self.sql = sql
        self._constants = dict(constants)
        self._inputs = tuple(inputs.items())
        self._outputs: tuple[tuple[int, Processor], ...] = tuple(
            (index, process) for index, process in enumerate(columns.values()) if process is not None
        )
        self._row: Any = namedtuple("Row", columns) if columns else None

    def bind(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the driver wants them."""
        for name, process in self._inputs:
            if name in params:
                params[name] = process(params[name])
        return self._constants | params if self._constants else params

    def row(self, values: tuple[Any, ...]) -> Any:
        """A named tuple of Python values."""
        if self._outputs:
            converted = list(values)
            for index, process in self._outputs:
                converted[index] = process(converted[index])
            return self._row._make(converted)
        return self._row._make(values)


class Statement:
    """A statement built once, at import, and compiled for a database when it is first run there.

    Args:
        sqlite_index: a table, where it is named last, and the index that SQLite has to use for it, because its planner
            knows no better. It takes any unique index for one row, also when NULL is looked for, of which there may be
            as many as there are rows.
    """

    __slots__ = ("_by_dialect", "_sqlite_index", "clause")

    def __init__(self, clause: Any, *, sqlite_index: tuple[str, str] | None = None) -> None:
        self.clause = clause
        self._sqlite_index = sqlite_index
        self._by_dialect: dict[str, Compiled] = {}

    def on(self, dialect: Dialect) -> Compiled:
        """The statement for this database."""
        try:
            return self._by_dialect[dialect.name]
        except KeyError:
            return self._by_dialect.setdefault(dialect.name, self._compile(dialect))

    def _compile(self, dialect: Dialect) -> Compiled:
        compiled = self.clause.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        assert isinstance(compiled, SQLCompiler)  # noqa: S101  narrows a type, guards nothing
        inputs = {}
        for bind, name in compiled.bind_names.items():
            process = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if process is not None:
                inputs[name] = process
        required = {name for bind, name in compiled.bind_names.items() if bind.required}
        constants = {name: value for name, value in compiled.params.items() if name not in required}
        for name in constants.keys() & inputs.keys():
            constants[name] = inputs.pop(name)(constants[name])
        text = compiled.string
        if self._sqlite_index is not None and dialect.name == "sqlite":
            table, index = self._sqlite_index
            before, named, after = text.rpartition(f"FROM {table} ")
            text = f"{before}{named}INDEXED BY {index} {after}"
        return Compiled(text, constants, inputs, self._columns(dialect))

    def _columns(self, dialect: Dialect) -> dict[str, Processor | None]:
        clause: Any = self.clause.selects[0] if isinstance(self.clause, CompoundSelect) else self.clause
        if clause.is_select:
            descriptions = clause.column_descriptions
        elif self.clause.is_dml:
            descriptions = self.clause.returning_column_descriptions
        else:
            return {}
        return {column["name"]: _result_processor(column["type"], dialect) for column in descriptions}


def _result_processor(type_: Any, dialect: Dialect) -> Processor | None:
    if isinstance(type_, Float):
        # Both drivers give a float; SQLAlchemy's own conversion wants to be told PostgreSQL's number for the type.
        return None
    processor: Processor | None = type_.dialect_impl(dialect).result_processor(dialect, None)
    return processor


class Text(Statement):
    """SQL written by hand where the two databases differ; named parameters are `:name` in both.

    Args:
        sqlite, postgresql: the text for each database; None where it is never run.
        columns: names of the result's columns, with their types where values need converting.
    """

    __slots__ = ("_columns_by_name", "_texts", "_types")

    def __init__(
        self,
        *,
        sqlite: str | None = None,
        postgresql: str | None = None,
        columns: Mapping[str, Any] | None = None,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(None)
        self._texts = {"sqlite": sqlite, "postgresql": postgresql}
        self._columns_by_name = columns or {}
        self._types = types or {}

    def _compile(self, dialect: Dialect) -> Compiled:
        text = self._texts[dialect.name]
        if text is None:
            raise ValueError(f"this statement is not for {dialect.name}")
        inputs = {
            name: process
            for name, type_ in self._types.items()
            if (process := type_.dialect_impl(dialect).bind_processor(dialect)) is not None
        }
        columns = {
            name: None if type_ is None else type_.dialect_impl(dialect).result_processor(dialect, None)
            for name, type_ in self._columns_by_name.items()
        }
        return Compiled(text, {}, inputs, columns)
