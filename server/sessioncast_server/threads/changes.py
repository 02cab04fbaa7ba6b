"""What requests change of threads: each a function in a transaction, with its answer."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem
from sessioncast_server.projects.service import project_exists, put_project
from sessioncast_server.threads.messages import append, clear, newest, pop, prune, set_aside
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.responder import Said
from sessioncast_server.threads.rules import Item, Owned, Terms
from sessioncast_server.threads.service import delete_thread, lock_thread, open_thread, shown
from sessioncast_server.threads.telling import Told, told
from sessioncast_server.threads.turn import begin_run, end_run, require_run, run_over, take_turn
from sessioncast_server.turns.queue import waiting_answer
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.etag import resource_etag
from sessioncast_shared.codes import Code


def create(tx: WriteTx, name: Owned, title: str | None, terms: Terms) -> Answer:
    """201, or 200 with the one that there is."""
    thread, made = open_thread(tx, name, terms, title=title)
    body = shown(thread, terms.keep)
    return Answer(201 if made else 200, body, {"ETag": resource_etag(thread.version, body)}, told(tx))


def create_chat(tx: WriteTx, name: Owned, title: str | None, terms: Terms, makes_project: bool) -> Answer:
    """As `create`; in the project that there always is, it is made."""
    _settle_project(tx, name.project, makes=makes_project)
    return create(tx, name, title, terms)


def remove(tx: WriteTx, name: Owned, versions: frozenset[int] | None, terms: Terms) -> Answer:
    """204."""
    delete_thread(tx, name, terms, versions=versions)
    return Answer(204, note=told(tx))


def add(tx: WriteTx, place_id: str, name: Owned, items: list[Item], run_id: str | None, terms: Terms) -> Answer:
    """201 with the messages."""
    thread, _ = open_thread(tx, name, terms)
    waiting = _turn(tx, thread, place_id, run_id, terms)
    if waiting is not None:
        return waiting
    thread, messages = append(tx, thread, items, terms)
    pruned = 0
    if run_id is None:
        thread, pruned = prune(tx, thread, terms)
    data = b",".join(message.resource(name) for message in messages)
    return Answer(201, b'{"data":[%s],"pruned":%d}' % (data, pruned), note=told(tx))


def take(tx: WriteTx, place_id: str, name: Owned, run_id: str | None, terms: Terms) -> Answer:
    """200 with the newest message, taken away."""
    thread = _lock(tx, name, run_id)
    waiting = _turn(tx, thread, place_id, run_id, terms)
    if waiting is not None:
        return waiting
    _, message = pop(tx, thread, terms)
    shown_message = b"null" if message is None else message.resource(name)
    return Answer(200, b'{"message":%s}' % shown_message, note=told(tx))


def empty(tx: WriteTx, place_id: str, name: Owned, run_id: str | None, terms: Terms) -> Answer:
    """200 with the thread, emptied."""
    thread = _lock(tx, name, run_id)
    waiting = _turn(tx, thread, place_id, run_id, terms)
    if waiting is not None:
        return waiting
    return Answer(200, shown(clear(tx, thread, terms), terms.keep), note=told(tx))


def begin(tx: WriteTx, place_id: str, name: Owned, lease_s: float, terms: Terms) -> Answer:
    """201 with the run."""
    thread, _ = open_thread(tx, name, terms)
    place = begin_run(tx, thread, place_id, terms, lease_s=lease_s)
    if place is not None:
        return waiting_answer(place)
    return Answer(201, _run(name, place_id, lease_s), note=told(tx))


def renew(tx: WriteTx, name: Owned, run_id: str) -> Answer:
    """200 with the run."""
    lease_s = require_run(tx, _lock(tx, name, run_id), run_id)
    return Answer(200, _run(name, run_id, lease_s), note=told(tx))


def end(tx: WriteTx, name: Owned, run_id: str, terms: Terms) -> Answer:
    """204, also when it was over, or the thread is no more."""
    try:
        thread = lock_thread(tx, name)
    except Problem:
        return Answer(204)
    end_run(tx, thread, run_id, terms)
    return Answer(204, note=told(tx))


def _lock(tx: WriteTx, name: Owned, run_id: str | None) -> Thread:
    """A thread, locked; who says it has a run in one that is no more has it no more."""
    try:
        return lock_thread(tx, name)
    except Problem:
        if run_id is None:
            raise
        raise run_over() from None


def _settle_project(tx: WriteTx, project_id: str, *, makes: bool) -> None:
    if makes and not project_exists(tx, project_id):
        put_project(tx, project_id)


def _turn(tx: WriteTx, thread: Thread, place_id: str, run_id: str | None, terms: Terms) -> Answer | None:
    if run_id is not None:
        require_run(tx, thread, run_id)
        return None
    place = take_turn(tx, thread, place_id, terms)
    return None if place is None else waiting_answer(place)


def _run(name: Owned, run_id: str, lease_s: float) -> bytes:
    resource: dict[str, Any] = {"id": run_id, "thread_id": name.id, "lease_s": lease_s}
    return json_bytes(resource)


@dataclass(frozen=True, slots=True)
class Asked:
    """A line of a chat that is to be answered, in a run that has begun.

    Attributes:
        run_id: the run that the answer belongs to.
        said: what was said before the line.
    """

    run_id: str
    said: list[Said]
    told: list[Told]


def ask(
    tx: WriteTx, place_id: str, name: Owned, line: Item, terms: Terms, lease_s: float, makes_project: bool
) -> Answer:
    """102 with what is to be answered: nobody is sent it, and it is not kept."""
    _settle_project(tx, name.project, makes=makes_project)
    thread, _ = open_thread(tx, name, terms)
    place = begin_run(tx, thread, place_id, terms, lease_s=lease_s)
    if place is not None:
        return waiting_answer(place)
    # A line that is there already was not answered then: what was said before it is what it is answered with.
    thread, (message,) = append(tx, thread, [line], terms)
    if message.parsed()["content"] != line.content:
        raise Problem(422, Code.KEY_REUSED, "This Idempotency-Key was used with another body.")
    reading = newest(tx, thread, terms.messages_max, terms.read_bytes, before=message.seq)
    while reading.corrupt:  # what belongs to them goes with them, and older ones come in their place
        thread = set_aside(tx, thread, reading.corrupt, terms)
        reading = newest(tx, thread, terms.messages_max, terms.read_bytes, before=message.seq)
    said = [
        Said(value["role"], value["content"], message.seq, datetime.fromisoformat(value["created_at"]))
        for message in reading.messages
        for value in (message.parsed(),)
    ]
    return Answer(102, note=Asked(place_id, said, told(tx)))


def abandon(tx: WriteTx, run_id: str, name: Owned, terms: Terms) -> list[Told]:
    """End a run that no answer came of; what it made too many goes."""
    try:
        thread = lock_thread(tx, name)
    except Problem:
        return []  # the thread is no more, and the run with it
    end_run(tx, thread, run_id, terms)
    return told(tx)


def reply(tx: WriteTx, name: Owned, run_id: str, line: Item, terms: Terms) -> Answer:
    """200 with the answer, which is in the thread now; the run is over."""
    thread = _lock(tx, name, run_id)
    require_run(tx, thread, run_id)
    # The one that there is where it was answered before under another form of the same request.
    thread, (message,) = append(tx, thread, [line], terms)
    end_run(tx, thread, run_id, terms)
    return Answer(200, json_bytes({"content": message.parsed()["content"]}), note=told(tx))
