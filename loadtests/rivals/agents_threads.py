"""Chat histories in the OpenAI Agents SDK's own SQLiteSession, on a file: WAL, and synchronous=FULL, its default.

One session object per thread, kept for the life of the process. Pruning is a statement of its own on another
connection, as the SDK has none.
"""

import argparse
import asyncio
import sqlite3
import threading
from typing import Any, cast

from agents import SQLiteSession

from rivals.fastapi_threads import KEPT, Item, serve

_PRUNE = """
    DELETE FROM agent_messages WHERE session_id = :thread AND id NOT IN (
        SELECT id FROM agent_messages WHERE session_id = :thread ORDER BY id DESC LIMIT :kept)
"""
_BUSY_S = 30.0


class AgentsStore:
    """A `Store` of SQLite sessions."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sessions: dict[str, SQLiteSession] = {}
        self._lock = threading.Lock()

    async def open(self) -> None:
        self._pruning = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        self._pruning.execute("PRAGMA journal_mode = WAL")

    async def add(self, thread: str, items: list[Item]) -> None:
        await self._session(thread).add_items(cast("Any", items))  # the SDK's type is of the shapes that it knows
        await asyncio.to_thread(self._prune, thread)

    async def newest(self, thread: str, limit: int) -> list[Item]:
        return cast("list[Item]", await self._session(thread).get_items(limit))

    async def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._pruning.close()

    def _session(self, thread: str) -> SQLiteSession:
        if thread not in self._sessions:
            self._sessions[thread] = SQLiteSession(thread, self._path)
        return self._sessions[thread]

    def _prune(self, thread: str) -> None:
        with self._lock:
            self._pruning.execute(_PRUNE, {"thread": thread, "kept": KEPT})


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", required=True)
    options = parser.parse_args()
    serve(AgentsStore(options.database_url.removeprefix("sqlite:///")), options.port)


if __name__ == "__main__":
    main()
