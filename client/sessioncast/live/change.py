"""Changes of what is live, and those that nobody has seen yet."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from sessioncast_shared.providers import ProviderSession, Totals
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

GONE_MAX = 10_000
"""Changes that are held for a reader about what is not there any more."""

ChangeKind = Literal["task", "session", "provider", "thread", "message", "totals"]
Held = Task | Session | ProviderSession | Thread | Message | Totals
Key = str | tuple[str, str] | tuple[str, str, int]
"""An id; a thread by user and id; a message by user, thread and `seq`. Ids of threads are one user's only."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one resource.

    Attributes:
        id: the resource's; of totals their task's.
        before: as it was last known; None: it was not.
        after: as it is; None: it is not live any more.
        last: with `after` None, the last state it had, with `deleted_at` and `replaced_by` where the server told.
        position: that it was told at; None where none was.
        key: what it is known by, within its kind.
    """

    kind: ChangeKind
    id: str
    before: Held | None
    after: Held | None
    position: str | None
    key: Key
    last: Held | None = None

    @property
    def what(self) -> Literal["added", "changed", "removed"]:
        """What happened, in a word."""
        if self.after is None:
            return "removed"
        return "added" if self.before is None else "changed"


class Changes:
    """Changes that were not taken yet, one per resource however often it changed.

    Of what is there, there are never more than resources. Of what is gone, the newest `gone_max` are kept: a reader
    that is so far behind, or does not read at all, is not told of the others; what is live is right anyway.

    Attributes:
        dropped: how many changes were left out so.
    """

    def __init__(self, *, gone_max: int = GONE_MAX) -> None:
        self.dropped = 0
        self._gone_max = gone_max
        # Ordered ones: the first of a plain dict is behind all that were ever taken from it.
        self._pending: OrderedDict[tuple[ChangeKind, Key], Change] = OrderedDict()
        self._gone: OrderedDict[tuple[ChangeKind, Key], None] = OrderedDict()

    def add(self, change: Change) -> None:
        """Put a change behind the others, or join it to the one of the same resource that waits already."""
        name = change.kind, change.key
        waiting = self._pending.get(name)
        if waiting is not None:
            after, position, last = change.after, change.position, change.last
            change = Change(change.kind, change.id, waiting.before, after, position, change.key, last)
        self._pending[name] = change
        self._gone.pop(name, None)
        if change.after is None:
            self._gone[name] = None
            if len(self._gone) > self._gone_max:
                oldest = next(iter(self._gone))
                del self._gone[oldest], self._pending[oldest]
                self.dropped += 1

    def take(self) -> Change | None:
        """The one that has waited longest, None when none does."""
        if not self._pending:
            return None
        name = next(iter(self._pending))
        self._gone.pop(name, None)
        return self._pending.pop(name)

    def clear(self) -> None:
        """Forget all of them."""
        self._pending.clear()
        self._gone.clear()

    def __len__(self) -> int:
        return len(self._pending)
