"""A queue before something that only one may use at a time, in the database: first come, first served, on all nodes.

Who calls has locked what the key names, so places are numbered in the order in which that lock was had, and of two
callers only one finds the queue empty. The first in the queue has the turn once it asked for it; the fence that comes
with it is the caller's, and belongs to what the key names.

A place is held by who renews it. One that waits is renewed by the node that waits for it; one that has its turn, until
it has a subject, by nobody: it has `lease_s` to find one. With a subject it lives as long as that does, and whoever
ends the subject releases it, in the same transaction.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, delete, func, insert, select, update

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import IdList, any_of
from sessioncast_server.turns.rules import Lease
from sessioncast_server.turns.tables import TurnRow

_TURN = TurnRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_OF_KEY = _TURN.c.key == bindparam("of_key")
_ID = _TURN.c.id == bindparam("place_id")
_PLACE = tuple(
    _TURN.c[name] for name in ("id", "number", "granted", "fence", "expects", "subject", "named", "user_id", "lease_s")
)
_FIRST = Statement(select(*_PLACE).where(_OF_KEY).order_by(_TURN.c.number).limit(1))
_OWN = Statement(select(*_PLACE).where(_OF_KEY, _ID))
_END = Statement(
    select(func.max(_TURN.c.number, type_=BigInteger).label("last"), func.count().label("places"))
    .select_from(_TURN)
    .where(_OF_KEY)
)
_COUNT_BEFORE = Statement(
    select(func.count().label("places"))
    .select_from(_TURN)
    .where(_OF_KEY, _TURN.c.number < bindparam("number", type_=BigInteger))
)
_INSERT = Statement(insert(_TURN))
_GRANT = Statement(
    update(_TURN)
    .where(_ID)
    .values(
        granted=True,
        fence=bindparam("new_fence", type_=BigInteger),
        expects=bindparam("new_expects"),
        lease_s=bindparam("new_lease_s"),
        renewals=_TURN.c.renewals + 1,
    )
)
_ATTACH = Statement(update(_TURN).where(_ID).values(subject=bindparam("new_subject"), named=bindparam("new_named")))
_LEAVE = Statement(delete(_TURN).where(_ID, _TURN.c.subject.is_(None)))
_LEAVE_QUEUE = Statement(delete(_TURN).where(_OF_KEY, _ID, _TURN.c.subject.is_(None)))
_RELEASE = Statement(delete(_TURN).where(_TURN.c.subject == bindparam("of_subject")))
_GIVE_UP = Statement(
    delete(_TURN).where(
        _OF_KEY, _TURN.c.granted.is_(True), _TURN.c.subject.is_(None), _TURN.c.fence == bindparam("of_fence")
    )
)
_RENEW = Statement(
    update(_TURN)
    .where(any_of(_TURN.c.id, bindparam("ids", type_=IdList)), _TURN.c.granted.is_(False))
    .values(renewals=_TURN.c.renewals + 1)
)
_RENEW_TURN = Statement(
    update(_TURN).where(_ID, _TURN.c.granted.is_(True), _TURN.c.subject.is_(None)).values(renewals=_TURN.c.renewals + 1)
)
# Numbered once for the whole queue: counted for each place, many who wait for one thing would cost the square.
_PLACES = (
    select(
        _TURN.c.id,
        (func.row_number().over(partition_by=_TURN.c.key, order_by=_TURN.c.number) - 1).label("ahead"),
    )
    .where(
        _TURN.c.key.in_(select(_TURN.c.key).where(any_of(_TURN.c.id, bindparam("ids", type_=IdList))).scalar_subquery())
    )
    .subquery("places")
)
_AHEAD = Statement(select(_PLACES.c.id, _PLACES.c.ahead).where(any_of(_PLACES.c.id, bindparam("ids", type_=IdList))))
_HELD = Statement(
    select(_TURN.c.id, _TURN.c.renewals, _TURN.c.lease_s)
    .where(_TURN.c.subject.is_(None), _TURN.c.id > bindparam("after"))
    .order_by(_TURN.c.id)
    .limit(bindparam("limit", type_=BigInteger))
)
_END_QUEUES = Statement(
    delete(_TURN).where(any_of(_TURN.c.key, bindparam("keys", type_=IdList)), _TURN.c.subject.is_(None))
)
_TURN_KEY_OF = Statement(select(_TURN.c.key).where(_ID, _TURN.c.granted.is_(True)))
_LAPSE = Statement(
    delete(_TURN).where(_ID, _TURN.c.renewals == bindparam("seen", type_=BigInteger), _TURN.c.subject.is_(None))
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a queue.

    Attributes:
        ahead: places before it; with 0 it is its turn.
        fence: of the turn, where it has been granted before.
    """

    id: str
    ahead: int
    fence: int | None = None


def session_turn(session_id: str) -> str:
    """What updates of a session queue for."""
    return f"session/{session_id}"


def take_place(tx: WriteTx, key: str, place_id: str, *, user: str, lease_s: float) -> Place:
    """A place at the end of the queue, or the one that it has already.

    Args:
        place_id: a UUID; the same for repetitions of a request, which must not lose their place.
        lease_s: how long it outlives its last renewal.
    """
    own = tx.one(_OWN, of_key=key, place_id=place_id)
    if own is not None:
        tx.run(_RENEW, ids=[place_id])  # who asks again is there
        return Place(place_id, tx.one(_COUNT_BEFORE, of_key=key, number=own.number).places, own.fence)
    end = tx.one(_END, of_key=key)
    tx.run(
        _INSERT, id=place_id, key=key, number=(end.last or 0) + 1, user_id=user, granted=False,
        fence=None, expects=None, subject=None, named=False, lease_s=lease_s, renewals=0, created_at=tx.now,
    )  # fmt: skip
    return Place(place_id, end.places)


def grant(tx: WriteTx, place: Place, *, fence: int, lease_s: float, expects: str | None) -> None:
    """Give the first place its turn.

    Args:
        lease_s: how long it may be without a subject.
        expects: what its subject is to be about; see `attach_expected`.
    """
    tx.run(_GRANT, place_id=place.id, new_fence=fence, new_lease_s=lease_s, new_expects=expects)


def is_free(tx: ReadTx, key: str) -> bool:
    """Whether nobody has the turn, and nobody waits for it."""
    return tx.one(_FIRST, of_key=key) is None


def held_turn(tx: WriteTx, key: str, place_id: str) -> float | None:
    """The lease of a turn without a subject, which is renewed by this; None: the place does not have the turn."""
    holder = tx.one(_FIRST, of_key=key)
    if holder is None or holder.id != place_id or not holder.granted:
        return None
    tx.run(_RENEW_TURN, place_id=place_id)
    lease_s: float = holder.lease_s
    return lease_s


def renew_turns(tx: WriteTx, place_ids: list[str]) -> None:
    """Keep turns without subjects, for those who have them."""
    for place_id in place_ids:
        tx.run(_RENEW_TURN, place_id=place_id)


def attach(tx: WriteTx, key: str, subject: str, *, user: str, fence: int) -> None:
    """Use the turn of a fence for a subject; the first that names its fence has it, until it ends.

    What was taken for the subject before, without naming the fence, goes on without the turn. Where its end ended the
    turn, that is there again, before all who wait: the caller has made sure that the fence is that of what the key
    names, so nobody else has been granted a turn since.
    """
    first = tx.one(_FIRST, of_key=key)
    if first is not None and first.granted:
        if first.fence == fence and not (first.subject is not None and first.named):
            tx.run(_ATTACH, place_id=first.id, new_subject=subject, new_named=True)
        return
    tx.run(
        _INSERT, id=new_id(), key=key, number=1 if first is None else first.number - 1, user_id=user, granted=True,
        fence=fence, expects=None, subject=subject, named=True, lease_s=0, renewals=0, created_at=tx.now,
    )  # fmt: skip


def attach_expected(tx: WriteTx, key: str, subject: str, *, user: str, expects: str | None) -> None:
    """Use a turn for a subject that does not name its fence: one of this user, without subject, that expects it."""
    holder = tx.one(_FIRST, of_key=key)
    if holder is None or not holder.granted or holder.subject is not None:
        return
    if (holder.user_id, holder.expects) == (user, expects):
        tx.run(_ATTACH, place_id=holder.id, new_subject=subject, new_named=False)


def release(tx: WriteTx, subject: str) -> bool:
    """End the turn of a subject; whether it had one."""
    return tx.count(_RELEASE, of_subject=subject) > 0


def give_up(tx: WriteTx, key: str, fence: int) -> bool:
    """End the turn of a fence that nothing was begun with; whether there was one."""
    return tx.count(_GIVE_UP, of_key=key, of_fence=fence) > 0


def end_queues(tx: WriteTx, keys: list[str]) -> None:
    """End all places that nothing was begun with: what they wait for is no more. Who waits finds out and asks again."""
    tx.run(_END_QUEUES, keys=keys)


def leave_queue(tx: WriteTx, key: str, place_id: str) -> None:
    """As `leave`, of a place that only this queue may have: its id came from outside."""
    tx.run(_LEAVE_QUEUE, of_key=key, place_id=place_id)


def leave(tx: WriteTx, place_id: str) -> None:
    """Give up a place that nothing was begun with."""
    tx.run(_LEAVE, place_id=place_id)


def renew_places(tx: WriteTx, place_ids: list[str]) -> None:
    """Keep places that wait."""
    tx.run(_RENEW, ids=place_ids)


def places_ahead(tx: ReadTx, place_ids: list[str]) -> dict[str, int]:
    """How many are before each place; those that are lost are left out."""
    return {row.id: row.ahead for row in tx.all(_AHEAD, ids=place_ids)}


def held_places(tx: ReadTx, after: str, limit: int) -> list[Lease]:
    """Leases of places without a subject, by id."""
    return [Lease(row.id, row.renewals, row.lease_s) for row in tx.all(_HELD, after=after, limit=limit)]


def turn_key_of(tx: ReadTx, place_id: str) -> str | None:
    """What a place has the turn for; None: it has none, or is no more."""
    row = tx.one(_TURN_KEY_OF, place_id=place_id)
    return None if row is None else str(row.key)


def lapse(tx: WriteTx, lease: Lease) -> bool:
    """End a place whose lease has run out, unless it was renewed since; whether it was ended."""
    return tx.count(_LAPSE, place_id=lease.id, seen=lease.renewals) > 0
