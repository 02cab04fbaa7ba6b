"""Resources of one kind, the newest state of each."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from sessioncast.live.change import Change, ChangeKind, Key
from sessioncast_shared.providers import ProviderSession, Totals
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

K = TypeVar("K", bound=Key)
R = TypeVar("R", Task, Session, ProviderSession, Thread, Message, Totals)

LEFT_MAX = 10_000
"""Of how many that have left it is remembered, so that nothing old brings them back."""


class Shelf(Generic[K, R]):
    """Resources by key, each with the offset of the log that it is known from.

    Versions tell which of two states is newer, within an epoch of the log; kinds without versions count as 0. What is
    held from another epoch gives way to whatever is told.

    Attributes:
        held: by key; read-only, always of this moment.
        left: those that have left: their last version, and the offset they left at. The newest `LEFT_MAX`.
    """

    def __init__(self, kind: ChangeKind) -> None:
        self.kind: ChangeKind = kind
        self._held: dict[K, R] = {}
        self._since: dict[K, int] = {}
        self._doubted: set[K] = set()
        self.held: Mapping[K, R] = MappingProxyType(self._held)
        self.left: OrderedDict[K, tuple[int, int]] = OrderedDict()

    def is_doubted(self, key: K) -> bool:
        """Whether its version means nothing any more."""
        return key in self._doubted

    def doubt(self) -> None:
        """Another epoch has begun, without a snapshot: versions and offsets of before mean nothing."""
        self._doubted.update(self._held)
        self.left.clear()

    def takes(self, key: K, version: int, offset: int, *, again: bool = False) -> bool:
        """Whether a state that is told at an offset is not older than what is known.

        Args:
            again: one that has left may be made again, with versions from the first on.
        """
        gone = self.left.get(key)
        if gone is not None:
            return offset > gone[1] and (again or version > gone[0])
        if key not in self._held or key in self._doubted:
            return True
        return offset > self._since[key] and version >= getattr(self._held[key], "version", 0)

    def lacks(self, key: K, version: int, offset: int) -> bool:
        """Whether a state that a snapshot at an offset shows is missing here, or newer than what is here."""
        gone = self.left.get(key)
        if gone is not None:
            return offset >= gone[1]
        if key not in self._held or key in self._doubted:
            return True
        return version > getattr(self._held[key], "version", 0)

    def differs(self, key: K, shown: R, offset: int, *, but: Collection[str] = ()) -> bool:
        """Whether what a snapshot at an offset shows is here in the same version, and yet another.

        No event tells of that: somebody wrote to the database, or to what is held here.

        Args:
            but: fields that change without the version.
        """
        held = self._held.get(key)
        if held is None or key in self._doubted or offset < self._since[key]:
            return False
        if getattr(held, "version", 0) != getattr(shown, "version", 0):
            return False
        return held.model_copy(update={name: getattr(shown, name) for name in but}) != shown

    def may_take(self, key: K, version: int, offset: int) -> bool:
        """Whether a state that a snapshot at an offset shows says more than, or at least as much as, what is here."""
        if self.lacks(key, version, offset):
            return True
        held = self._held.get(key)
        return held is not None and version == getattr(held, "version", 0) and offset >= self._since[key]

    def known_by(self, offset: int) -> list[K]:
        """What is held in a state of that offset or before: a snapshot at it must show these."""
        return [key for key in self._held if key in self._doubted or self._since[key] <= offset]

    def put(self, key: K, resource: R, *, id_: str, offset: int, position: str) -> Change | None:
        """Hold a resource as it is now; None when it was so already."""
        before = self._held.get(key)
        self._held[key] = resource
        self._since[key] = offset
        self._doubted.discard(key)
        self.left.pop(key, None)
        return None if before == resource else Change(self.kind, id_, before, resource, position, key)

    def drop(self, key: K, last: R | None, version: int, offset: int, position: str) -> Change | None:
        """Let a resource leave; None when it was not there. `last` is its last state, if one was told."""
        self.left[key] = version, offset
        self.left.move_to_end(key)
        if len(self.left) > LEFT_MAX:
            self.left.popitem(last=False)
        before = self._held.pop(key, None)
        self._since.pop(key, None)
        self._doubted.discard(key)
        if before is None:
            return None
        return Change(self.kind, _id(key, before), before, None, position, key, last or before)

    def replace(self, resources: Mapping[K, tuple[str, R]], offset: int, position: str) -> Iterator[Change]:
        """Hold these, with their ids, and nothing else. It is done when all changes have been asked for."""
        for key in [key for key in self._held if key not in resources]:
            before = self._held.pop(key)
            yield Change(self.kind, _id(key, before), before, None, position, key, before)
        self._since.clear()
        self._doubted.clear()
        self.left.clear()
        for key, (id_, resource) in resources.items():
            change = self.put(key, resource, id_=id_, offset=offset, position=position)
            if change is not None:
                yield change


def _id(key: Key, resource: Task | Session | ProviderSession | Thread | Message | Totals) -> str:
    return str(key) if isinstance(resource, Totals) else resource.id
