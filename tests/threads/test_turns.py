"""Runs of threads among the turns of others, by plain transactions."""

import pytest

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.threads import changes
from sessioncast_server.threads.rules import Owned
from sessioncast_server.turns.service import grant, held_turn, places_ahead, session_turn, take_place
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
