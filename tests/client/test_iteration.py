"""Iterations against a real node: ids, what is recorded, and every way to leave one."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from sessioncast import (
    Client,
    ConnectionLost,
    Fenced,
    Invalid,
    Limits,
    ModelChangeRequiresConfirmation,
    ProviderState,
    SessionReplaced,
    Usage,
)
from support.node import NodeFactory, NodeProcess
from support.ports import free_port
from support.providing import Agent, a_session, closed, given, rows, said, script
from support.waiting import RENEWED_S, STALL_S, until

BRIEF = Limits(attempt_s=5.0, backoff_base_s=0.01, backoff_cap_s=0.05, close_s=0.5)
"""A client that soon gives up to end a use."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    look = {"SESSIONCAST_LEASE_LOOK_S": "0.05"}
    with NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=look, arguments=()) as started:
        yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


async def test_each_iteration_has_an_id_that_nobody_else_has(client: Client) -> None:
    """Ids are fresh UUIDs, the rows are numbered as was said, and are ended; totals add up over all of them."""
    session = await a_session(client)
    ids = []
    for number in range(3):
        async with client.iteration(session, iteration=number) as it:
            ids.append(it.provider_session_id)
            assert it.resume_id is None
            await it.record(tokens=1000 + number, cached_tokens=10, turns=2, cost_usd=0.5)
    found = await rows(client, session)
    assert len({str(UUID(made)) for made in ids}) == 3
    assert [(row.provider_session_id, row.iteration, row.state, row.operation) for row in found] == [
        (made, number, ProviderState.ENDED, "iteration") for number, made in enumerate(ids)
    ]
    totals = await client.providers.metrics(task=session.task_id)
    assert (totals.total_tokens, totals.total_turns, totals.num_iterations) == (3003, 6, 3)
    assert (totals.total_cost, totals.cost_known, totals.avg_tokens_per_iteration) == (1.5, True, 1001)


async def test_what_is_recorded_is_kept_at_once(client: Client, node: NodeProcess) -> None:
    """When `record` returns, others see the totals and the new id, which is the chain's head; later totals replace."""
    session = await a_session(client)
    new = given("A")
    async with Client(node.url) as other, client.iteration(session) as it:
        await it.record(tokens=5, turns=1)
        await it.record(provider_session_id=new, tokens=7)
        chain = await other.providers.chain(session)
        assert chain.head is not None
        assert (chain.head.id, chain.head.provider_session_id, chain.head.state) == (it.id, new, ProviderState.OPEN)
        assert chain.head.usage == Usage(tokens=7, turns=1)
        assert it.provider_session_id == new


async def test_an_agent_has_the_newest_id_for_a_while(client: Client) -> None:
    """Its `session_id` is set, follows each new id, and is what it was before afterwards, whatever happened."""
    session, agent = await a_session(client), Agent()
    new = given("A")

    async def work() -> None:
        async with client.iteration(session, agent=agent) as it:
            assert agent.session_id == it.provider_session_id
            await it.record(provider_session_id=new)
            assert agent.session_id == new
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert agent.session_id == "its own"


async def test_an_attribute_that_was_not_there_goes_again(client: Client) -> None:
    """An agent without a `session_id` has none afterwards."""

    class Bare:
        session_id: str

    agent = Bare()
    async with client.iteration(await a_session(client), agent=agent) as it:
        assert agent.session_id == it.provider_session_id
    assert not hasattr(agent, "session_id")


async def test_an_exception_ends_it_as_failed(client: Client) -> None:
    """The body's exception is the caller's; the row is ended, its id is not to be resumed, what it used stays."""
    session = await a_session(client)

    async def work() -> None:
        async with client.iteration(session) as it:
            await it.record(tokens=5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    (row,) = await rows(client, session)
    assert (row.state, row.is_resumable, row.usage.tokens) == (ProviderState.ENDED, False, 5)


async def test_a_cancelled_body_is_ended_too(client: Client) -> None:
    """Cancelled, once or again while it is being closed: the row is ended before the cancellation goes on."""
    session, inside = await a_session(client), asyncio.Event()

    async def work() -> None:
        async with client.iteration(session):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)  # it is on its way out now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = await rows(client, session)
    assert (row.state, row.is_resumable) == (ProviderState.ENDED, False)


async def test_a_timeout_and_a_cancelled_scope_end_it_too(client: Client) -> None:
    """`asyncio.timeout` stays a TimeoutError, and a scope of anyio's, which cancels again and again, lets it end."""
    session = await a_session(client)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), client.iteration(session):
            await asyncio.Event().wait()
    with anyio.CancelScope() as scope:
        async with client.iteration(session):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert [(row.state, row.is_resumable) for row in await rows(client, session)] == [(ProviderState.ENDED, False)] * 2


async def test_a_lease_is_renewed_for_as_long_as_the_body_takes(client: Client) -> None:
    """Of two leases of a time, that of the use outlives the one that nobody renews, which is younger."""
    session = await a_session(client)
    async with client.iteration(session, lease_s=RENEWED_S) as it:
        left = await client.providers.open(session, "left", lease_s=RENEWED_S)
        found = {row.id: row.state for row in await closed(client, session, left.id)}
        assert found == {it.id: ProviderState.OPEN, left.id: ProviderState.ABANDONED}
        assert it.lost is None


VICTIM = """
import asyncio, sys
import sessioncast

async def main() -> None:
    async with sessioncast.Client(sys.argv[1]) as client, client.iteration(sys.argv[2], lease_s=1) as it:
        await it.record(provider_session_id=sys.argv[3], tokens=7)
        print("recorded", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_killed_client_leaves_nothing_open(client: Client, node: NodeProcess) -> None:
    """kill -9 after `record`: what was recorded is there, the head is the new id, and its lease closes the row."""
    session = await a_session(client)
    new = given("A")
    async with script(VICTIM, node.url, session.id, new) as victim:
        await said(victim, "recorded")
        victim.send_signal(signal.SIGKILL)
        await closed(client, session, 0)
    chain = await client.providers.chain(session)
    assert chain.head is not None
    assert (chain.head.provider_session_id, chain.head.state, chain.head.usage.tokens) == (
        new,
        ProviderState.ABANDONED,
        7,
    )


async def test_what_could_not_be_recorded_is_told_at_the_end(node_factory: NodeFactory) -> None:
    """The server is killed in the middle and comes back: the end carries the id and the totals that got lost."""
    node = await node_factory()
    limits = Limits(deadline_s=STALL_S, attempt_s=5.0, backoff_base_s=0.1, backoff_cap_s=0.5)
    async with Client(node.url, limits=limits) as client:
        session = await a_session(client)
        new = given("A")
        async with client.iteration(session) as it:
            await it.record(tokens=1, turns=1)
            node.kill()
            with pytest.raises(ConnectionLost):
                await it.record(provider_session_id=new, tokens=7)
            assert it.provider_session_id == new
            with pytest.raises(ConnectionLost):
                await it.record(cost_usd=0.25)
            await node.start()
        chain = await client.providers.chain(session)
    assert chain.head is not None
    assert (chain.head.provider_session_id, chain.head.state) == (new, ProviderState.ENDED)
    assert chain.head.usage == Usage(tokens=7, turns=1, cost_usd=0.25)


async def test_renewals_go_on_after_a_restart(node_factory: NodeFactory) -> None:
    """A server that was killed and came back, with renewals failing meanwhile, still has the use open."""
    node = await node_factory(env={"SESSIONCAST_LEASE_LOOK_S": "0.05"})
    heard: list[Exception] = []
    limits = Limits(backoff_base_s=0.01, backoff_cap_s=0.05)
    async with Client(node.url, limits=limits, on_retry=heard.append) as client:
        session = await a_session(client)
        async with client.iteration(session, lease_s=RENEWED_S) as it:
            node.kill()
            await until(lambda: any(isinstance(error, ConnectionLost) for error in heard), "a renewal to fail")
            await node.start()
            left = await client.providers.open(session, "left", lease_s=RENEWED_S)
            await closed(client, session, left.id)
            assert it.lost is None
        assert [(row.id, row.state) for row in await rows(client, session)] == [
            (it.id, ProviderState.ENDED),
            (left.id, ProviderState.ABANDONED),
        ]


async def test_an_end_that_cannot_be_told_is_raised(node_factory: NodeFactory) -> None:
    """After `Limits.close_s` the caller hears of it; an exception of the body counts more, and has a note."""
    node, agent = await node_factory(), Agent()
    async with Client(node.url, limits=BRIEF) as client:
        session = await a_session(client)
        with pytest.raises(ConnectionLost):
            async with client.iteration(session, agent=agent):
                node.kill()
        assert agent.session_id == "its own"
        await node.start()
        opened: list[str] = []

        async def work() -> None:
            async with client.iteration(session) as it:
                opened.append(it.id)
                node.kill()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            await work()
    (note,) = caught.value.__notes__
    assert opened[0] in note
    assert "could not be closed" in note


async def test_a_refused_record_does_not_spoil_the_end(client: Client) -> None:
    """Totals that cannot be are refused where they are told, and are not told again."""
    session = await a_session(client)
    async with client.iteration(session) as it:
        await it.record(turns=1)
        with pytest.raises(Invalid):
            await it.record(tokens=-1)
    (row,) = await rows(client, session)
    assert (row.state, row.usage) == (ProviderState.ENDED, Usage(turns=1))


async def test_a_holder_who_lost_the_session_is_told(client: Client) -> None:
    """With a fence: whoever was taken over hears `Fenced` at the next record; what he used is kept all the same."""
    session = await a_session(client)
    new = given("A")

    async def work() -> None:
        async with client.iteration(session, fence=session.fence) as it:
            await it.record(tokens=3)
            await client.providers.patch(it.id, ended=True)  # as if its lease had run out
            decision = await client.providers.resume(session)
            assert decision.fence > session.fence
            await it.record(provider_session_id=new, tokens=5)

    with pytest.raises(Fenced):
        await work()
    (row,) = await rows(client, session)
    assert (row.state, row.usage.tokens, row.provider_session_id != new) == (ProviderState.ENDED, 5, True)


async def test_a_renewal_finds_out_too(client: Client) -> None:
    """A holder who records nothing sees in `lost` that the session is no more; the next record says so.

    What it used is kept, and it is closed.
    """
    session = await a_session(client)

    async def work() -> None:
        async with client.iteration(session, lease_s=RENEWED_S) as it:
            with pytest.raises(ModelChangeRequiresConfirmation) as question:
                await client.sessions.start(session.task_id, "run", "other")
            await question.value.confirm()
            await until(lambda: it.lost is not None, "a renewal to be refused")
            await it.record(tokens=5)

    with pytest.raises(SessionReplaced) as caught:
        await work()
    assert not hasattr(caught.value, "__notes__")
    (row,) = await rows(client, session)
    assert (row.state, row.usage.tokens) == (ProviderState.ENDED, 5)


async def test_a_milestone_is_not_the_tasks(client: Client) -> None:
    """An iteration for a milestone counts there and not for the session's task."""
    session = await a_session(client)
    async with client.iteration(session, "plan", milestone="M 1") as it:
        await it.record(tokens=5)
    of_task = await client.providers.metrics(task=session.task_id)
    of_milestone = await client.providers.metrics(project=session.project_id, milestone="M 1")
    of_session = await client.providers.metrics(session=session)
    of_project = await client.providers.metrics(project=session.project_id)
    assert [one.total_tokens for one in (of_task, of_milestone, of_session, of_project)] == [0, 5, 5, 5]
    assert [row.id for row in of_milestone.sessions] == [it.id]


async def test_it_is_entered_once_and_not_used_afterwards(client: Client) -> None:
    """Misuse is told as such, before anything is sent."""
    session = await a_session(client)
    iteration = client.iteration(session)
    async with iteration as it:
        with pytest.raises(RuntimeError, match="entered once"):
            await iteration.__aenter__()
    with pytest.raises(RuntimeError, match="is closed"):
        await it.record(tokens=1)
    assert len(await rows(client, session)) == 1


async def test_iterations_side_by_side(client: Client) -> None:
    """Ten at once in one session do not get in each other's way."""
    session = await a_session(client)

    async def one(number: int) -> str:
        async with client.iteration(session, iteration=number) as it:
            await it.record(tokens=number)
            return it.provider_session_id

    ids = await asyncio.gather(*(one(number) for number in range(10)))
    assert len(set(ids)) == 10
    totals = await client.providers.metrics(session=session)
    assert (totals.total_tokens, totals.num_iterations) == (45, 10)


def test_nothing_heavy_is_imported() -> None:
    """`import sessioncast` loads neither the HTTP library nor what only some programs use."""
    code = "import json, sys, sessioncast; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=Path.cwd())
    assert {"httpx2", "stamina", "tenacity", "anyio", "typer", "websockets"} & {*json.loads(out.stdout)} == set()
