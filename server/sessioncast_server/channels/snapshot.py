"""The present state of a channel as an audience may see it, with the position it was read at."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.transaction import ReadTx
from sessioncast_shared.events import Kind
from sessioncast_shared.position import Position

Source = Callable[[ReadTx, str, Audience, int], Iterable[bytes]]
"""A feature's part: its resources of a channel for an audience, as JSON, and at most one more than the limit.

Read one by one, and no further once the snapshot is too large: what is lazy need not make the rest.
"""


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """Resources and bytes of JSON per page, and in all before the snapshot says `too_large`.

    A page has one resource however large it is.
    """

    page: int = 256
    resources: int = 5000
    page_bytes: int = 65536
    max_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Pages of resources, and where in the log they stand.

    Attributes:
        pages: each the members of a JSON object, without its braces.
        epoch, offset: the position all pages were read at.
    """

    pages: tuple[bytes, ...]
    epoch: str
    offset: int

    @property
    def position(self) -> Position:
        """The position all pages were read at."""
        return Position(self.epoch, self.offset)


Paths = Callable[[ReadTx, str, Audience], list[str]]
"""What an audience may read of a channel instead of a snapshot that is too large."""


class Snapshots:
    """Reads snapshots.

    Args:
        paths: of what only a feature knows where it is; what is left are tasks and their sessions.
        sources: the features that have resources to show: the kind that a filter knows them by, what they are called.
    """

    def __init__(
        self, sources: Sequence[tuple[Kind, str, Source]], limits: SnapshotLimits, paths: Paths = lambda *_: []
    ) -> None:
        self._sources = sources
        self._limits = limits
        self._paths = paths

    def read(self, tx: ReadTx, channel: str, audience: Audience) -> Snapshot:
        """Head and state from one snapshot of the database: state = events up to the head, exactly."""
        head = head_of(tx, channel)
        resources: list[bytes] = []
        size = 0
        for resource in self._resources(tx, channel, audience):
            resources.append(resource)
            size += len(resource)
            if len(resources) > self._limits.resources or size > self._limits.max_bytes:
                instead = _too_large(channel, audience, self._paths(tx, channel, audience))
                return Snapshot((instead,), head.epoch, head.offset)
        pages = _pages(resources, self._limits)
        return Snapshot(tuple(b'"resources":[%s]' % b",".join(page) for page in pages), head.epoch, head.offset)

    def _resources(self, tx: ReadTx, channel: str, audience: Audience) -> Iterator[bytes]:
        room = self._limits.resources
        for kind, name, source in self._sources:
            if audience.filter.kinds is None or kind in audience.filter.kinds:
                for resource in source(tx, channel, audience, room):
                    room -= 1
                    yield b'{"kind":"%s","data":%s}' % (name.encode(), resource)


def _pages(resources: Sequence[bytes], limits: SnapshotLimits) -> Iterator[list[bytes]]:
    """The resources in order, in at least one page."""
    page: list[bytes] = []
    size = 0
    for resource in resources:
        if page and (len(page) >= limits.page or size + len(resource) > limits.page_bytes):
            yield page
            page, size = [], 0
        page.append(resource)
        size += len(resource)
    yield page


def _too_large(channel: str, audience: Audience, paths: list[str]) -> bytes:
    paths = [f"/v1/tasks/{task}/sessions" for task in audience.filter.tasks] + paths
    paths = paths or [f"/v1/projects/{channel}/tasks"]
    return b'"resources":[],"too_large":true,"read":%s' % orjson.dumps(paths)
