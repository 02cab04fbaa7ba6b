"""What is in a thread: appending, taking away, reading, and setting aside what is not what was written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.threads import statements
from sessioncast_server.threads.record import Message, Reading, Thread
from sessioncast_server.threads.rules import Item, Terms, intact, joined, ranges
from sessioncast_server.threads.service import event, save, tell
from sessioncast_shared.events import EventType

_SEQ_END = 2**62
_ROWS = 50  # fetched at a time: each may hold a megabyte


def append(tx: WriteTx, thread: Thread, items: Sequence[Item], terms: Terms) -> tuple[Thread, list[Message]]:
    """A locked thread with new messages, and these.

    An item whose id is there already is not appended again: the message that there is stands for it.
    """
    thread, known = _known(tx, thread, items, terms)
    messages: list[Message] = []
    rows: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    at = max(tx.now, thread.last_activity_at)
    for item in items:
        if item.id is not None and item.id in known:
            messages.append(known[item.id])
            continue
        id_ = item.id or new_id()
        thread = replace(
            thread,
            version=thread.version + 1,
            message_seq=thread.message_seq + 1,
            message_count=thread.message_count + 1,
            last_activity_at=at,
        )
        message = Message.of(item, key=thread.key, seq=thread.message_seq, id_=id_, at=at)
        messages.append(message)
        if item.id is not None:
            known[item.id] = message
        rows.append(message.columns(item, id_))
        calls += message.calls(item)
        _tell_message(tx, EventType.MESSAGE_CREATED, thread, message, terms)
    if rows:
        tx.many(statements.ADD, rows)
        if calls:
            tx.many(statements.ADD_CALL, calls)
        save(tx, thread)
    return thread, messages


def prune(tx: WriteTx, thread: Thread, terms: Terms) -> tuple[Thread, int]:
    """A locked thread without what is over its limit, and how many went.

    The oldest go, and with each all that belongs to it: a call without what came of it, or the other way round, is
    refused by providers.
    """
    excess = thread.message_count - terms.messages_max
    if excess <= 0:
        return thread, 0
    cut = tx.one(statements.CUT, of_key=thread.key, kept_from=thread.kept_from, skip=excess - 1)
    if cut is None:  # fewer are there than were counted
        return thread, 0
    later = _units(tx, thread, _led(tx, thread, cut), cut=cut.seq)
    first = thread.kept_from
    count = tx.count(statements.REMOVE_UPTO, of_key=thread.key, since=thread.kept_from, upto=cut.seq)
    tx.run(statements.REMOVE_CALLS_UPTO, of_key=thread.key, since=thread.kept_from, upto=cut.seq)
    count += _remove(tx, thread, later)
    thread = replace(
        thread, version=thread.version + 1, message_count=max(0, thread.message_count - count), kept_from=cut.seq + 1
    )
    save(tx, thread)
    gone = [[first, cut.seq], *ranges(later)]
    tell(tx, EventType.THREAD_PRUNED, thread, terms, removed=gone, count=count, reason="limit")
    return thread, count


def clear(tx: WriteTx, thread: Thread, terms: Terms) -> Thread:
    """A locked thread without its messages."""
    if thread.message_count == 0:
        return thread
    count = tx.count(statements.REMOVE_UPTO, of_key=thread.key, since=thread.kept_from, upto=thread.message_seq)
    tx.run(statements.REMOVE_CALLS_UPTO, of_key=thread.key, since=thread.kept_from, upto=thread.message_seq)
    gone = [[thread.kept_from, thread.message_seq]]
    thread = replace(
        thread,
        version=thread.version + 1,
        message_count=0,
        kept_from=thread.message_seq + 1,
        last_activity_at=max(tx.now, thread.last_activity_at),
    )
    save(tx, thread)
    tell(tx, EventType.THREAD_PRUNED, thread, terms, removed=gone, count=count, reason="cleared")
    return thread


def pop(tx: WriteTx, thread: Thread, terms: Terms) -> tuple[Thread, Message | None]:
    """A locked thread without its newest message, and that; one that is not what was written is set aside."""
    while True:
        rows = tx.all(statements.READ_DOWN, of_key=thread.key, before=_SEQ_END, kept_from=thread.kept_from, limit=1)
        if not rows:
            return thread, None
        row = rows[0]
        if intact(thread.key, row.seq, row.body, row.checksum):
            break
        thread = set_aside(tx, thread, [row.seq], terms)
    message = Message(thread.key, row.seq, row.body)
    _remove(tx, thread, [row.seq])
    thread = replace(
        thread,
        version=thread.version + 1,
        message_count=max(0, thread.message_count - 1),
        last_activity_at=max(tx.now, thread.last_activity_at),
    )
    save(tx, thread)
    _tell_message(tx, EventType.MESSAGE_POPPED, thread, message, terms)
    return thread, message


def newest(tx: ReadTx, thread: Thread, limit: int, size: int, *, before: int = _SEQ_END) -> Reading:
    """The newest messages before a `seq`, at most so many of them and about so many bytes, at least one."""

    def page(rows: list[Any], count: int) -> list[Any]:
        end = rows[-1].seq if rows else before
        return tx.all(statements.READ_DOWN, of_key=thread.key, before=end, kept_from=thread.kept_from, limit=count)

    rows, more = _rows(page, limit, size)
    return _reading(thread, rows[::-1], more=more)


def after(tx: ReadTx, thread: Thread, seq: int, limit: int, size: int) -> Reading:
    """The oldest messages after a `seq`, at most so many of them and about so many bytes, at least one."""

    def page(rows: list[Any], count: int) -> list[Any]:
        start = rows[-1].seq if rows else max(seq, thread.kept_from - 1)
        return tx.all(statements.READ_UP, of_key=thread.key, after=start, limit=count)

    rows, more = _rows(page, limit, size)
    return _reading(thread, rows, more=more)


def set_aside(tx: WriteTx, thread: Thread, seqs: Sequence[int], terms: Terms) -> Thread:
    """A locked thread without those of these messages that are not what was written, and what belongs to them.

    They are kept apart, as they were found: a call without what came of it would end the thread as well.
    """
    corrupt = set()
    for seq in seqs:
        row = tx.one(statements.BY_SEQ, of_key=thread.key, of_seq=seq)
        if row is not None and not intact(thread.key, seq, row.body, row.checksum):
            corrupt |= {seq, *_led(tx, thread, row)}
    if not corrupt:
        return thread
    gone = sorted(_units(tx, thread, corrupt))
    for seq in gone:
        row = tx.one(statements.BY_SEQ, of_key=thread.key, of_seq=seq)
        tx.run(
            statements.SET_ASIDE,
            id=new_id(),
            thread_key=thread.key,
            project_id=thread.project_id,
            thread_id=thread.id,
            user_id=thread.user_id,
            seq=seq,
            body=row.body,
            found_at=tx.now,
        )
    _remove(tx, thread, gone)
    thread = replace(thread, version=thread.version + 1, message_count=max(0, thread.message_count - len(gone)))
    save(tx, thread)
    tell(tx, EventType.THREAD_QUARANTINED, thread, terms, removed=ranges(gone), count=len(gone), reason="corrupt")
    return thread


def _rows(page: Callable[[list[Any], int], list[Any]], limit: int, size: int) -> tuple[list[Any], bool]:
    """Rows up to a bound in number or in bytes, and whether there are more. A few are fetched at a time.

    Args:
        page: reads at most so many rows behind those there are.
    """
    rows: list[Any] = []
    held = 0
    while True:
        wanted = min(_ROWS, limit + 1 - len(rows))
        found = page(rows, wanted)
        for row in found:
            if len(rows) == limit or (held >= size and rows):
                return rows, True
            held += len(row.body)
            rows.append(row)
        if len(found) < wanted:
            return rows, False


def _known(tx: WriteTx, thread: Thread, items: Sequence[Item], terms: Terms) -> tuple[Thread, dict[str, Message]]:
    ids = [item.id for item in items if item.id is not None]
    rows = tx.all(statements.BY_IDS, of_key=thread.key, ids=ids) if ids else []
    corrupt = [row.seq for row in rows if not intact(thread.key, row.seq, row.body, row.checksum)]
    if corrupt:
        thread = set_aside(tx, thread, corrupt, terms)
        rows = tx.all(statements.BY_IDS, of_key=thread.key, ids=ids)  # others may have gone with them
    return thread, {row.id: Message(thread.key, row.seq, row.body) for row in rows}


def _led(tx: WriteTx, thread: Thread, row: Any) -> set[int]:
    """What a message that goes leads to, and what that leads to."""
    led = set()
    while row is not None and row.leads:
        row = tx.one(statements.AFTER, of_key=thread.key, after=row.seq)
        if row is not None:
            led.add(row.seq)
    return led


def _units(tx: WriteTx, thread: Thread, lost: set[int], *, cut: int = 0) -> set[int]:
    """Messages after `cut` that go with these, and with all up to it: one is worth nothing without the other."""
    found = tx.all(statements.CALLS_AFTER, of_key=thread.key, cut=cut)
    calls = [(row.seq, row.call) for row in found]
    gone = joined(calls, lost, {row.call for row in found if row.lost})
    for seq in tuple(gone):
        row = tx.one(statements.BEFORE, of_key=thread.key, before=seq)
        while row is not None and row.leads and row.seq > cut and row.seq not in gone:
            gone.add(row.seq)
            row = tx.one(statements.BEFORE, of_key=thread.key, before=row.seq)
    return gone


def _remove(tx: WriteTx, thread: Thread, seqs: Sequence[int] | set[int]) -> int:
    count = 0
    for seq in sorted(seqs):
        tx.run(statements.REMOVE_CALLS, of_key=thread.key, of_seq=seq)
        count += tx.count(statements.REMOVE, of_key=thread.key, of_seq=seq)
    return count


def _reading(thread: Thread, rows: Sequence[Any], *, more: bool) -> Reading:
    messages, corrupt = [], []
    for row in rows:
        if intact(thread.key, row.seq, row.body, row.checksum):
            messages.append(Message(thread.key, row.seq, row.body))
        else:
            corrupt.append(row.seq)
    return Reading(messages, corrupt, more)


def _tell_message(tx: WriteTx, type_: EventType, thread: Thread, message: Message, terms: Terms) -> None:
    data = b'%s,"thread":%s}' % (message.resource(thread.name)[:-1], json_bytes(thread.resource(terms.keep)))
    tx.emit(event(type_, thread, data, at=tx.now))
