"""Has this SQLite file gone back in time? A side file counts commits; a database behind it was restored.

The count in the database is part of each commit; the side file is written after COMMIT returned and so never runs
ahead of a database that kept everything. It needs no fsync: a side file that is behind raises no false alarm.
"""

import os
import sqlite3
import struct
from pathlib import Path

_FORM = struct.Struct("<8sQ")
_MAGIC = b"scast001"


def bump(connection: sqlite3.Connection) -> int:
    """Count one more commit, as part of it; the new count."""
    row = connection.execute("UPDATE log_life SET commits = commits + 1 WHERE id = 1 RETURNING commits").fetchone()
    return int(row[0])


def count_of(connection: sqlite3.Connection) -> int:
    """Commits that the database itself has counted."""
    return int(connection.execute("SELECT commits FROM log_life WHERE id = 1").fetchone()[0])


class LifeFile:
    """The side file `<database>.life`.

    Attributes:
        count: highest count of commits that returned.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".life")
        self._file = os.fdopen(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600), "r+b", buffering=0)
        content = self._file.read(_FORM.size + 1)
        known = len(content) == _FORM.size and content.startswith(_MAGIC)
        self.count: int = _FORM.unpack(content)[1] if known else 0
        if not known:
            self._file.truncate(0)  # the rest of something else would spoil what is recorded

    def record(self, count: int) -> None:
        """Remember a commit that returned. A full disk is no reason to fail: a stale count raises no alarm."""
        self.count = count
        try:
            self._file.seek(0)
            self._file.write(_FORM.pack(_MAGIC, count))
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        self._file.close()
