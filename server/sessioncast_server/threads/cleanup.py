"""Deletes threads that nothing was done with for long."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog

from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.threads.rules import Terms
from sessioncast_server.threads.service import idle_threads, remove_idle
from sessioncast_server.threads.telling import Told, told

_log = structlog.get_logger(__name__)

_PAGE = 200

Read = Callable[..., Awaitable[list[str]]]
"""`database.read`."""
Write = Callable[..., Awaitable[Any]]
"""`database.write`."""


async def clean_threads(
    read: Read, write: Write, terms: Terms, *, now: datetime, hear: Callable[[list[Told]], None] = lambda _: None
) -> int:
    """Delete the threads that were idle for longer than they are kept; how many went.

    Each goes by a commit of its own, which looks again: one that something is done with meanwhile stays, and of
    several nodes that do this at once one deletes it.

    Args:
        hear: told of each.

    Raises:
        DatabaseError: the database does not take it; what went is gone.
    """
    before = now - terms.keep
    gone, after = 0, ""
    while True:
        keys = await read(_page, before, after)
        for key in keys:
            try:
                written = await write(_remove, key, terms, before)
            except DatabaseError:
                raise
            except Exception:  # noqa: BLE001  a damaged thread must not keep all behind it
                _log.exception("a thread could not be cleaned", key=key)
                continue
            hear(written.value)
            gone += bool(written.value)
        if len(keys) < _PAGE:
            return gone
        after = keys[-1]


def _page(tx: ReadTx, before: datetime, after: str) -> list[str]:
    return idle_threads(tx, before, after, _PAGE)


def _remove(tx: WriteTx, key: str, terms: Terms, before: datetime) -> list[Told]:
    remove_idle(tx, key, terms, before=before)
    return told(tx)
