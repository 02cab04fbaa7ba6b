"""Output of the watched sessions, each chunk once and in order."""

from collections.abc import AsyncIterator, Callable, Mapping

from sessioncast.decode import validated
from sessioncast.errors import ConnectionLost, NotFound
from sessioncast.streams.items import Item, Snapshot
from sessioncast_shared.events import Event, EventType
from sessioncast_shared.resources import OutputChunk, OutputRange

Fetch = Callable[[str, int], AsyncIterator[OutputChunk]]
"""Reads a session's output after a `seq`, to its present end."""


class OutputFollower:
    """Turns a subscription's items into chunks of output.

    Snapshots do not carry output, and the log may have let go of it: whatever is missing before what is announced is
    fetched. `seq` counts without gaps in each session, so what was shown is known by one number.
    """

    def __init__(self, fetch: Fetch, shown: Mapping[str, int] | None = None) -> None:
        """`shown`: how far what was shown before reaches, by session."""
        self._fetch = fetch
        self._shown = dict(shown or {})

    async def take(self, item: Item) -> AsyncIterator[tuple[str, OutputChunk]]:
        """Session ids and chunks to show now."""
        match item:
            case Snapshot(too_large=False):
                ends = {session.id: session.output_seq for session in item.sessions}
                # A session that is gone may have said something between what we saw and its end.
                for session in [*(known for known in self._shown if known not in ends), *ends]:
                    async for chunk in self._fill(session, ends.get(session)):
                        yield session, chunk
                self._shown = {session: self._shown.get(session, 0) for session in ends}
            case Event(type=EventType.SESSION_OUTPUT, session_id=str(session), data=data):
                said = validated(OutputRange, data, item.type)
                parts = data.get("chunks") or ()
                chunks = [validated(OutputChunk, {"at": item.at, **part}, item.type) for part in parts]
                async for chunk in self._fill(session, said.first - 1):
                    yield session, chunk
                for chunk in chunks:
                    if self._next(session, chunk):
                        yield session, chunk
                # A log may tell the range and have let go of the text.
                async for chunk in self._fill(session, said.last):
                    yield session, chunk

    async def _fill(self, session: str, end: int | None) -> AsyncIterator[OutputChunk]:
        """Chunks up to `end` that were not shown yet; None: to wherever the session ended."""
        while end is None or self._shown.get(session, 0) < end:
            try:
                async for chunk in self._fetch(session, self._shown.get(session, 0)):
                    if self._next(session, chunk):
                        yield chunk
            except ConnectionLost:
                continue  # each try has its deadline; a watcher waits as long as it takes
            except NotFound:
                pass
            return

    def _next(self, session: str, chunk: OutputChunk) -> bool:
        if chunk.seq <= self._shown.get(session, 0):
            return False
        self._shown[session] = chunk.seq
        return True
