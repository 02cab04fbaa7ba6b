"""Making, finding and ending threads."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sessioncast_server.db.transaction import ReadTx, Staged, WriteTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem, not_found, stale
from sessioncast_server.projects.service import get_project, is_project_id
from sessioncast_server.threads import statements
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Owned, Terms
from sessioncast_server.turns.service import end_queues, is_free
from sessioncast_shared.codes import Code
from sessioncast_shared.events import EventType, Kind

THREAD_TURNS = "thread"
"""How the names of their queues begin."""

_MANY = 10_000
_SEQ_END = 2**62


class ForeignThread(Problem):
    """404, as for what is not there: there is a thread of this id, but another user's.

    Attributes:
        name: what was asked for.
    """

    def __init__(self, name: Owned) -> None:
        super().__init__(404, Code.NOT_FOUND, not_found().detail)
        self.name = name


def turn_of(key: str) -> str:
    """What requests of a thread queue for."""
    return f"{THREAD_TURNS}/{key}"


def get_thread(tx: ReadTx, name: Owned) -> Thread:
    """A thread.

    Raises:
        ForeignThread: it is another user's only.
        Problem: 404.
    """
    row = tx.one(statements.GET, of_key=name.key)
    if row is None:
        raise _missing(tx, name)
    return Thread(*row)


def lock_thread(tx: WriteTx, name: Owned) -> Thread:
    """A thread, locked until the end of the transaction: what happens to a thread happens one after another.

    Raises:
        ForeignThread, Problem: as `get_thread`.
        LockTimeoutError: another transaction kept the lock for too long.
    """
    row = tx.locked(statements.LOCK, of_key=name.key)
    if row is None:
        raise _missing(tx, name)
    return Thread(*row)


def find_locked(tx: WriteTx, key: str) -> Thread | None:
    """A thread by its key, locked, where there is one."""
    row = tx.locked(statements.LOCK, of_key=key)
    return None if row is None else Thread(*row)


def open_thread(tx: WriteTx, name: Owned, terms: Terms, *, title: str | None = None) -> tuple[Thread, bool]:
    """A thread, locked, made when there is none; whether it was made now.

    Raises:
        Problem: 404, there is no such project.
        LockTimeoutError: another transaction kept the lock for too long.
    """
    row = tx.locked(statements.LOCK, of_key=name.key)
    if row is not None:
        return Thread(*row), False
    get_project(tx, name.project)
    made = Thread(name.key, name.id, name.project, name.user, title, 1, 0, 0, 1, tx.now, tx.now)
    if tx.change(statements.INSERT, **made.columns()) is None:  # somebody else has made it meanwhile
        return open_thread(tx, name, terms)
    tell(tx, EventType.THREAD_CREATED, made, terms)
    return made, True


def delete_thread(tx: WriteTx, name: Owned, terms: Terms, *, versions: frozenset[int] | None) -> None:
    """Delete a thread, at once: who has a run in it is told at its next write.

    Args:
        versions: those that the deletion may meet; None for any.

    Raises:
        Problem: as `lock_thread`; 412 when it has another version.
    """
    thread = lock_thread(tx, name)
    if versions is not None and thread.version not in versions:
        raise stale()
    remove(tx, thread, terms, reason="deleted")


def remove(tx: WriteTx, thread: Thread, terms: Terms, *, reason: str) -> None:
    """Delete a locked thread with all that was ever in it."""
    end_queues(tx, [turn_of(thread.key)])
    # All of them, whatever the thread's row says: this is the way out of a damaged one.
    tx.run(statements.REMOVE_CALLS_UPTO, of_key=thread.key, since=0, upto=_SEQ_END)
    tx.run(statements.REMOVE_UPTO, of_key=thread.key, since=0, upto=_SEQ_END)
    tx.run(statements.FORGET_ASIDE, of_key=thread.key)
    tx.run(statements.DELETE, of_key=thread.key)
    tell(tx, EventType.THREAD_DELETED, replace(thread, version=thread.version + 1), terms, reason=reason)


def remove_idle(tx: WriteTx, key: str, terms: Terms, *, before: datetime) -> bool:
    """Delete a thread that nothing was done with since then, unless something is going on in it; whether it went."""
    row = tx.locked(statements.LOCK, of_key=key)
    if row is None or row.last_activity_at >= before or not is_free(tx, turn_of(key)):
        return False
    remove(tx, Thread(*row), terms, reason="idle")
    return True


def idle_threads(tx: ReadTx, before: datetime, after: str, limit: int) -> list[str]:
    """Keys of threads that nothing was done with since `before`, in order, behind `after`. All are looked through."""
    return [row.key for row in tx.all(statements.IDLE, before=before, after=after, limit=limit)]


def list_threads(
    tx: ReadTx,
    project_id: str,
    *,
    limit: int,
    user: str | None = None,
    before: tuple[datetime, str] | None = None,
) -> list[Thread]:
    """At most `limit` threads, newest first, after the one with sort key `before`.

    Args:
        user: whose; None for everybody's.
    """
    params: dict[str, Any] = {} if user is None else {"user_id": user}
    if before is not None:
        params["before_at"], params["before_key"] = before
    statement = statements.page(frozenset(params.keys() - {"before_at"}))
    return [Thread(*row) for row in tx.all(statement, project_id=project_id, limit=limit, **params)]


def threads_of_ids(
    tx: ReadTx, project_id: str, ids: Iterable[str], *, user: str | None, limit: int = _MANY
) -> list[Thread]:
    """The threads with these ids of a user in a project; of all users for None."""
    wanted = list(ids)
    if not wanted:
        return []
    if user is None:
        rows = tx.all(statements.ALL_OF_IDS, project_id=project_id, ids=wanted, limit=limit)
    else:
        rows = tx.all(statements.OWN_OF_IDS, project_id=project_id, ids=wanted, user_id=user, limit=limit)
    return [Thread(*row) for row in rows]


def save(tx: WriteTx, thread: Thread) -> None:
    """Write what has become of a locked thread."""
    tx.run(
        statements.UPDATE,
        of_key=thread.key,
        new_version=thread.version,
        new_message_seq=thread.message_seq,
        new_message_count=thread.message_count,
        new_kept_from=thread.kept_from,
        new_last_activity_at=thread.last_activity_at,
    )


def tell(tx: WriteTx, type_: EventType, thread: Thread, terms: Terms, **more: Any) -> None:
    """Stage an event with the whole thread."""
    tx.emit(event(type_, thread, json_bytes({**thread.resource(terms.keep), **more}), at=tx.now))


def event(type_: EventType, thread: Thread, data: bytes, *, at: datetime) -> Staged:
    """An event of a thread: its owner's, and nobody else's."""
    return Staged(
        channel=thread.project_id,
        type=type_.value,
        kind=Kind.THREAD.value,
        at=at,
        data=data,
        thread_id=thread.id,
        owner=thread.user_id,
        version=thread.version,
    )


def shown(thread: Thread, keep: timedelta) -> bytes:
    """The thread as the resource's JSON."""
    return json_bytes(thread.resource(keep))


def _missing(tx: ReadTx, name: Owned) -> Problem:
    if not is_project_id(name.project):
        return not_found()  # not even asked for: PostgreSQL cannot be sent a NUL
    elsewhere = threads_of_ids(tx, name.project, [name.id], user=None, limit=1)
    return ForeignThread(name) if elsewhere else not_found()
