"""Deletes threads that nothing was done with for long."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Terms
from sessioncast_server.threads.service import idle_threads, remove_idle
from sessioncast_server.threads.telling import Told, told

_PAGE = 200

Read = Callable[..., Awaitable[list[Thread]]]
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
        threads = await read(_page, before, after)
        for thread in threads:
            written = await write(_remove, thread, terms, before)
            hear(written.value)
            gone += bool(written.value)
        if len(threads) < _PAGE:
            return gone
        after = threads[-1].key


def _page(tx: ReadTx, before: datetime, after: str) -> list[Thread]:
    return idle_threads(tx, before, after, _PAGE)


def _remove(tx: WriteTx, thread: Thread, terms: Terms, before: datetime) -> list[Told]:
    remove_idle(tx, thread, terms, before=before)
    return told(tx)
