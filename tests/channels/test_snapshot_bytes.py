"""How large a snapshot and its pages get, by a database and sources of a test's own."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
import pytest

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.snapshot import Snapshot, SnapshotLimits, Snapshots
from sessioncast_server.db.transaction import ReadTx
from sessioncast_shared.events import Kind
from support.hubs import ALL, Rig

FRAME = len(b'{"kind":"task","data":}')


def made(sizes: Iterable[int]) -> list[bytes]:
    """JSON texts that make resources of so many bytes, each with its number."""
    return [b'"%s"' % (b"%d" % number).ljust(size - FRAME - 2, b".") for number, size in enumerate(sizes)]


def shown(snapshot: Snapshot) -> list[list[int]]:
    """The resources' numbers, by page."""
    pages: list[dict[str, Any]] = [orjson.loads(b"{%s}" % page) for page in snapshot.pages]
    return [[int(each["data"].rstrip(".")) for each in page["resources"]] for page in pages]


async def read(rig: Rig, sizes: Iterable[int], limits: SnapshotLimits) -> Snapshot:
    """A snapshot of resources of so many bytes."""
    texts = made(sizes)
    await rig.project()
    return await rig.database.read(Snapshots([(Kind.TASK, "task", lambda *_: texts)], limits).read, "p", ALL)


@pytest.mark.parametrize(
    ("sizes", "pages"),
    [
        ([], [[]]),
        ([100] * 5, [[0, 1, 2], [3, 4]]),
        ([150, 150, 150], [[0, 1], [2]]),
        ([100, 900, 100], [[0], [1], [2]]),
        ([900], [[0]]),
    ],
    ids=["nothing", "by number", "by bytes", "a huge one alone", "only a huge one"],
)
async def test_a_page_ends_by_number_or_by_bytes(rig: Rig, sizes: list[int], pages: list[list[int]]) -> None:
    """Whichever bound is met first; in order; one that is larger than a page has one for itself."""
    assert shown(await read(rig, sizes, SnapshotLimits(page=3, page_bytes=300))) == pages


async def test_over_its_bytes_a_snapshot_is_too_large(rig: Rig) -> None:
    """As many bytes as the bound are shown; one more, and it is one page that says where to read."""
    assert shown(await read(rig, [500, 500], SnapshotLimits(max_bytes=1000))) == [[0, 1]]
    (page,) = (await read(rig, [500, 501], SnapshotLimits(max_bytes=1000))).pages
    assert page == b'"resources":[],"too_large":true,"read":["/v1/projects/p/tasks"]'


async def test_what_would_be_too_large_is_not_read_to_its_end(rig: Rig) -> None:
    """The source is asked for no resource after the one that is too much, and the next source not at all."""
    given: list[bytes] = []

    def source(_tx: ReadTx, _channel: str, _audience: Audience, _room: int) -> Iterator[bytes]:
        for text in made([400] * 9):
            given.append(text)
            yield text

    snapshots = Snapshots(
        [(Kind.TASK, "task", source), (Kind.SESSION, "session", source)], SnapshotLimits(max_bytes=1000)
    )
    await rig.project()
    assert b'"too_large":true' in (await rig.database.read(snapshots.read, "p", ALL)).pages[0]
    assert len(given) == 3
