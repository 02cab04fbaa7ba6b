"""How large the store is."""

from pathlib import Path

from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx

_SIZE = Text(postgresql="SELECT pg_database_size(current_database()) AS bytes", columns={"bytes": None})
_FILE = Text(sqlite="SELECT file FROM pragma_database_list WHERE name = 'main'", columns={"file": None})


def database_bytes(tx: ReadTx) -> int:
    """Bytes on disk: a SQLite file with its WAL, or a PostgreSQL database, whose server's own WAL is not counted.

    PostgreSQL looks at each of its files for it: not to be asked often.
    """
    if tx.dialect.name != "sqlite":
        return int(tx.one(_SIZE).bytes)
    path = Path(tx.one(_FILE).file)
    wal = path.with_name(f"{path.name}-wal")  # there as long as it is open
    return path.stat().st_size + wal.stat().st_size
