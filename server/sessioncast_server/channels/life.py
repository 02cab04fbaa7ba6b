"""The life of the logs: noticing that they went back in time, and giving them new epochs when they did."""

from sqlalchemy import bindparam, select, update

from sessioncast_server.channels.log import new_epoch
from sessioncast_server.channels.tables import ChannelRow, LogLifeRow
from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import ReadTx, WriteTx

_CHANNEL = ChannelRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_LIFE = LogLifeRow.__table__  # type: ignore[attr-defined]  # the same

_ROTATE = Statement(
    update(_CHANNEL)
    .where(_CHANNEL.c.project_id == bindparam("channel"), _CHANNEL.c.epoch == bindparam("old"))
    .values(epoch=bindparam("new"), floor=_CHANNEL.c.head)
)
# A name of its own for every log, so that a position of one is never taken for a position of another.
ROTATE_ALL = Text(
    sqlite="UPDATE channel SET epoch = lower(hex(randomblob(5))), floor = head",
    postgresql="UPDATE channel SET epoch = substr(md5(random()::text || project_id), 1, 10), floor = head",
)
_STORED = Statement(select(_LIFE.c.identity).where(_LIFE.c.id == 1))
_LOCK = Statement(select(_LIFE.c.id).where(_LIFE.c.id == 1).with_for_update(key_share=True))
_STORE = Statement(update(_LIFE).where(_LIFE.c.id == 1).values(identity=bindparam("identity_now")))

# A restored cluster has another system identifier or timeline, a restored dump another oid of the table.
_IDENTITY = Text(
    postgresql="""
SELECT (SELECT system_identifier FROM pg_control_system())::text
    || '/' || (SELECT timeline_id FROM pg_control_checkpoint())::text
    || '/' || 'event'::regclass::oid::text
""",
    columns={"identity": None},
)


def rotate(tx: WriteTx, channel: str, old: str) -> bool:
    """Give a channel's log a new epoch, unless another node did; whether this call did it."""
    return tx.count(_ROTATE, channel=channel, old=old, new=new_epoch()) == 1


def rotate_all(tx: WriteTx) -> int:
    """Give every log a new epoch; how many there are."""
    return tx.count(ROTATE_ALL)


def went_elsewhere(tx: ReadTx) -> bool:
    """Whether this PostgreSQL is not the one whose identity is kept beside the epochs."""
    stored = tx.one(_STORED)
    return bool(stored.identity != tx.one(_IDENTITY).identity)


def settle_identity(tx: WriteTx) -> bool:
    """Keep the identity; if another one was kept, rotate every epoch. Whether it was so."""
    tx.one(_LOCK)
    stored, present = tx.one(_STORED).identity, tx.one(_IDENTITY).identity
    if stored == present:
        return False
    tx.run(_STORE, identity_now=present)
    if stored is not None:
        rotate_all(tx)
    return stored is not None
