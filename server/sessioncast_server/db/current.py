"""Whether a schema needs no migration, found out without loading what migrates."""

import sqlite3
from pathlib import Path

_VERSIONS = Path(__file__).with_name("migrations") / "versions"
_FOUND = "SELECT version_num FROM alembic_version"


def newest() -> str:
    """Revision of the newest migration: its file's name begins with it."""
    return max(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))


def is_current(url: str) -> bool:
    """Whether the schema is certainly at this release's revision. False says nothing: then it must be looked into."""
    try:
        file = url.removeprefix("sqlite:///")
        return (_of_server(url) if file == url else _of_file(Path(file))) == newest()
    except Exception:  # noqa: BLE001  whatever it was, who looks closer will find it and say it well
        return False


def _of_file(path: Path) -> str | None:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            return None
        return str(connection.execute(_FOUND).fetchone()[0])
    finally:
        connection.close()


def _of_server(url: str) -> str:
    import psycopg  # noqa: PLC0415  not installed, and not needed, where the store is a file

    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute(_FOUND).fetchone()
    return "" if row is None else str(row[0])
