"""Reading and changing flags, in the transaction that acts on them.

Why a change to «on» can be relied on. Whoever asked for it goes on to settle what was done while the flag was off, so
no transaction that still acts on «off» may commit after it. Now «off» is only ever acted on by who read it while
holding the flag's row FOR SHARE, until its own COMMIT; and a change keeps the table in EXCLUSIVE mode, until its own.
These two exclude each other. So each transaction that acts on «off» either committed before the change got its lock,
and what it did is there to be settled; or it got its row after the change committed, and the second reading, a
statement with a snapshot of its own, finds «on».

A row that is not there cannot be locked. It need not be: without a row a flag is on, and rows are never deleted, so
«off» is always read from a row. Acting on «on» takes no lock: who did so while the flag went off only did what the
stricter rule asks for. On SQLite transaction follows transaction, and there is nothing to lock.

Why the table and not the row. A row that is held FOR SHARE is given to the next who asks for the same, past a change
that waits for it: of eight writers that kept reading «off» one always had it, and the change took 4.7 s, or its time
was up. Table locks are given in order of arrival (FOR SHARE takes the table in ROW SHARE mode, which EXCLUSIVE
excludes): 0.02 s. Plain readings take neither, and two first changes of a flag cannot both insert its row.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, select

from sessioncast_server.db.errors import LockTimeoutError
from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime
from sessioncast_server.flags.rules import SHIPPED, Flag, FlagState, is_on
from sessioncast_server.flags.tables import FlagRow

_FLAG = FlagRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_COLUMNS = (_FLAG.c.name, _FLAG.c.percentage, _FLAG.c.updated_at, _FLAG.c.updated_by)
_GET = Statement(select(*_COLUMNS).where(_FLAG.c.name == bindparam("name")))
_PERCENTAGE = Statement(select(_FLAG.c.percentage).where(_FLAG.c.name == bindparam("name")))
_SHARE = Statement(select(_FLAG.c.name).where(_FLAG.c.name == bindparam("name")).with_for_update(read=True))
_ALL = Statement(select(*_COLUMNS).order_by(_FLAG.c.name))
_LOCK = Text(postgresql="LOCK TABLE flag IN EXCLUSIVE MODE")
_PUT_SQL = """
INSERT INTO flag (name, percentage, updated_at, updated_by) VALUES ({0})
ON CONFLICT (name) DO UPDATE SET
    percentage = excluded.percentage, updated_at = excluded.updated_at, updated_by = excluded.updated_by
"""
_PUT = Text(
    sqlite=_PUT_SQL.format(":name, :percentage, :updated_at, :updated_by"),
    postgresql=_PUT_SQL.format("%(name)s, %(percentage)s, %(updated_at)s, %(updated_by)s"),
    types={"updated_at": UtcTime()},
)


def enabled(tx: WriteTx, flag: Flag, project_id: str) -> bool:
    """Whether a flag is on for a project: one statement when it is. «Off» is true until the transaction ends.

    While a change waits, others who read «off» wait behind it: ask at the same place of the lock order everywhere.

    Raises:
        LockTimeoutError: a change of a flag is under way for too long.
    """
    return ask_enabled(tx, flag, project_id)()


def ask_enabled(tx: WriteTx, flag: Flag, project_id: str) -> Callable[[], bool]:
    """As `enabled`, to look at later."""
    asked = tx.ask(_PERCENTAGE, name=flag.value)

    def look() -> bool:
        if _is_on(asked.one(), flag, project_id):
            return True
        if tx.serial:
            return False
        try:
            tx.lock(_SHARE, name=flag.value)
        except LockTimeoutError as error:
            raise LockTimeoutError(str(error), of="else") from error
        return _is_on(tx.one(_PERCENTAGE, name=flag.value), flag, project_id)

    return look


def lock_flags(tx: WriteTx) -> None:
    """Wait for all who act on a flag that is off, and keep others from it until the end of the transaction.

    Raises:
        LockTimeoutError: one of them, or another change, took too long.
    """
    if tx.serial:
        return
    try:
        tx.count(_LOCK)
    except LockTimeoutError as error:
        raise LockTimeoutError(str(error), of="else") from error


def put_flag(tx: WriteTx, flag: Flag, percentage: float, user: str) -> FlagState:
    """Set the share of projects, 0 to 100, that a flag is on for. What is so already is not written again.

    Raises:
        LockTimeoutError: as `lock_flags`.
    """
    lock_flags(tx)
    before = get_flag(tx, flag)
    if before.percentage == percentage:
        return before
    now = tx.now
    if before.updated_at is not None:
        # Transactions begin in another order than they get the lock; the time is the version, and must rise.
        now = max(now, before.updated_at + timedelta(microseconds=1))
    tx.run(_PUT, name=flag.value, percentage=percentage, updated_at=now, updated_by=user)
    return FlagState(flag, percentage, now, user)


def get_flag(tx: ReadTx, flag: Flag) -> FlagState:
    """How a flag is set."""
    row = tx.one(_GET, name=flag.value)
    return FlagState(flag, SHIPPED) if row is None else _state(flag, row)


def all_flags(tx: ReadTx) -> list[FlagState]:
    """How every flag is set, by name. Rows that only another release knows of are left out."""
    rows = {row.name: row for row in tx.all(_ALL)}
    return [
        _state(flag, rows[flag.value]) if flag.value in rows else FlagState(flag, SHIPPED)
        for flag in sorted(Flag, key=lambda flag: flag.value)
    ]


def _state(flag: Flag, row: Any) -> FlagState:
    return FlagState(flag, row.percentage, row.updated_at, row.updated_by)


def _is_on(row: Any, flag: Flag, project_id: str) -> bool:
    return is_on(flag, SHIPPED if row is None else row.percentage, project_id)
