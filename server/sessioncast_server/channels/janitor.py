"""Retention of the logs: what is old enough and far enough behind the head goes, and the floor says so."""

from datetime import timedelta

from sqlalchemy import BigInteger, bindparam, delete, func, select, update

from sessioncast_server.channels.tables import ChannelRow, EventRow
from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime

_CHANNEL = ChannelRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_EVENT = EventRow.__table__  # type: ignore[attr-defined]  # the same

_LONG = Statement(
    select(_CHANNEL.c.project_id).where(_CHANNEL.c.head - _CHANNEL.c.floor > bindparam("events", type_=BigInteger))
)
_CHANNEL_OF = Statement(
    select(_CHANNEL.c.head, _CHANNEL.c.floor)
    .where(_CHANNEL.c.project_id == bindparam("channel"))
    .with_for_update(key_share=True)
)
_OLD = Statement(
    select(func.max(_EVENT.c.offset).label("offset")).where(
        _EVENT.c.project_id == bindparam("channel"),
        _EVENT.c.offset > bindparam("floor"),
        _EVENT.c.offset <= bindparam("upto"),
        _EVENT.c.at < bindparam("before", type_=UtcTime),
    )
)
_DELETE = Statement(
    delete(_EVENT).where(_EVENT.c.project_id == bindparam("channel"), _EVENT.c.offset <= bindparam("upto"))
)
_RAISE = Statement(
    update(_CHANNEL).where(_CHANNEL.c.project_id == bindparam("channel")).values(floor=bindparam("new_floor"))
)


def long_channels(tx: ReadTx, *, events: int) -> list[str]:
    """Channels whose log holds more than so many events."""
    return [row.project_id for row in tx.all(_LONG, events=events)]


def trim(tx: WriteTx, channel: str, *, keep_s: float, keep_events: int, batch: int) -> int:
    """Delete at most `batch` events that are older than `keep_s` and not among the newest `keep_events`; how many.

    Floor and deletion are one commit: who asks for what is gone is told so, and never given half of it.
    """
    row = tx.one(_CHANNEL_OF, channel=channel)
    upto = min(row.head - keep_events, row.floor + batch)
    if upto <= row.floor:
        return 0
    before = tx.now - timedelta(seconds=keep_s)
    cut = tx.one(_OLD, channel=channel, floor=row.floor, upto=upto, before=before).offset
    if cut is None:
        return 0
    deleted = tx.count(_DELETE, channel=channel, upto=cut)
    tx.run(_RAISE, channel=channel, new_floor=cut)
    return deleted
