"""Uses of a provider against a server that loses answers, refuses and takes its time."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from sessioncast import (
    Baseline,
    Client,
    ConnectionLost,
    Fenced,
    Invalid,
    Limits,
    ProtocolError,
    ResumeFailed,
    ResumeWaits,
    SecurityViolation,
    SessionBeingModified,
    SessioncastError,
    Unauthenticated,
    Use,
)
from support.samples import AT
from support.scripted import Lost, Reply, ScriptedServer, Seen, Streamed
from support.waiting import until

ROW: dict[str, Any] = {
    **dict.fromkeys(("started_at", "last_used_at"), AT),
    "id": "r",
    "provider_session_id": "A",
    "session_id": "s",
    "operation": "update",
    "is_resumable": True,
    "resume_failure_count": 0,
    "fence": 2,
    "state": "open",
}
OPENED = Reply(201, {**ROW, "resumed_from": "A"})
RENEWED = Reply(200, ROW)
DECIDED = Reply(200, {"decision": "resume", "provider_session_id": "A", "id": "r0", "age_s": 1.5, "fence": 2})
SOON = ResumeWaits(first_s=0.001, longest_s=0.002, jitter_s=0.0, tries=4)


def refusal(status: int, code: str, *, retryable: bool = False, **more: Any) -> Reply:
    """A problem."""
    return Reply(status, {"code": code, "detail": "No.", "retryable": retryable, **more})


def told(seen: Seen) -> tuple[str, str, Any]:
    """Method, last part of the path, body."""
    return seen.method, seen.path.rpartition("/")[2], json.loads(seen.body)


def late(reply: Reply, gate: asyncio.Event) -> Streamed:
    """An answer whose body comes when the gate opens."""
    return Streamed([gate, json.dumps(reply.document).encode()], then="end")


async def test_a_lost_answer_to_a_resume_is_asked_for_with_the_same_key(server: ScriptedServer, quick: Limits) -> None:
    """The turn may have been granted: who asks again with the same key is given the same one."""
    server.say(Lost(), refusal(503, "commit_unknown", retryable=True), DECIDED)
    async with Client(server.url, limits=quick) as client:
        assert (await client.providers.resume("s")).fence == 2
    assert len(server.seen) == 3
    assert len({(seen.headers["idempotency-key"], seen.body) for seen in server.seen}) == 1


async def test_a_turn_that_did_not_come_is_not_asked_for_again(server: ScriptedServer, quick: Limits) -> None:
    """The server waited for as long as the caller wanted; that it may be repeated is for the caller to decide."""
    busy = refusal(409, "session_being_modified", retryable=True)
    server.say(busy, refusal(409, "session_being_modified", retryable=True, ahead=3))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(SessionBeingModified) as caught:
            await client.providers.resume("s", wait_s=30)
    # The first said nothing of a turn: a lock was not had in time.
    assert (caught.value.ahead, len(server.seen)) == (3, 2)


@pytest.mark.parametrize("wait_s", [None, 10])
async def test_a_wait_may_be_longer_than_an_attempt(
    server: ScriptedServer, quick: Limits, wait_s: float | None
) -> None:
    """An answer that comes later than other requests may take, and after their deadline, is still the first one's."""
    gate = asyncio.Event()
    server.say(late(DECIDED, gate))
    async with Client(server.url, limits=replace(quick, attempt_s=0.05, deadline_s=0.05)) as client:
        asking = asyncio.create_task(client.providers.resume("s", wait_s=wait_s))
        asyncio.get_running_loop().call_later(0.3, gate.set)
        assert (await asking).fence == 2
    assert len(server.seen) == 1


async def test_cancelled_while_it_is_opened(server: ScriptedServer, quick: Limits) -> None:
    """What the server opened after the caller had left is closed again, and not to be resumed."""
    gate = asyncio.Event()
    server.say(late(OPENED, gate), RENEWED)
    async with Client(server.url, limits=quick) as client:
        entering = asyncio.create_task(client.iteration("s").__aenter__())
        await server.saw(1)
        entering.cancel()
        asyncio.get_running_loop().call_soon(gate.set)
        with pytest.raises(asyncio.CancelledError):
            await entering
    assert told(server.seen[1]) == ("PATCH", "r", {"ended": True, "is_resumable": False})


async def test_an_agent_that_takes_no_id(server: ScriptedServer, quick: Limits) -> None:
    """What was opened for it is closed again, and the caller hears why."""
    server.say(OPENED, RENEWED)
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(AttributeError):
            await client.iteration("s", agent=object()).__aenter__()
    assert told(server.seen[1]) == ("PATCH", "r", {"ended": True, "is_resumable": False})


async def test_cancelled_while_it_is_closed(server: ScriptedServer, quick: Limits) -> None:
    """The end is told to its end, then the cancellation goes on."""
    gate, closing = asyncio.Event(), asyncio.Event()
    server.say(OPENED, late(RENEWED, gate))

    async def work(client: Client) -> None:
        async with client.iteration("s"):
            closing.set()

    async with Client(server.url, limits=quick) as client:
        task = asyncio.create_task(work(client))
        await server.saw(2)
        task.cancel()
        asyncio.get_running_loop().call_soon(gate.set)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert told(server.seen[1]) == ("PATCH", "r", {"ended": True})


async def test_a_failed_end_does_not_hide_a_cancellation(server: ScriptedServer, quick: Limits) -> None:
    """Cancelled while the end went wrong: it is a cancellation, whose cause is what went wrong."""
    gate = asyncio.Event()
    server.say(OPENED, Streamed([gate], then="end"))

    async def work(client: Client) -> None:
        async with client.iteration("s"):
            pass

    async with Client(server.url, limits=quick) as client:
        task = asyncio.create_task(work(client))
        await server.saw(2)
        task.cancel()
        asyncio.get_running_loop().call_soon(gate.set)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert isinstance(caught.value.__cause__, ProtocolError)


async def test_a_cancellation_is_not_lost_among_other_errors(server: ScriptedServer, quick: Limits) -> None:
    """Cancelled while the end of a failed body is told: cancelled it is, and the failure is its context."""
    gate = asyncio.Event()
    server.say(OPENED, late(RENEWED, gate))

    async def work(client: Client) -> None:
        async with client.iteration("s"):
            raise ZeroDivisionError

    async with Client(server.url, limits=quick) as client:
        task = asyncio.create_task(work(client))
        await server.saw(2)
        task.cancel()
        asyncio.get_running_loop().call_soon(gate.set)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert isinstance(caught.value.__context__, ZeroDivisionError)
    assert told(server.seen[1])[2] == {"ended": True, "is_resumable": False}


async def test_a_fenced_holder_tells_what_it_used_and_raises(server: ScriptedServer, quick: Limits) -> None:
    """Found out at the end only: the facts are told without the fence, and the caller hears that the turn was lost."""
    server.say(DECIDED, OPENED, RENEWED, refusal(409, "fenced"), RENEWED)

    async def run(use: Use) -> None:
        await use.record(tokens=5)

    async def work(client: Client) -> None:
        async with client.resumable("s") as attempt:
            await attempt.run(run)

    async with Client(server.url, limits=quick) as client:
        with pytest.raises(Fenced):
            await work(client)
    assert [told(seen)[2] for seen in server.seen[2:]] == [{"usage": {"tokens": 5}}, {"ended": True}, {"ended": True}]
    assert [seen.headers.get("x-session-fence") for seen in server.seen] == [None, "2", "2", "2", None]


async def test_what_a_fenced_holder_could_not_record_is_told_as_far_as_it_is_fact(
    server: ScriptedServer, quick: Limits
) -> None:
    """The totals, but neither the id nor the fingerprint; a second record is refused likewise."""
    server.say(DECIDED, OPENED, *[refusal(409, "fenced")] * 3, RENEWED)

    async def run(use: Use) -> None:
        with pytest.raises(Fenced):
            await use.record(provider_session_id="B", tokens=5, structure_fingerprint="x")
        await use.record(turns=1)

    async with Client(server.url, limits=quick) as client:
        with pytest.raises(Fenced) as caught:
            async with client.resumable("s") as attempt:
                await attempt.run(run)
    assert not hasattr(caught.value, "__notes__")  # it is closed
    assert [told(seen)[2] for seen in server.seen[3:]] == [
        {"usage": {"tokens": 5, "turns": 1}},
        {"ended": True, "is_resumable": False, "usage": {"tokens": 5, "turns": 1}},
        {"ended": True, "usage": {"tokens": 5, "turns": 1}},
    ]


async def test_an_id_of_somebody_elses_is_not_told_twice(server: ScriptedServer, quick: Limits) -> None:
    """A violation is raised where the id was told; the totals are kept; what the server has is not offered."""
    server.say(OPENED, refusal(403, "session_security_violation"), RENEWED)
    async with Client(server.url, limits=quick) as client, client.iteration("s") as it:
        with pytest.raises(SecurityViolation):
            await it.record(provider_session_id="B", tokens=5)
    assert told(server.seen[2]) == ("PATCH", "r", {"ended": True, "is_resumable": False, "usage": {"tokens": 5}})


async def test_a_cancelled_record_is_told_again(server: ScriptedServer, quick: Limits) -> None:
    """Whether the server has it is not known: the end says it once more."""
    server.say(OPENED, Streamed([]), RENEWED)
    async with Client(server.url, limits=quick) as client, client.iteration("s") as it:
        recording = asyncio.create_task(it.record(provider_session_id="B", tokens=5))
        await server.saw(2)
        recording.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recording
    assert told(server.seen[2])[2] == {"ended": True, "new_provider_session_id": "B", "usage": {"tokens": 5}}


async def test_an_id_that_is_refused_at_the_end(server: ScriptedServer, quick: Limits) -> None:
    """Told by the end for the first time: it ends without that id, which nobody is offered, and the caller is told."""
    server.say(OPENED, Streamed([]), refusal(403, "session_security_violation"), RENEWED)

    async def work(client: Client) -> None:
        async with client.iteration("s") as it:
            recording = asyncio.create_task(it.record(provider_session_id="B", tokens=5))
            await server.saw(2)
            recording.cancel()
            await asyncio.wait({recording})

    async with Client(server.url, limits=quick) as client:
        with pytest.raises(SecurityViolation):
            await work(client)
    assert told(server.seen[3])[2] == {"ended": True, "is_resumable": False, "usage": {"tokens": 5}}


async def test_a_record_that_never_ends_does_not_hold_up_the_end_for_ever(
    server: ScriptedServer, quick: Limits
) -> None:
    """After `Limits.close_s` the caller hears that it could not be told."""
    server.say(OPENED, Streamed([]))
    async with Client(server.url, limits=replace(quick, close_s=0.05)) as client:
        it = await (iteration := client.iteration("s")).__aenter__()
        recording = asyncio.create_task(it.record(tokens=5))
        await server.saw(2)
        with pytest.raises(SessioncastError, match="still on its way"):
            await iteration.__aexit__(None, None, None)
        recording.cancel()


async def test_a_renewal_that_is_refused_for_good_is_the_last(server: ScriptedServer, quick: Limits) -> None:
    """A bad moment and a lost answer do not end them, a refusal does: it is in `lost`, and what a record raises."""
    passing = (Lost(), refusal(503, "unavailable", retryable=True), Reply(302), refusal(500, "unexpected"))
    server.say(OPENED, *passing, RENEWED, refusal(401, "unauthenticated"), RENEWED)
    async with Client(server.url, limits=quick) as client, client.iteration("s", lease_s=1.5) as it:
        await server.saw(7)
        await until(lambda: it.lost is not None, "the refusal")
        with pytest.raises(Unauthenticated):
            await it.record(tokens=1)
    assert [told(seen)[2] for seen in server.seen[1:]] == [{}] * 6 + [{"ended": True, "usage": {"tokens": 1}}]


async def test_a_lease_that_was_lost_is_not_renewed_but_records_go_on(server: ScriptedServer, quick: Limits) -> None:
    """A machine that slept: nothing is left to renew, and what it records is still taken by the server."""
    server.say(OPENED, Reply(200, {**ROW, "state": "abandoned"}), RENEWED, RENEWED)
    async with Client(server.url, limits=quick) as client, client.iteration("s", lease_s=1.5) as it:
        await server.saw(2)
        await it.record(tokens=1)
    assert [told(seen)[2] for seen in server.seen[1:]] == [{}, {"usage": {"tokens": 1}}, {"ended": True}]


async def test_a_server_that_always_says_resume_is_not_believed_for_ever(server: ScriptedServer, quick: Limits) -> None:
    """After `ResumeWaits.tries` the failure is the caller's."""
    server.say(DECIDED, OPENED, *[DECIDED] * 3, *[DECIDED] * 1, RENEWED)
    tries = 0

    async def run(_: Use) -> None:
        nonlocal tries
        tries += 1
        raise ResumeFailed("locked")

    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ResumeFailed):
            async with client.resumable("s", waits=SOON) as attempt:
                await attempt.run(run)
    assert tries == 4
    assert [told(seen)[2] for seen in server.seen[2:]] == [{"reason": "locked"}] * 4 + [
        {"ended": True, "is_resumable": False}
    ]


async def test_a_failure_that_cannot_be_told_is_the_servers(server: ScriptedServer, quick: Limits) -> None:
    """Nobody answers until the deadline: the caller hears that, with the provider's failure as its context."""
    server.say(DECIDED, OPENED, *[Lost()] * 1000)

    async def run(_: Use) -> None:
        raise ResumeFailed("locked")

    async with Client(server.url, limits=replace(quick, deadline_s=0.05, close_s=0.05)) as client:
        with pytest.raises(ConnectionLost) as caught:
            async with client.resumable("s", waits=SOON) as attempt:
                await attempt.run(run)
    assert isinstance(caught.value.__context__, ResumeFailed)
    assert "could not be closed either" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("baseline", "saved"),
    [
        (Baseline(cost_usd=1.0), {"cost_usd": 0.75}),
        (Baseline(cost_usd=0.125, seconds=None), {"cost_usd": -0.125}),
        (Baseline(), None),
        (None, None),
    ],
)
async def test_what_was_saved_is_told_at_the_end(
    server: ScriptedServer, quick: Limits, baseline: Baseline | None, saved: Any
) -> None:
    """Against the baseline, also when it is less than nothing; what is not known is not told."""
    server.say(DECIDED, OPENED, RENEWED, RENEWED)

    async def run(use: Use) -> None:
        await use.record(cost_usd=0.25)

    async with Client(server.url, limits=quick) as client, client.resumable("s", baseline=baseline) as attempt:
        await attempt.run(run)
    assert told(server.seen[3])[2] == {"ended": True, **({} if saved is None else {"saved": saved})}


async def test_a_fresh_run_saves_nothing_and_a_resumed_one_its_time(server: ScriptedServer, quick: Limits) -> None:
    """Seconds are told of runs that resumed, costs only where they are known."""
    fresh = Reply(200, {"decision": "fresh", "reason": "none", "fence": 2})
    server.say(fresh, Reply(201, ROW), RENEWED, DECIDED, OPENED, RENEWED)

    async def run(_: Use) -> None:
        pass

    baseline = Baseline(cost_usd=1.0, seconds=1000.0)
    async with Client(server.url, limits=quick) as client:
        for _ in range(2):
            async with client.resumable("s", baseline=baseline) as attempt:
                await attempt.run(run)
    first, second = told(server.seen[2])[2], told(server.seen[5])[2]
    assert first == {"ended": True}
    assert list(second["saved"]) == ["seconds"]
    assert 0 < second["saved"]["seconds"] <= 1000


async def test_a_version_that_cannot_be_read_again_is_none(server: ScriptedServer, quick: Limits) -> None:
    """The update is done all the same."""
    version = {"id": "v", "project_id": "p", "number": 1, "session_id": "s", "created_at": AT}
    server.say(Reply(200, version), DECIDED, OPENED, RENEWED, Reply(404, {"code": "not_found"}))
    async with Client(server.url, limits=quick) as client:
        latest = await client.versions.latest("p")
        async with client.resumable("s", project_version=latest) as attempt:
            await attempt.run(lambda _: None)
    assert attempt.version is None


async def test_what_cannot_be_accepted_is_told_without_it_at_the_end(server: ScriptedServer, quick: Limits) -> None:
    """The end carries a record that nobody confirmed, and a part of it is wrong: the id is told, and resumable."""
    invalid = refusal(422, "invalid")
    server.say(OPENED, Streamed([]), invalid, RENEWED, invalid, RENEWED)
    async with Client(server.url, limits=quick) as client:
        it = await (iteration := client.iteration("s")).__aenter__()
        recording = asyncio.create_task(it.record(provider_session_id="B", tokens=-5))
        await server.saw(2)
        recording.cancel()
        await asyncio.wait({recording})
        with pytest.raises(Invalid):
            await iteration.__aexit__(None, None, None)
    assert [told(seen)[2] for seen in server.seen[3:]] == [
        {"new_provider_session_id": "B"},
        {"usage": {"tokens": -5}},
        {"ended": True},
    ]
