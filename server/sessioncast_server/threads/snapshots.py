"""Threads and messages as part of a channel's snapshot."""

from collections.abc import Callable, Iterator

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.threads.messages import newest
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Owned, Terms
from sessioncast_server.threads.service import list_threads, shown, threads_of_ids


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
        """The newest messages of the threads that a filter names, as JSON; at most one more than there is room for."""
        if not audience.filter.threads:
            return
        left = room + 1
        for thread in _threads(tx, project_id, audience, left):
            reading = newest(tx, thread, min(left, self._terms.messages_max))
            self._suspect(thread.name, list(reading.corrupt))
            for message in reading.messages:
                yield message.resource(thread.id)
                left -= 1
            if left <= 0:
                return


def _threads(tx: ReadTx, project_id: str, audience: Audience, limit: int) -> list[Thread]:
    wishes = audience.filter
    if wishes.threads:
        return threads_of_ids(tx, project_id, wishes.threads, user=audience.owner, limit=limit)
    if wishes.whole_project and audience.threads:
        return list_threads(tx, project_id, limit=limit, user=audience.owner)
    return []
