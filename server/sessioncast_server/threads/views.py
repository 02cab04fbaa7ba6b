"""Threads and messages as reads show them."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.ids import new_id
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.exchange.reader import View, list_view, resource_view
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.projects.service import get_project
from sessioncast_server.threads.messages import after, newest
from sessioncast_server.threads.rules import Owned, Terms, expires_at
from sessioncast_server.threads.service import get_thread, list_threads, shown
from sessioncast_server.web.cursor import encode
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter

Suspect = Callable[[Owned, list[int]], None]
"""Hears of messages that are not what was written."""

_SEQ_END = 2**62


def new_thread_id() -> str:
    """An id for a thread whose maker names none."""
    return new_id()


def show_threads(
    tx: ReadTx, project_id: str, user: str | None, limit: int, before: tuple[datetime, str] | None, keep: timedelta
) -> View:
    """A page of threads; `user` None: everybody's."""
    get_project(tx, project_id)
    threads = list_threads(tx, project_id, limit=limit + 1, user=user, before=before)

    def body() -> bytes:
        following = None
        if len(threads) > limit:
            # Ids are not unique among users: the key is.
            following = encode([threads[limit - 1].created_at.isoformat(), threads[limit - 1].key])
        return json_bytes({"data": [thread.resource(keep) for thread in threads[:limit]], "next": following})

    return list_view(tx, project_id, Audience(Filter(kinds=(Kind.THREAD.value,)), threads=True, owner=user), body)


def show_thread(tx: ReadTx, name: Owned, keep: timedelta) -> View:
    """A thread."""
    get_project(tx, name.project)
    thread = get_thread(tx, name)
    return resource_view(name.project, thread.version, shown(thread, keep))


def show_stats(tx: ReadTx, name: Owned, keep: timedelta) -> View:
    """How large and how old a thread is."""
    get_project(tx, name.project)
    thread = get_thread(tx, name)
    stats = {
        "count": thread.message_count,
        "age_s": max(0.0, (tx.now - thread.created_at).total_seconds()),
        "last_activity_at": thread.last_activity_at,
        "expires_at": expires_at(thread.last_activity_at, keep),
    }
    return resource_view(name.project, thread.version, json_bytes(stats))


def show_messages(
    tx: ReadTx, name: Owned, seq: int | None, limit: int, newest_first: bool, size: int, suspect: Suspect
) -> View:
    """A page of messages, from a `seq` on."""
    get_project(tx, name.project)
    thread = get_thread(tx, name)
    if newest_first:
        reading = newest(tx, thread, limit, size, before=_SEQ_END if seq is None else seq)
    else:
        reading = after(tx, thread, seq or 0, limit, size)
    suspect(name, list(reading.corrupt))

    def body() -> bytes:
        messages = reading.messages[::-1] if newest_first else reading.messages
        data = b",".join(message.resource(name) for message in messages)
        following = b'"%d"' % reading.last(newest_first=newest_first) if reading.more else b"null"
        return b'{"data":[%s],"next":%s}' % (data, following)

    return list_view(tx, name.project, Audience(Filter(threads=(name.id,)), owner=name.user), body)


def show_chat(tx: ReadTx, name: Owned, terms: Terms, suspect: Suspect) -> View:
    """A thread with its newest messages."""
    get_project(tx, name.project)
    thread = get_thread(tx, name)
    reading = newest(tx, thread, terms.messages_max, terms.read_bytes)
    suspect(name, list(reading.corrupt))
    data = b",".join(message.resource(name) for message in reading.messages)
    body = b'%s,"messages":[%s]}' % (shown(thread, terms.keep)[:-1], data)
    return resource_view(name.project, thread.version, body)
