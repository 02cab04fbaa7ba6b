"""Reads of the state that a filter covers, beside its stream: the poll without a position is one."""

from dataclasses import replace
from urllib.parse import quote

from sessioncast.errors import ProtocolError
from sessioncast.sender import Sender
from sessioncast.streams.items import Snapshot
from sessioncast.streams.polls import PollReader
from sessioncast.streams.tracker import Tracker
from sessioncast_shared.filters import Filter


class Reading:
    """Reads what one filter covers.

    Attributes:
        project, wanted: whose state, and which.
    """

    def __init__(self, sender: Sender, project: str, wanted: Filter) -> None:
        self.project = project
        self.wanted = wanted
        self._sender = sender
        self._path = f"/v1/projects/{quote(project, safe='')}/events"

    def of(self, wanted: Filter) -> "Reading":
        """The same of another filter."""
        return Reading(self._sender, self.project, replace(wanted, kinds=self.wanted.kinds))

    async def snapshot(self) -> Snapshot:
        """The present state.

        Raises:
            ConnectionLost, ProblemError, ProtocolError: it cannot be read.
        """
        snapshot, _ = await self.changed(None)
        if snapshot is None:
            raise ProtocolError(self._path, "nothing new, though nothing was known")
        return snapshot

    async def changed(self, etag: str | None) -> tuple[Snapshot | None, str | None]:
        """The present state with its `ETag`; None if it is what an earlier read had with this one."""
        headers = {"Accept": "application/json"} | ({} if etag is None else {"If-None-Match": etag})
        answer = await self._sender.send("GET", self._path, query=self.wanted.query(), headers=headers)
        if answer.status == 304:
            return None, etag
        tracker = Tracker(answer.url, None, "always")
        items = [item for frame in PollReader(answer.url).take(200, answer.json()) for item, _ in tracker.take(frame)]
        snapshots = [item for item in items if isinstance(item, Snapshot)]
        if not snapshots:
            raise ProtocolError(answer.url, "an answer without the state")
        if self._sender.witness is not None:
            self._sender.witness.item(self.project, snapshots[0])
        return snapshots[0], answer.headers.get("etag")
