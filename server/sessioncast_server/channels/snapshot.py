"""The present state of a channel as an audience may see it, with the position it was read at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import orjson

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.transaction import ReadTx
from sessioncast_shared.events import Kind
from sessioncast_shared.position import Position

Source = Callable[[ReadTx, str, Audience, int], Iterable[bytes]]
"""A feature's part: its resources of a channel for an audience, as JSON, and at most one more than the limit."""


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """Resources per page, and in all before the snapshot says `too_large`."""

    page: int = 256
    resources: int = 5000


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


class Snapshots:
    """Reads snapshots.

    Args:
        sources: by kind, the features that have resources to show.
    """

    def __init__(self, sources: Sequence[tuple[Kind, Source]], limits: SnapshotLimits) -> None:
        self._sources = sources
        self._limits = limits

    def read(self, tx: ReadTx, channel: str, audience: Audience) -> Snapshot:
        """Head and state from one snapshot of the database: state = events up to the head, exactly."""
        head = head_of(tx, channel)
        resources: list[bytes] = []
        for kind, source in self._sources:
            wanted = audience.filter.kinds is None or kind in audience.filter.kinds
            room = self._limits.resources - len(resources)
            if wanted and room >= 0:
                resources += [
                    b'{"kind":"%s","data":%s}' % (kind.value.encode(), resource)
                    for resource in source(tx, channel, audience, room)
                ]
        if len(resources) > self._limits.resources:
            return Snapshot((_too_large(channel, audience),), head.epoch, head.offset)
        size = self._limits.page
        pages = [resources[start : start + size] for start in range(0, len(resources), size)] or [[]]
        return Snapshot(tuple(b'"resources":[%s]' % b",".join(page) for page in pages), head.epoch, head.offset)


def _too_large(channel: str, audience: Audience) -> bytes:
    tasks = audience.filter.tasks
    paths = [f"/v1/tasks/{task}/sessions" for task in tasks] or [f"/v1/projects/{channel}/tasks"]
    return b'"resources":[],"too_large":true,"read":%s' % orjson.dumps(paths)
