"""The newest event of each task that a channel has heard of: what an answer that is kept is measured against."""

from collections import OrderedDict


class Watermarks:
    """The newest offset of each task, complete for all events after `since` that were heard.

    Args:
        limit: tasks remembered; when one more is heard of, the one unheard of longest is forgotten and `since` rises
            to its offset: what is not known is never taken for unchanged.
        since: events up to this offset are not known.
    """

    def __init__(self, limit: int, *, since: int) -> None:
        self._limit = limit
        self._newest: OrderedDict[str, int] = OrderedDict()
        self.since = since

    def __len__(self) -> int:
        return len(self._newest)

    def hear(self, task_id: str | None, offset: int) -> None:
        """There is an event of a task. They may come in any order, and more than once."""
        if task_id is None:
            return
        self._newest[task_id] = max(offset, self._newest.get(task_id, 0))
        self._newest.move_to_end(task_id)
        if len(self._newest) > self._limit:
            _, forgotten = self._newest.popitem(last=False)
            self.since = max(self.since, forgotten)

    def holds(self, task_id: str, offset: int) -> bool:
        """Whether what was read of a task at an offset is, as far as was heard, still true."""
        return offset >= self.since and offset >= self._newest.get(task_id, 0)
