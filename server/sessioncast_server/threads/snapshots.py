"""Threads and messages as part of a channel's snapshot."""

from collections.abc import Callable, Iterator
from urllib.parse import quote

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.threads.messages import after
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Owned, Terms
from sessioncast_server.threads.service import list_threads, shown, threads_of_ids

_PATHS_MAX = 1000


class ThreadSnapshots:
    """What an audience may see of the threads that it wants.

    Args:
        suspect: hears of messages that are not what was written.
    """

    def __init__(self, terms: Terms, suspect: Callable[[Owned, list[int]], None]) -> None:
        self._terms = terms
        self._suspect = suspect

    def threads(self, tx: ReadTx, project_id: str, audience: Audience, room: int) -> list[bytes]:
        """Threads, as JSON; at most one more than there is room for."""
        return [shown(thread, self._terms.keep) for thread in _threads(tx, project_id, audience, room + 1)]

    def messages(self, tx: ReadTx, project_id: str, audience: Audience, room: int) -> Iterator[bytes]:
        """The messages of the threads that a filter names, by `seq`, as JSON; at most one more than there is room for.

        They are read as they are asked for: the snapshot itself bounds their bytes.
        """
        if not audience.filter.threads:
            return
        left = room + 1
        for thread in _threads(tx, project_id, audience, left):
            seq, more = 0, True
            while more and left > 0:
                reading = after(tx, thread, seq, left, self._terms.read_bytes)
                self._suspect(thread.name, list(reading.corrupt))
                for message in reading.messages:
                    yield message.resource(thread.name)
                    left -= 1
                more = reading.more
                seq = reading.last(newest_first=False) if more else seq


def message_paths(tx: ReadTx, project_id: str, audience: Audience) -> list[str]:
    """Where the messages of the threads that a filter names are to be read."""
    if not audience.filter.threads:
        return []
    return [
        f"/v1/projects/{project_id}/threads/{thread.id}/messages"
        + ("" if audience.owner is not None else f"?user={quote(thread.user_id, safe='')}")
        for thread in _threads(tx, project_id, audience, _PATHS_MAX)
    ]


def _threads(tx: ReadTx, project_id: str, audience: Audience, limit: int) -> list[Thread]:
    wishes = audience.filter
    if wishes.threads:
        return threads_of_ids(tx, project_id, wishes.threads, user=audience.owner, limit=limit)
    if wishes.whole_project and audience.threads:
        return list_threads(tx, project_id, limit=limit, user=audience.owner)
    return []
