"""Brings a database's schema to this release."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DatabaseError as SqlDatabaseError
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.sqlite import lock, path_of

_FOLDER = Path(__file__).with_name("migrations")
_LOCK = 0x5E551011  # PostgreSQL's advisory lock: nodes that start together migrate one after another


class SchemaError(Exception):
    """The schema is older than this release needs."""


def migrate(url: str) -> str:
    """Create or upgrade the schema; the revision it is at. That of a newer release is left as it is.

    A new SQLite file is readable by its owner only.

    Raises:
        UnavailableError: the database cannot be reached, or another server has the file.
    """
    if url.startswith("sqlite:"):
        path = path_of(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise UnavailableError("io", f"{path}: {error.strerror}") from error
        with lock(path), connect(url) as connection:
            connection.exec_driver_sql("COMMIT")  # the mode cannot change in a transaction
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return _upgrade(connection)
    with connect(url) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        return _upgrade(connection)


def require_current(url: str) -> None:
    """See that the schema has what this release needs; a newer one has it too, for migrations only add.

    Raises:
        SchemaError: it has not.
        UnavailableError: the database cannot be reached.
    """
    with connect(url) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    scripts = _scripts()
    known = {script.revision for script in scripts.walk_revisions()}
    head = scripts.get_current_head()
    if found is None or (found in known and found != head):
        raise SchemaError(
            f"the schema is at {found or 'nothing'}, this release needs {head}: run `sessioncast migrate`"
        )


def driver_url(url: str) -> str:
    """The URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """A connection of SQLAlchemy's, for migrations only.

    Raises:
        UnavailableError: there is none, or it failed.
    """
    if url.startswith("sqlite:") and not path_of(url).exists():
        # It would be made, and everybody on the machine could read it.
        raise UnavailableError("io", f"{path_of(url)}: there is no such file")
    engine = create_engine(driver_url(url), poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        # sqlite3 would commit before every CREATE TABLE, and a migration that fails would leave half of itself.
        event.listen(engine, "connect", _no_implicit_commits)
        event.listen(engine, "begin", _begin)
    try:
        with engine.connect() as connection:
            yield connection
    except (OperationalError, SqlDatabaseError) as error:
        raise UnavailableError("connection", str(error.orig)) from error
    finally:
        engine.dispose()


def config(connection: Connection) -> Config:
    """Alembic's configuration for a connection."""
    made = Config()
    made.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_FOLDER))


def _no_implicit_commits(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _upgrade(connection: Connection) -> str:
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {script.revision for script in _scripts().walk_revisions()}:
        return found  # of a newer release, whose migrations only added
    command.upgrade(config(connection), "head")
    connection.commit()
    return MigrationContext.configure(connection).get_current_revision() or ""
