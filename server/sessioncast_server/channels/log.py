"""The log of a channel: appending with contiguous offsets in commit order, and reading after one.

Why offsets equal commit order: `append` runs last in its transaction and takes its offsets by updating the channel's
counter row, whose lock is held until COMMIT is done. The next transaction gets the lock, and with it the next offset,
only after this one is visible (PostgreSQL) or is serialized by the one writer (SQLite). A rolled back transaction gives
its offsets back with the row.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import orjson
from sqlalchemy import BigInteger, bindparam, insert, select, update

from sessioncast_server.broker.base import Announcement, Route
from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.encoding import encode_event
from sessioncast_server.channels.tables import ChannelRow, EventRow
from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import ReadTx, Staged, WriteTx
from sessioncast_server.db.types import IdList, any_of
from sessioncast_shared.events import Kind

_CHANNEL = ChannelRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_EVENT = EventRow.__table__  # type: ignore[attr-defined]  # the same

_COLUMNS = (
    "type", "kind", "at", "task_id", "session_id", "thread_id", "owner", "phase", "model", "updated_at", "version",
    "data",
)  # fmt: skip

_TAKE = Statement(
    update(_CHANNEL)
    .where(_CHANNEL.c.project_id == bindparam("channel"))
    .values(head=_CHANNEL.c.head + bindparam("count", type_=BigInteger))
    .returning(_CHANNEL.c.epoch, _CHANNEL.c.head)
)
_INSERT = Statement(insert(_EVENT))


_TYPES = {"at": "timestamptz", "updated_at": "timestamptz", "version": "bigint"}


def _append_text(staged: str) -> Text:
    """One statement, so that the counter row is locked for one round trip only, COMMIT included."""
    return Text(
        postgresql=f"""
WITH taken AS (
    UPDATE channel SET head = head + %(count)s WHERE project_id = %(channel)s RETURNING epoch, head
), written AS (
    INSERT INTO event (project_id, "offset", {", ".join(_COLUMNS)})
    SELECT %(channel)s, taken.head - %(count)s + staged.position, {", ".join(f"staged.{name}" for name in _COLUMNS)}
    FROM taken, {staged} AS staged({", ".join(_COLUMNS)}, position)
)
SELECT epoch, head FROM taken
""",  # noqa: S608  names come from the table above
        columns={"epoch": None, "head": None},
    )


def _values_text(count: int) -> Text:
    rows = [
        ", ".join(f"%({name}_{number})s::{_TYPES.get(name, 'text')}" for name in _COLUMNS) for number in range(count)
    ]
    return _append_text(f"(VALUES {', '.join(f'({row}, {position})' for position, row in enumerate(rows, 1))})")


# The driver takes twelve arrays apart and together again for far longer than as many values.
_APPEND_FEW = {count: _values_text(count) for count in (1, 2, 3)}
_ARRAYS = ", ".join(f"%({name})s::{_TYPES.get(name, 'text')}[]" for name in _COLUMNS)
_APPEND_MANY = _append_text(f"unnest({_ARRAYS}) WITH ORDINALITY")

_OPEN = Statement(insert(_CHANNEL))
_HEAD = Statement(
    select(_CHANNEL.c.epoch, _CHANNEL.c.head, _CHANNEL.c.floor).where(_CHANNEL.c.project_id == bindparam("channel"))
)
_HEADS = Statement(
    select(_CHANNEL.c.project_id, _CHANNEL.c.epoch, _CHANNEL.c.head).where(
        any_of(_CHANNEL.c.project_id, bindparam("channels", type_=IdList))
    )
)


@cache
def newest_of(columns: tuple[str, ...], *, owned: bool = False) -> Text:
    """The newest event of `:kinds` in which one of these columns has one of the values in the list of its name.

    Args:
        owned: of threads only those of `:owner` count.

    One step in an index for each value, whatever a planner believes: on SQLite by a subquery that is run for each, with
    the kinds hidden from the choice of the index; on PostgreSQL by LATERAL with a LIMIT.
    """
    sqlite = """
SELECT (
    SELECT e."offset" FROM event AS e
    WHERE e.project_id = :channel AND e.{0} = json_each.value AND +e.kind IN (SELECT value FROM json_each(:kinds)){1}
    ORDER BY e."offset" DESC LIMIT 1
) AS found FROM json_each(:{0})"""
    postgresql = """
SELECT e."offset" AS found FROM unnest(%({0})s::text[]) AS wanted(value) CROSS JOIN LATERAL (
    SELECT "offset" FROM event
    WHERE project_id = %(channel)s AND {0} = wanted.value AND kind = ANY(%(kinds)s::text[]){1}
    ORDER BY "offset" DESC LIMIT 1
) AS e"""
    owner = ("", "")
    if owned:
        owner = (
            " AND (e.thread_id IS NULL OR e.owner = :owner)",
            " AND (thread_id IS NULL OR owner = %(owner)s::text)",
        )
    whole = 'SELECT max(found) AS "offset" FROM ({0}\n) AS newest'
    return Text(
        sqlite=whole.format(" UNION ALL ".join(sqlite.format(column, owner[0]) for column in columns)),
        postgresql=whole.format(" UNION ALL ".join(postgresql.format(column, owner[1]) for column in columns)),
        columns={"offset": None},
        types={name: IdList() for name in (*columns, "kinds")},
    )


_ENDLESS = 2**62
_ROWS = 64  # fetched at a time: a row may hold a megabyte


@dataclass(frozen=True, slots=True)
class Head:
    """Where a channel's log ends.

    Attributes:
        floor: offset of the newest event that can no longer be replayed.
    """

    epoch: str
    offset: int
    floor: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it is sent: its place, who is to get it, and its JSON.

    Attributes:
        offset: from 1; 0 for a whisper, which has no place.
    """

    offset: int
    route: Route
    body: bytes


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive events for an audience.

    Attributes:
        more: whether a bound was reached before the last of them.
    """

    entries: list[Entry]
    more: bool


Fill = Callable[[ReadTx, Sequence[Any]], dict[int, bytes]]
"""Given rows of events whose text is kept elsewhere: their `data` by offset."""


class Log:
    """The log's statements.

    Args:
        fill: joins the text to output events, which keep only their range.
    """

    def __init__(self, fill: Fill) -> None:
        self._fill = fill

    def append(self, tx: WriteTx) -> Callable[[], list[Announcement]]:
        """Write what was staged, channels in sorted order (the last locks taken, always in one order)."""
        if not tx.staged:
            return list
        staged = tx.staged if len(tx.staged) == 1 else sorted(tx.staged, key=lambda event: event.channel)
        runs = [(channel, list(events)) for channel, events in groupby(staged, key=lambda event: event.channel)]
        write = _append_in_two if tx.dialect.name == "sqlite" else _append_in_one
        appended = [(channel, events, write(tx, channel, events)) for channel, events in runs]
        return lambda: [_announcement(channel, events, rows()[0]) for channel, events, rows in appended]

    def read(
        self, tx: ReadTx, channel: str, audience: Audience, *, after: int, limit: int, size: int, upto: int = _ENDLESS
    ) -> Stretch:
        """Events for an audience with `after < offset <= upto`, in order, up to a bound in number or in bytes.

        At least one is read if there is one. Rows are fetched a few at a time, and their text is joined only once
        they are known to fit, by one statement: the bound holds for what is in memory, not only for what is returned.
        """
        epoch = head_of(tx, channel).epoch
        kept: list[Any] = []
        held, more, ended = 0, False, False
        while not (more or ended):
            wanted = min(_ROWS, limit + 1 - len(kept))
            rows = tx.all(
                audience.statement(_EVENT), channel=channel, after=after, upto=upto, limit=wanted, **audience.ids
            )
            ended = len(rows) < wanted
            for row in rows:
                if len(kept) == limit or (held >= size and kept):
                    more = True
                    break
                held += _weight(row)
                kept.append(row)
                after = row.offset
        return Stretch(self._entries(tx, channel, epoch, kept), more)

    def _entries(self, tx: ReadTx, channel: str, epoch: str, rows: list[Any]) -> list[Entry]:
        kept_elsewhere = [row for row in rows if row.kind == Kind.OUTPUT.value]
        data = self._fill(tx, kept_elsewhere) if kept_elsewhere else {}
        return [
            Entry(
                row.offset,
                Route(row.kind, row.task_id, row.session_id, row.thread_id, row.owner),
                encode_event(channel, epoch, row.offset, row, data.get(row.offset) or row.data.encode()),
            )
            for row in rows
        ]


def newest(tx: ReadTx, channel: str, audience: Audience) -> int | None:
    """Offset of the newest event for an audience that the log holds, or None."""
    wishes = audience.filter
    kinds = list(wishes.kinds or (kind.value for kind in Kind))
    if wishes.whole_project:
        wanted = {"kind": [kind for kind in kinds if audience.threads or kind != Kind.THREAD.value]}
    else:
        ids = {"task_id": wishes.tasks, "session_id": wishes.sessions, "thread_id": wishes.threads}
        wanted = {column: list(values) for column, values in ids.items() if values}
    statement, owner = newest_of(tuple(wanted)), {}
    if audience.owner is not None and (audience.threads or wishes.threads):
        statement, owner = newest_of(tuple(wanted), owned=True), {"owner": audience.owner}
    row = tx.one(statement, channel=channel, **wanted, kinds=kinds, **owner)
    return None if row.offset is None else int(row.offset)


def open_channel(tx: WriteTx, channel: str) -> None:
    """Make the counter of a new channel."""
    tx.run(_OPEN, project_id=channel, epoch=new_epoch(), head=0, floor=0)


def new_epoch() -> str:
    """A name no life of a log had before."""
    return secrets.token_hex(5)


def head_of(tx: ReadTx, channel: str) -> Head:
    """Where a channel's log ends, in this transaction's snapshot.

    Raises:
        KeyError: there is no such channel.
    """
    row = tx.one(_HEAD, channel=channel)
    if row is None:
        raise KeyError(channel)
    return Head(row.epoch, row.head, row.floor)


def heads_of(tx: ReadTx, channels: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Epoch and offset of the heads of channels."""
    return {row.project_id: (row.epoch, row.head) for row in tx.all(_HEADS, channels=list(channels))}


def _append_in_two(tx: WriteTx, channel: str, events: list[Staged]) -> Callable[[], list[Any]]:
    taken = tx.change(_TAKE, channel=channel, count=len(events))
    if taken is None:
        raise KeyError(channel)
    first = taken.head - len(events) + 1
    tx.many(
        _INSERT,
        [
            {"project_id": channel, "offset": offset} | {name: getattr(event, name) for name in _COLUMNS[:-1]}
            | {"data": _stored(event)}
            for offset, event in enumerate(events, first)
        ],
    )  # fmt: skip
    return lambda: [taken]


def _append_in_one(tx: WriteTx, channel: str, events: list[Staged]) -> Callable[[], list[Any]]:
    few = _APPEND_FEW.get(len(events))
    if few is not None:
        values: dict[str, Any] = {"channel": channel, "count": len(events)}
        for number, event in enumerate(events):
            values |= {f"{name}_{number}": getattr(event, name) for name in _COLUMNS[:-1]}
            values[f"data_{number}"] = _stored(event)
        return tx.send(few, **values)
    arrays: dict[str, Any] = {name: [getattr(event, name) for event in events] for name in _COLUMNS[:-1]}
    data = [_stored(event) for event in events]
    return tx.send(_APPEND_MANY, channel=channel, count=len(events), **arrays, data=data)


def _weight(row: Any) -> int:
    """Bytes of an event, the text of an output event included: its row says how much there is."""
    joined = orjson.loads(row.data).get("size", 0) if row.kind == Kind.OUTPUT.value else 0
    return len(row.data) + int(joined)


def _stored(event: Staged) -> str:
    return (event.data if event.stored is None else event.stored).decode()


def _announcement(channel: str, events: list[Staged], taken: Any) -> Announcement:
    first = taken.head - len(events) + 1
    return Announcement(
        channel,
        taken.epoch,
        first,
        tuple(Route(event.kind, event.task_id, event.session_id, event.thread_id, event.owner) for event in events),
        tuple(
            encode_event(channel, taken.epoch, offset, event, event.data) for offset, event in enumerate(events, first)
        ),
    )
