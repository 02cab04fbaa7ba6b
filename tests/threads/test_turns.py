"""Threads and their runs among those of others, by plain transactions."""

import asyncio

import pytest

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.threads import changes
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Owned
from sessioncast_server.threads.service import list_threads
from sessioncast_server.turns.service import grant, held_turn, places_ahead, session_turn, take_place
from sessioncast_shared.filters import Filter
from support.store import PROJECT, Store
from support.threads import new_uuid, terms


async def test_a_sessions_turn_is_nobodys_run(store: Store) -> None:
    """The id of a session's turn, or of a place behind it, neither ends nor renews it through a thread."""
    name, key = Owned(PROJECT, "ann", new_uuid()), session_turn(new_uuid())
    turn, place = new_uuid(), new_uuid()

    def play(tx: WriteTx) -> None:
        grant(tx, take_place(tx, key, turn, user="ann", lease_s=5), fence=1, lease_s=5, expects=None)
        take_place(tx, key, place, user="ann", lease_s=5)
        changes.create(tx, name, None, terms())
        for id_ in (turn, place):
            assert changes.end(tx, name, id_, terms()).status == 204
            with pytest.raises(Problem) as caught:
                changes.renew(tx, name, id_)
            assert caught.value.code == "fenced"
            with pytest.raises(Problem) as caught:
                changes.take(tx, new_uuid(), name, id_, terms())
            assert caught.value.code == "fenced"
        assert places_ahead(tx, [turn, place]) == {turn: 0, place: 1}
        assert held_turn(tx, key, turn) == 5

    await store.database.write(play)


async def test_who_waits_has_no_run(store: Store) -> None:
    """A place that waits is no run: it can neither be renewed nor written with, and to end it ends nobody else's."""
    name = Owned(PROJECT, "ann", new_uuid())
    run, place = new_uuid(), new_uuid()

    def play(tx: WriteTx) -> None:
        assert changes.begin(tx, run, name, 60, terms()).status == 201
        waiting = changes.begin(tx, place, name, 60, terms())
        assert (waiting.status, waiting.note.ahead) == (409, 1)
        with pytest.raises(Problem) as caught:
            changes.renew(tx, name, place)
        assert caught.value.code == "fenced"
        assert changes.begin(tx, run, name, 60, terms()).status == 201  # asked again, it is the same
        changes.end(tx, name, place, terms())
        assert changes.renew(tx, name, run).status == 200
        assert places_ahead(tx, [run, place]) == {run: 0}

    await store.database.write(play)


async def test_requests_are_taken_in_order(store: Store) -> None:
    """Places are had in the order of asking; who asks again keeps his; a request's own turn ends with it."""
    name = Owned(PROJECT, "ann", new_uuid())
    run, first, second = new_uuid(), new_uuid(), new_uuid()

    def take(tx: WriteTx, place: str) -> int:
        answer = changes.take(tx, place, name, None, terms())
        return 0 if answer.status == 200 else int(answer.note.ahead)

    def play(tx: WriteTx) -> None:
        changes.begin(tx, run, name, 60, terms())
        assert [take(tx, place) for place in (first, second, first)] == [1, 2, 1]
        changes.end(tx, name, run, terms())
        assert [take(tx, second), take(tx, new_uuid())] == [1, 2]
        assert take(tx, first) == 0
        assert take(tx, second) == 0

    await store.database.write(play)


async def test_made_at_once_it_is_made_once(store: Store) -> None:
    """Of many who make one thread at the same time one makes it, and all have the same; nothing is told twice."""
    for _ in range(5):
        name = Owned(PROJECT, "ann", new_uuid())
        writes = [store.database.write(changes.create, name, None, terms()) for _ in range(8)]
        answers = [written.value for written in await asyncio.gather(*writes)]
        assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
        assert len({answer.body for answer in answers}) == 1
        entries = await store.entries(Audience(Filter(threads=(name.id,)), owner="ann"))
        assert len(entries) == 1


async def test_threads_of_one_moment_have_pages(store: Store) -> None:
    """Threads made at the same time, some of one id, are each on one page, in one order."""
    id_ = new_uuid()

    def make(tx: WriteTx) -> None:
        for user in ("ann", "bob", "eve"):
            for thread_id in (id_, new_uuid()):
                changes.create(tx, Owned(PROJECT, user, thread_id), None, terms())

    def pages(tx: ReadTx, user: str | None) -> list[Owned]:
        found: list[Thread] = []
        before = None
        while page := list_threads(tx, PROJECT, limit=2, user=user, before=before):
            found += page
            before = (page[-1].created_at, page[-1].key)
        assert len({thread.created_at for thread in found}) == 1
        assert found == list_threads(tx, PROJECT, limit=99, user=user)
        return [thread.name for thread in found]

    await store.database.write(make)
    everybody = await store.database.read(pages, None)
    assert len(set(everybody)) == len(everybody) == 6
    for user in ("ann", "bob", "eve"):
        own = await store.database.read(pages, user)
        assert own == [name for name in everybody if name.user == user]
        assert len(own) == 2
