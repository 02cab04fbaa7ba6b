"""What a subscriber wants of a channel."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sessioncast_shared.events import Kind

MAX_IDS = 100
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


class BadFilterError(ValueError):
    """A filter that cannot be one: unknown kind, an id that is no UUID, too many ids."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Ids (or) and kinds (and), in canonical form: sorted, without repeats, ids in lower case.

    Attributes:
        tasks: a task covers its sessions.
        sessions, threads: as ids. No ids at all: the whole project, without threads.
        kinds: None for every kind.
    """

    tasks: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    kinds: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        *,
        tasks: Iterable[str] = (),
        sessions: Iterable[str] = (),
        threads: Iterable[str] = (),
        kinds: Iterable[str] | None = None,
    ) -> "Filter":
        """The canonical filter of these wishes.

        Raises:
            BadFilterError: an id is no UUID, a kind is unknown, none is named, or there are over 100 ids.
        """
        ids = (_ids(tasks), _ids(sessions), _ids(threads))
        if sum(map(len, ids)) > MAX_IDS:
            raise BadFilterError(f"more than {MAX_IDS} ids")
        if kinds is None:
            return cls(*ids)
        wanted = sorted({kind.strip() for kind in kinds})
        unknown = [kind for kind in wanted if kind not in set(Kind)]
        if unknown:
            raise BadFilterError(f"unknown kind {unknown[0][:40]!r}; one of {', '.join(Kind)}")
        if not wanted:
            raise BadFilterError("kinds names none")
        return cls(*ids, tuple(wanted) if len(wanted) < len(Kind) else None)

    @property
    def whole_project(self) -> bool:
        """Whether no ids narrow it."""
        return not (self.tasks or self.sessions or self.threads)

    def canonical(self) -> str:
        """One text per set of wishes; the key of a WebSocket subscription is built on it."""
        return "&".join(f"{name}={value}" for name, value in self.query())

    def query(self) -> list[tuple[str, str]]:
        """The filter as query parameters of the events URL."""
        pairs = [("task", id_) for id_ in self.tasks]
        pairs += [("session", id_) for id_ in self.sessions]
        pairs += [("thread", id_) for id_ in self.threads]
        if self.kinds is not None:
            pairs.append(("kinds", ",".join(self.kinds)))
        return pairs


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in its usual form of 36 characters."""
    return _UUID.fullmatch(text) is not None


def _ids(values: Iterable[str]) -> tuple[str, ...]:
    seen = set()
    for value in values:
        if not is_uuid(value):
            raise BadFilterError(f"not an id: {value[:60]!r}")
        seen.add(str(UUID(value)))
    return tuple(sorted(seen))
