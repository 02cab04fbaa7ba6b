"""Whose turn a thread is: requests one after another in order of arrival, runs for as long as they last."""

from dataclasses import dataclass

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.threads.messages import prune
from sessioncast_server.threads.record import Thread
from sessioncast_server.threads.rules import Terms
from sessioncast_server.threads.service import THREAD_TURNS, find_locked, turn_of
from sessioncast_server.threads.telling import Told, told
from sessioncast_server.turns.rules import Lease
from sessioncast_server.turns.service import (
    Place,
    grant,
    held_turn,
    is_free,
    lapse,
    leave,
    leave_queue,
    take_place,
    turn_key_of,
)
from sessioncast_shared.codes import Code


def take_turn(tx: WriteTx, thread: Thread, place_id: str, terms: Terms) -> Place | None:
    """A turn of a locked thread that ends with this transaction, or the place in the queue before it."""
    key = turn_of(thread.key)
    if is_free(tx, key):
        return None
    place = take_place(tx, key, place_id, user=thread.user_id, lease_s=terms.waiter_lease_s)
    if place.ahead:
        return place
    leave(tx, place_id)
    return None


def begin_run(tx: WriteTx, thread: Thread, place_id: str, terms: Terms, *, lease_s: float) -> Place | None:
    """A turn of a locked thread that lasts until it is ended, by the id of its place; or the place in the queue.

    Args:
        lease_s: how long it lasts without being renewed.
    """
    place = take_place(tx, turn_of(thread.key), place_id, user=thread.user_id, lease_s=terms.waiter_lease_s)
    if place.ahead:
        return place
    # Nothing is fenced by a number here: the place itself is what a holder has to name.
    grant(tx, place, fence=0, lease_s=lease_s, expects=None)
    return None


def require_run(tx: WriteTx, thread: Thread, run_id: str) -> float:
    """Go on only in this run, and renew it; seconds of its lease.

    Raises:
        Problem: 409 `fenced`: it is over.
    """
    lease_s = held_turn(tx, turn_of(thread.key), run_id)
    if lease_s is None:
        raise run_over()
    return lease_s


def end_run(tx: WriteTx, thread: Thread, run_id: str, terms: Terms) -> Thread:
    """A locked thread without what its run made too many. Nothing is pruned where the run was over before."""
    key = turn_of(thread.key)
    if held_turn(tx, key, run_id) is not None:
        thread, _ = prune(tx, thread, terms)
    leave_queue(tx, key, run_id)
    return thread


@dataclass(frozen=True, slots=True)
class Lapsed:
    """What became of a place whose lease has run out. True if it was ended.

    Attributes:
        told: of the thread that it was a run of.
    """

    ended: bool
    told: list[Told]

    def __bool__(self) -> bool:
        return self.ended


def lapse_place(tx: WriteTx, lease: Lease, terms: Terms) -> Lapsed:
    """End a place whose lease has run out, of whatever queue.

    Where it was a run of a thread, what that made too many goes now, for nobody else will end it.
    """
    kind, _, thread_key = (turn_key_of(tx, lease.id) or "").partition("/")
    thread = find_locked(tx, thread_key) if kind == THREAD_TURNS else None
    ended = lapse(tx, lease)
    if ended and thread is not None:
        prune(tx, thread, terms)
    return Lapsed(ended, told(tx))


def run_over() -> Problem:
    """409: who says it has the thread has it no more."""
    return Problem(409, Code.FENCED, "This run is over: it was ended, its lease ran out, or the thread was deleted.")
