"""New epochs by hand. A server that runs notices at its next head check."""

from sessioncast_server.channels.life import ROTATE_ALL
from sessioncast_server.db.migrate import connect
from sessioncast_server.db.statement import POSTGRESQL, SQLITE


def rotate_now(url: str) -> int:
    """Give every log of a database a new epoch; how many there are.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    dialect = SQLITE if url.startswith("sqlite:") else POSTGRESQL
    with connect(url) as connection:
        rotated = connection.exec_driver_sql(ROTATE_ALL.on(dialect).sql).rowcount
        connection.commit()
    return rotated
