"""Jobs that somebody starts from the command line, whether or not a server is at work."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sessioncast_server.channels.log import Log
from sessioncast_server.db.database import CommitListener, Database
from sessioncast_server.db.guest import SqliteGuest
from sessioncast_server.threads.cleanup import clean_threads
from sessioncast_server.threads.rules import Terms

Store = SqliteGuest | Database
Job = Callable[[Store], Awaitable[str]]
"""What it did, in a few words."""


def thread_cleanup(terms: Terms) -> Job:
    """Delete the threads that were idle for too long."""

    async def work(store: Store) -> str:
        gone = await clean_threads(store.read, store.write, terms, now=datetime.now(UTC))
        return f"{gone} idle thread{'' if gone == 1 else 's'} deleted"

    return work


def run_now(job: Job, open_store: Callable[[Log], Store], log: Log) -> str:
    """Do it, and say what was done.

    Raises:
        DatabaseError: the database cannot be reached, or did not take it.
    """
    return asyncio.run(_run(job, open_store(log)))


async def _run(job: Job, store: Store) -> str:
    if isinstance(store, SqliteGuest):
        try:
            return await job(store)
        finally:
            store.close()
    # Other nodes find what was appended at their next look at the heads.
    await store.open(CommitListener(lambda _: None, lambda: None, lambda *_: None))
    try:
        return await job(store)
    finally:
        await store.close()
