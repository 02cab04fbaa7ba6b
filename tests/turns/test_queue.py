"""Updates of one session in turn, over HTTP."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.api import SECRET, Api, Work, bearer, problem
from support.chains import Chain, Waiting, fenced, figures, given, waiting
from support.node import NodeFactory
from support.serving import LIVELY, served
from support.waiting import until, wait_until

BUSY = "This session is currently being modified. Please try again later."


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session whose turn somebody has."""
    return Chain.begin(api)


def ask(chain: Chain, *, key: str | None = None) -> socket.socket:
    """A connection on which a resume waits."""
    host, _, port = chain.api.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    named = "" if key is None else f"Idempotency-Key: {key}\r\n"
    connection.sendall(
        f"POST {chain.path}/resume HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: {chain.api.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 14\r\n{named}\r\n"
        '{"wait_s": 60}'.encode()
    )
    return connection


def leave_behind(chain: Chain) -> None:
    """A place whose connection is lost while it waits, and that was asked for with a key."""
    before = waiting(chain.api)
    connection = ask(chain, key="lost")
    wait_until(lambda: waiting(chain.api) == before + 1, "it to wait")
    connection.close()
    wait_until(lambda: waiting(chain.api) == before, "it to be noticed")


def test_the_first_does_not_wait(chain: Chain) -> None:
    """An empty queue gives the turn at once, also to who does not want to wait."""
    assert chain.decided(wait_s=0)["fence"] == 2


def test_who_waits_for_too_long_is_told_how_many_are_ahead(chain: Chain) -> None:
    """409 with the words for a session that is busy, how many are ahead, and when to come back."""
    chain.decided()
    answer = chain.resume()
    found = problem(answer, 409, "session_being_modified")
    assert (found["detail"], found["ahead"], found["retryable"]) == (BUSY, 1, True)
    assert answer.headers["Retry-After"] == "1"
    with Waiting(chain), Waiting(chain):
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 3
        assert problem(chain.resume(wait_s=0.1), 409, "session_being_modified")["ahead"] == 3
    assert chain.session()["fence"] == 2


def test_in_order_of_arrival(chain: Chain) -> None:
    """Each has its turn when the one before it has ended, in the order in which they came, with a fence of its own and
    the id that the one before it left."""
    _, row = chain.taken()
    with ExitStack() as stack:
        queue = [stack.enter_context(Waiting(chain)) for _ in range(5)]
        for number, one in enumerate(queue):
            assert not any(later.answered for later in queue[number:])
            left = chain.ended(row, new_provider_session_id=given("L"))
            decision = one.decision()
            assert decision["fence"] == 3 + number
            assert decision["provider_session_id"] == left["provider_session_id"]
            assert not any(later.answered for later in queue[number + 1 :])
            row = chain.opened(fence=decision["fence"], resumed_from=left["provider_session_id"])
    decided = [line["data"] for line in chain.audit() if line["action"] == "resume_decided"]
    assert [line["fence"] for line in decided] == list(range(2, 8))


def test_of_many_at_once_each_has_one_turn(chain: Chain) -> None:
    """Whoever they are, nobody is given a turn while another has it, nobody is left out, and no fence comes twice."""
    fences: list[int] = []
    with ExitStack() as stack:
        queue = [stack.enter_context(Waiting(chain, wait_s=60)) for _ in range(8)]
        while queue:
            wait_until(lambda: any(one.answered for one in queue), "somebody to have the turn")
            (one,) = [one for one in queue if one.answered]
            queue.remove(one)
            fences.append(one.decision()["fence"])
            chain.ended(chain.opened(fence=fences[-1]), is_resumable=False)
    assert fences == list(range(2, 10))


def test_sessions_have_queues_of_their_own(chain: Chain) -> None:
    """Who has the turn of one session keeps nobody of another waiting, also of the same task."""
    chain.decided()
    assert Chain.begin(chain.api, work=chain.work, phase="plan").decided()["fence"] == 2


def test_the_turn_is_held_until_its_provider_session_is_closed(chain: Chain) -> None:
    """Neither opening, nor new ids, nor failures pass it on; the end does, with or without an error."""
    for error in ({}, {"is_resumable": False}):
        _, row = chain.taken()
        for change in ({"new_provider_session_id": given("A")}, {"usage": {"tokens": 1}}, {}):
            chain.patched(row, **change)
            assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        chain.failed(row, "locked")
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        chain.ended(row, **error)
        assert chain.ended(chain.taken()[1])["state"] == "ended"


def test_one_row_through_a_fallback_holds_the_turn(chain: Chain) -> None:
    """The same provider session goes on as a fresh start, so nobody comes between the failure and the fallback."""
    chain.link("A")
    _, row = chain.taken()
    chain.failed(row, "not_found")
    assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
    chain.ended(row)
    assert chain.decided()["provider_session_id"] == chain.head_id()


def test_what_has_no_turn_ends_none(chain: Chain) -> None:
    """Branches, and what had been begun before the turn was given, pass nothing on when they end."""
    before = chain.opened()
    branch = chain.opened(fork=True)
    _, row = chain.taken()
    late = chain.opened(fork=True)
    for other in (before, branch, late):
        chain.ended(other)
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
    chain.ended(row)
    chain.decided()


def test_a_plain_beginning_does_not_use_anothers_turn(chain: Chain) -> None:
    """What names no fence and does not resume what the turn was granted for, an iteration above all, is none of the
    turn's: its end passes nothing on."""
    for name in ("nothing", "A"):
        if name == "A":
            chain.link(name)
        decision = chain.decided()
        other = {"iteration": 1} if name == "nothing" else {}
        chain.ended(chain.opened("iteration", **other), is_resumable=False)
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        wanted = {} if name == "nothing" else {"resumed_from": decision["provider_session_id"]}
        row = chain.opened(fence=decision["fence"], **wanted)
        chain.ended(chain.opened("iteration", **other), is_resumable=False)
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        chain.ended(row, is_resumable=False)


def test_a_simple_program_needs_no_fence(chain: Chain) -> None:
    """Who resumes what he was told to, or begins afresh as he was told to, has his turn for as long as that lasts."""
    for name in ("nothing", "A"):
        decision = chain.decided()
        wanted = {} if name == "nothing" else {"resumed_from": decision["provider_session_id"]}
        row = chain.opened(**wanted)
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        chain.ended(row, new_provider_session_id=given("A"))
    assert chain.decided()["decision"] == "resume"


def test_the_fence_takes_the_turn_back(chain: Chain) -> None:
    """Who comes with the fence has the turn, though another took it by mistake, and though that has ended since."""
    for ends in (False, True):
        decision = chain.decided()
        mistaken = chain.opened(resumed_from=decision.get("provider_session_id"))
        if ends:
            chain.ended(mistaken, is_resumable=False)
        row = chain.opened(fence=decision["fence"])
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        if not ends:
            chain.ended(mistaken)
            assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        chain.ended(row)


def test_an_unused_turn_is_given_up(chain: Chain) -> None:
    """With its fence a turn that nothing was begun in is given up, and the next one has his; again it is no error."""
    decision = chain.decided()
    with Waiting(chain) as later:
        assert chain.give_up(decision["fence"]).status_code == 204
        following = later.decision()
    assert following["fence"] == decision["fence"] + 1
    problem(chain.give_up(decision["fence"]), 409, "fenced")
    assert chain.give_up(following["fence"]).status_code == 204
    assert chain.give_up(following["fence"]).status_code == 204
    assert chain.decided()["fence"] == following["fence"] + 1


def test_a_used_turn_is_not_given_up(chain: Chain) -> None:
    """What is open in a turn holds it; nor does anybody give up another's, or what he does not name."""
    decision, row = chain.taken()
    assert chain.give_up(decision["fence"]).status_code == 204
    assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
    chain.ended(row)
    fence = chain.decided()["fence"]
    found = problem(chain.api.delete(f"{chain.path}/turn"), 422, "invalid")
    assert "X-Session-Fence" in found["detail"]
    problem(chain.give_up(fence + 1), 422, "invalid")
    problem(chain.acting(sub="eve").give_up(fence), 403, "session_security_violation")
    problem(chain.acting(scopes=("sessions:read",)).give_up(fence), 403, "forbidden")
    problem(chain.acting(projects=["other"]).give_up(fence), 404, "not_found")
    problem(chain.api.delete("/v1/sessions/x/turn", headers=fenced(1)), 404, "not_found")
    assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
    assert len(chain.audit()) == len([line for line in chain.audit() if line["action"] != "security_violation"]) + 1


def test_who_is_told_to_come_back_has_no_place(chain: Chain) -> None:
    """Nobody waits behind one who was told that it took too long, with a key or without."""
    _, row = chain.taken()
    for key in (None, "k", "k", "other"):
        assert problem(chain.resume(headers=fenced(key=key)), 409, "session_being_modified")["ahead"] == 1
    assert problem(chain.resume(wait_s=0.1, headers=fenced(key="k")), 409, "session_being_modified")["ahead"] == 1
    chain.ended(row)
    decision = chain.decided(headers=fenced(key="k"))
    assert decision["fence"] == 3
    assert chain.decided(headers=fenced(key="k")) == decision


def test_a_key_is_its_users_and_its_sessions(api: Api) -> None:
    """The same key in another session, or of another user, is another place."""
    work = api.work()
    one, two = Chain.begin(api, work=work, phase="plan"), Chain.begin(api, work=work, phase="run")
    one.decided()
    two.decided()
    with Waiting(one):
        assert problem(one.resume(headers=fenced(key="k")), 409, "session_being_modified")["ahead"] == 2
        assert problem(two.resume(headers=fenced(key="k")), 409, "session_being_modified")["ahead"] == 1


def test_a_dead_place_lapses(chain: Chain) -> None:
    """Who lost his connection, and does not come back with his key, loses his place after a while; the next one has his
    turn then."""
    _, row = chain.taken()
    leave_behind(chain)
    with Waiting(chain) as later:
        chain.ended(row)
        assert later.decision()["fence"] == 3
    assert chain.actions().count("resume_decided") == 2


def test_who_waits_for_long_keeps_its_place(chain: Chain) -> None:
    """One that waits for longer than a place lives without a sign is renewed by its node: it is still first."""
    _, row = chain.taken()
    with Waiting(chain) as first:
        other = Chain.begin(chain.api)
        _, theirs = other.taken()
        leave_behind(other)
        with Waiting(other) as second:
            other.ended(theirs)
            second.decision()  # a place without a sign has lapsed since
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 2
        chain.ended(row)
        assert first.decision()["fence"] == 3


def test_a_deleted_session_is_told_to_who_waits(chain: Chain) -> None:
    """A session that goes has no queue: who waits is told so, though the turn has not ended."""
    chain.taken()
    with Waiting(chain) as later:
        chain.api.delete(chain.path)
        problem(later.answer(), 409, "session_deleted")


def test_a_replaced_session_is_told_to_who_waits(chain: Chain) -> None:
    """The same with the successor's id; the successor's queue is empty."""
    chain.taken()
    with Waiting(chain) as later:
        wish: dict[str, Any] = {"on_conflict": "replace", "confirm": {"session_id": chain.id}}
        new = chain.api.ok(chain.work.start("m-2", **wish), 201)["session"]["id"]
        assert problem(later.answer(), 409, "session_replaced")["replaced_by"] == new
    assert Chain(chain.api, chain.work, new).decided()["decision"] == "fresh"


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_who_hangs_up_gives_its_place_up(chain: Chain, how: str) -> None:
    """A connection that is closed or reset waits no longer: the next one moves up, and has the turn."""
    _, row = chain.taken()
    connection = ask(chain)
    wait_until(lambda: waiting(chain.api) == 1, "it to wait")
    with Waiting(chain) as later:
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        wait_until(lambda: chain.resume().json()["ahead"] == 2, "its place to be given up")
        chain.ended(row)
        assert later.decision()["fence"] == 3


def test_who_hangs_up_with_a_key_finds_its_place_again(chain: Chain) -> None:
    """A connection that broke costs no place: asked again with its key it is before those who came later."""
    _, row = chain.taken()
    connection = ask(chain, key="mine")
    wait_until(lambda: waiting(chain.api) == 1, "it to wait")
    with Waiting(chain) as later:
        connection.close()
        wait_until(lambda: waiting(chain.api) == 1, "it to be noticed")
        with Waiting(chain, key="mine") as mine:
            chain.ended(row)
            first = mine.decision()
            assert not later.answered
            chain.ended(chain.opened(fence=first["fence"]))
        assert later.decision()["fence"] == first["fence"] + 1


def test_too_many_are_refused_at_once(database_url: str, tmp_path: Path) -> None:
    """Over the node's bound it is 503 and to come back, and leaves no place behind; the others wait on."""
    with served(tmp_path, database_url, SESSIONCAST_TURNS_WAITING_MAX="1") as api:
        chain = Chain.begin(api)
        _, row = chain.taken()
        with Waiting(chain) as first:
            answer = chain.resume(wait_s=30)
            assert problem(answer, 503, "unavailable")["retryable"] is True
            assert answer.headers["Retry-After"] == "1"
            assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 2
            assert chain.decided(fork=True)["decision"] == "fresh"
            chain.ended(row)
            assert first.decision()["fence"] == 3


async def test_a_drain_answers_at_once(node_factory: NodeFactory, database_url: str) -> None:
    """A node that is told to stop answers who waits with 503 and stops; no place is left behind, and after a restart
    the turn is still with who had it."""
    env = {**LIVELY, "SESSIONCAST_DATABASE_URL": database_url, "SESSIONCAST_JWT_SECRET": SECRET}
    node = await node_factory(env=env)
    api = Api(node.url, database=database_url.partition(":")[0], token=bearer())
    with api.http, ExitStack() as stack:
        chain = await asyncio.to_thread(Chain.begin, api)
        decision, row = await asyncio.to_thread(chain.taken)
        queue = [await asyncio.to_thread(stack.enter_context, Waiting(chain, wait_s=60)) for _ in range(2)]
        assert await node.stop() == 0
        await until(lambda: all(one.answered for one in queue), "those who wait to be answered")
        for one in queue:
            answer = one.answer()
            problem(answer, 503, "unavailable")
            assert answer.headers["Retry-After"] == "1"
        await node.start()
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        await asyncio.to_thread(chain.ended, row, fence=decision["fence"])
        assert chain.decided()["fence"] == decision["fence"] + 1


def test_waiting_is_counted(chain: Chain) -> None:
    """The metrics tell how many wait now, and how long who had a turn waited; branches do not queue."""
    before = figures(chain.api)["turn_wait_seconds_count",]
    _, row = chain.taken()
    with Waiting(chain) as later:
        assert waiting(chain.api) == 1
        chain.decided(fork=True)
        chain.ended(row)
        later.decision()
    assert waiting(chain.api) == 0
    assert figures(chain.api)["turn_wait_seconds_count",] == before + 2


def test_a_queue_costs_no_statements_while_it_waits(api: Api) -> None:
    """What a resume in a queue of six takes is what it takes in a queue of two."""

    def next_fence(chain: Chain, fence: int) -> int:
        wait_until(lambda: chain.session()["fence"] > fence, "the next to have its turn")
        return int(chain.session()["fence"])

    def cost(others: int) -> float:
        chain = Chain.begin(api, work=Work(api, work.project, api.ok(api.post(tasks, {"title": "T"}), 201)["id"]))
        _, row = chain.taken()
        with ExitStack() as stack:
            for _ in range(others):
                stack.enter_context(Waiting(chain))
            before = figures(api)[key]
            chain.resume()
            after = figures(api)[key]
            for _ in range(others):
                chain.ended(row)
                row = chain.opened(fence=next_fence(chain, row["fence"]))
        return after - before

    key = ("request_statements_sum", "POST", "/v1/sessions/{session_id}/resume")
    work = api.work()
    tasks = f"/v1/projects/{work.project}/tasks"
    assert cost(1) == cost(5) > 0
