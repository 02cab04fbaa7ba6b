"""Runs over HTTP: a stretch of work has its thread to itself."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from support.api import problem
from support.chains import Chain, each
from support.threads import AFAR, READ_ALL, Chat, new_uuid, said
from support.waiting import wait_until

BUSY = "This session is currently being modified. Please try again later."
BAD = [
    *each("wait_s", -1, 60.001, "1", True, [], {}),
    *each("lease_s", 0, 0.999, -1, 3600.1, "60", True, [], {}),
    *each("id", AFAR),
    *each("run", AFAR),
    *each("unknown", 1),
]


@contextmanager
def meanwhile(chat: Chat, *, run: str, what: str, **body: Any) -> Iterator[Future[httpx2.Response]]:
    """A request of a thread that waits behind a run, seen to wait."""
    with ThreadPoolExecutor(1) as pool:
        future: Future[httpx2.Response] = pool.submit(chat.post, what, **body)
        try:
            # The queue tells how many are before: one more than the run means that ours has its place.
            wait_until(lambda: ahead(chat) >= 2, "the request to wait")
            yield future
        finally:
            if not future.done():
                chat.end(run)


def ahead(chat: Chat) -> int:
    """How many are before somebody who comes now and does not wait."""
    answer = chat.post("pop", wait_s=0)
    if answer.status_code == 200:
        return 0
    return int(problem(answer, 409, "session_being_modified")["ahead"])


def test_a_run_is_begun_renewed_and_ended(chat: Chat) -> None:
    """201 with its id and lease, and its thread is there; a renewal shows the same; ended twice it is 204 twice."""
    run = chat.api.ok(chat.post("runs", lease_s=3.5), 201)
    assert run == {"id": run["id"], "thread_id": chat.id, "lease_s": 3.5}
    assert chat.get()["message_count"] == 0
    assert chat.api.ok(chat.renew(run["id"]), 200) == run
    chat.end(run["id"])
    chat.end(run["id"])
    problem(chat.renew(run["id"]), 409, "fenced")


def test_a_lease_is_a_minute_unless_it_is_said(chat: Chat) -> None:
    """Without `lease_s` a run lives 60 s without a sign of its holder; one second and an hour are the bounds."""
    for body, lease_s in (({}, 60), ({"lease_s": None}, 60), ({"lease_s": 1}, 1), ({"lease_s": 3600}, 3600)):
        run = chat.api.ok(chat.post("runs", **body), 201)
        assert run["lease_s"] == lease_s
        chat.end(run["id"])


def test_bad_fields_are_named(chat: Chat) -> None:
    """What a run cannot have is 422 that names the field, and none is begun."""
    for bad in BAD:
        found = problem(chat.post("runs", **bad), 422, "invalid")
        assert found["errors"][0]["field"] == next(iter(bad)), bad
    problem(chat.api.get(chat.path), 404, "not_found")
    run = chat.run()
    assert problem(chat.api.patch(f"{chat.path}/runs/{run}", {"lease_s": 5}), 422, "invalid")["errors"]
    chat.end(run)


def test_others_wait_and_are_told(chat: Chat) -> None:
    """While a run lasts, what does not belong to it waits as long as it says, then is 409 with how many are before."""
    one = new_uuid()
    with chat.running() as run:
        for answer in (
            chat.append(said("no"), wait_s=0), chat.append(said("no"), wait_s=0.05), chat.post("pop", wait_s=0),
            chat.post("clear", wait_s=0), chat.post("runs", wait_s=0),
        ):  # fmt: skip
            found = problem(answer, 409, "session_being_modified")
            assert (found["ahead"], found["detail"], found["retryable"]) == (1, BUSY, True)
            assert answer.headers["retry-after"] == "1"
        chat.api.ok(chat.append([{"role": "user", "content": "yes", "id": one}], run=run), 201)
        problem(chat.append([{"role": "user", "content": "yes", "id": one}], wait_s=0), 409, "session_being_modified")
    assert chat.contents() == ["yes"]
    assert ahead(chat) == 0


def test_reads_do_not_wait(chat: Chat) -> None:
    """While a run lasts, everybody reads what it has written so far."""
    with chat.running() as run:
        chat.appended("one", run=run)
        assert chat.contents() == ["one"]
        assert chat.get()["message_count"] == 1
        assert chat.api.ok(chat.create(), 200)["message_count"] == 1


def test_other_threads_do_not_wait(chat: Chat) -> None:
    """A run holds up neither another thread of the user nor another user's thread of the same id."""
    with chat.running():
        chat.beside().appended("one")
        chat.acting(sub="bob").appended("two")


def test_who_waits_goes_on(chat: Chat) -> None:
    """A request that waits is answered as soon as the run ends, with what the run has left."""
    run = chat.run()
    chat.appended("from the run", run=run)
    with meanwhile(chat, run=run, what="pop", wait_s=60) as waiting:
        chat.end(run)
        assert chat.api.ok(waiting.result(), 200)["message"]["content"] == "from the run"


def test_runs_follow_each_other(chat: Chat) -> None:
    """A run that waits begins when the one before ends; then that one's writes are its own only."""
    first = chat.run()
    with meanwhile(chat, run=first, what="runs", wait_s=60) as waiting:
        chat.end(first)
        second = chat.api.ok(waiting.result(), 201)["id"]
    problem(chat.append(said("late"), run=first), 409, "fenced")
    chat.appended("in time", run=second)
    chat.end(first)  # was over: nothing of the second one's ends
    chat.appended("still", run=second)
    chat.end(second)
    assert chat.contents() == ["in time", "still"]


def test_in_a_run_all_is_done_at_once(chat: Chat) -> None:
    """With its id appends, pops and clears go on; each renews it."""
    with chat.running() as run:
        chat.appended("one", "two", run=run)
        assert chat.popped(run=run)["content"] == "two"
        assert chat.api.ok(chat.post("clear", run=run), 200)["message_count"] == 0
        chat.appended("three", run=run.upper())
    assert chat.contents() == ["three"]


def test_ended_it_is_fenced(chat: Chat) -> None:
    """What names a run that is over is 409 and does nothing, however long it would wait."""
    run = chat.run()
    chat.appended("one", run=run)
    chat.end(run)
    answers = (
        chat.append(said("late"), run=run, wait_s=60), chat.post("pop", run=run), chat.post("clear", run=run),
        chat.renew(run),
    )  # fmt: skip
    for answer in answers:
        found = problem(answer, 409, "fenced")
        assert "run is over" in found["detail"]
        assert found["retryable"] is False
    assert chat.contents() == ["one"]


def test_deletion_does_not_wait(chat: Chat) -> None:
    """A thread is deleted at once; the run in it is over, whether or not there is another thread of its id."""
    run = chat.run()
    chat.api.ok(chat.api.delete(chat.path), 204)
    for _ in range(2):
        answers = (chat.renew(run), chat.append(said("late"), run=run), chat.post("pop", run=run))
        for answer in (*answers, chat.post("clear", run=run)):
            problem(answer, 409, "fenced")
        chat.end(run)
        chat.create()
    assert chat.contents() == []


def test_an_append_in_a_run_makes_no_thread(chat: Chat) -> None:
    """What names a run of a thread that is not there is fenced, and nothing is left of it."""
    problem(chat.append(said("late"), run=AFAR), 409, "fenced")
    problem(chat.api.get(chat.path), 404, "not_found")
    assert chat.events() == []


def test_who_waited_for_a_deleted_thread_goes_on(chat: Chat) -> None:
    """Deletion ends the queue: a pop that waited finds no thread; an append makes it anew."""
    run = chat.run()
    with meanwhile(chat, run=run, what="pop", wait_s=60) as waiting:
        chat.api.ok(chat.api.delete(chat.path), 204)
        problem(waiting.result(), 404, "not_found")
    run = chat.run()
    with meanwhile(chat, run=run, what="messages", messages=said("anew"), wait_s=60) as waiting:
        chat.api.ok(chat.api.delete(chat.path), 204)
        chat.api.ok(waiting.result(), 201)
    assert chat.contents() == ["anew"]


def test_a_run_is_its_threads(chat: Chat) -> None:
    """The id of another thread's run, of another user's, or of none, opens nothing and ends nothing."""
    beside, bob = chat.beside(), chat.acting(sub="bob")
    for other in (chat, beside, bob):
        other.made()
    run = chat.run()
    for other in (beside, bob):
        problem(other.append(said("no"), run=run), 409, "fenced")
        problem(other.post("pop", run=run), 409, "fenced")
        problem(other.renew(run), 409, "fenced")
        other.end(run)  # 204, as for one that is over
    for stray in (AFAR, new_uuid()):
        problem(chat.append(said("no"), run=stray), 409, "fenced")
        chat.end(stray)
    root = chat.acting(sub="root", scopes=READ_ALL)
    problem(root.append(said("no"), run=run), 409, "fenced")
    chat.api.ok(chat.renew(run), 200)
    chat.appended("mine", run=run)
    chat.end(run)


@pytest.mark.parametrize("bad", ["x", "1", f"{AFAR}0", "%00"])
def test_runs_that_are_none(chat: Chat, bad: str) -> None:
    """What is no UUID is no run: 404."""
    chat.made()
    problem(chat.api.patch(f"{chat.path}/runs/{bad}", {}), 404, "not_found")
    problem(chat.api.delete(f"{chat.path}/runs/{bad}"), 404, "not_found")


def test_a_sessions_turn_is_no_run(chat: Chat) -> None:
    """The turn of a session's update cannot be ended, renewed or used as a thread's run."""
    chain = Chain.begin(chat.api)
    chain.link("A")
    decision = chain.decided()
    chat.made()
    # Turns have the ids of places, which nobody is shown; whatever is shown of this one opens no thread.
    for shown in [value for value in decision.values() if isinstance(value, str) and len(value) == 36] + [chain.id]:
        problem(chat.append(said("no"), run=shown), 409, "fenced")
        chat.end(shown)
    row = chain.opened(resumed_from=decision["provider_session_id"])
    problem(chat.renew(row["id"]), 409, "fenced")
    chat.end(row["id"])
    assert chain.chain()["data"][-1]["state"] == "open"


def test_what_a_run_appended_stays_when_it_lapses(chat: Chat) -> None:
    """A run that gives no sign for its lease is over: the next one goes on, after what it appended."""
    run = chat.left("one")
    assert [message["seq"] for message in chat.appended("two", wait_s=60)] == [2]
    problem(chat.append(said("late"), run=run), 409, "fenced")
    assert chat.contents() == ["one", "two"]
