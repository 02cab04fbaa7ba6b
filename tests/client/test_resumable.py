"""Resumable updates against a real node: which id is resumed, and what a failure of each kind leads to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sessioncast import (
    Client,
    Decision,
    FreshReason,
    ProviderState,
    ResumeFailed,
    ResumeWaits,
    SecurityViolation,
    SessionBeingModified,
    Usage,
    Use,
)
from support.node import NodeProcess
from support.providing import Agent, a_session, given, newest_id, rows
from support.waiting import RENEWED_S

SOON = ResumeWaits(first_s=0.01, longest_s=0.02, jitter_s=0.0)
"""Waits of a test that is not about them."""

Fn = Callable[[Use], Awaitable[str | None]]


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


def gives(*names: str) -> tuple[Fn, list[str | None]]:
    """A provider that gives out these ids, one a run, and a list of what it was asked to resume."""
    asked: list[str | None] = []
    left = iter(names)

    async def run(use: Use) -> str | None:
        asked.append(use.resume_id)
        await use.record(provider_session_id=next(left))
        return use.resume_id

    return run, asked


def failing(*reasons: str, new: str) -> tuple[Fn, list[str | None]]:
    """A provider that fails so often for these reasons, then gives out an id."""
    asked: list[str | None] = []
    left = list(reasons)

    async def run(use: Use) -> str | None:
        asked.append(use.resume_id)
        if left:
            raise ResumeFailed(left.pop(0), "says the provider")
        await use.record(provider_session_id=new)
        return use.resume_id

    return run, asked


async def built(client: Client, session: str) -> str:
    """A session's first id, as a build leaves it."""
    new = given("A")
    async with client.resumable(session, "build") as attempt:
        await attempt.run(gives(new)[0])
    return new


async def test_each_operation_resumes_what_the_last_one_gave_out(client: Client) -> None:
    """Build makes A; metadata resumes A and gives B; compact makes C of B; the next update gets C."""
    session = await a_session(client)
    a, b, c, d = (given(name) for name in "ABCD")
    run, asked = gives(a, b, c, d)
    decisions = []
    for operation in ("build", "metadata", "compact", "update"):
        async with client.resumable(session, operation) as attempt:
            decisions.append((attempt.decision.decision, attempt.decision.reason))
            assert await attempt.run(run) == attempt.decision.provider_session_id
    assert asked == [None, a, b, c]
    assert decisions == [(Decision.FRESH, FreshReason.NONE), *[(Decision.RESUME, None)] * 3]
    found = await rows(client, session)
    assert [(row.operation, row.resumed_from, row.provider_session_id, row.state) for row in found] == [
        ("build", None, a, ProviderState.ENDED),
        ("metadata", a, b, ProviderState.ENDED),
        ("compact", b, c, ProviderState.ENDED),
        ("update", c, d, ProviderState.ENDED),
    ]
    assert await newest_id(client, session) == d


@pytest.mark.parametrize("tells", [True, False])
async def test_a_provider_may_keep_its_id(client: Client, tells: bool) -> None:
    """The same id over four operations, whether the provider tells it each time or is only begun with it."""
    session = await a_session(client)
    asked = []
    kept = None

    async def run(use: Use) -> None:
        asked.append(use.resume_id)
        await use.record(provider_session_id=use.provider_session_id if tells else None, tokens=1)

    for _ in range(4):
        async with client.resumable(session) as attempt:
            kept = kept or attempt.use.provider_session_id
            await attempt.run(run)
    assert asked == [None, kept, kept, kept]
    assert await newest_id(client, session) == kept


async def test_a_locked_id_is_tried_again_after_a_while(client: Client) -> None:
    """Two failures of a passing kind, then it is resumed: three calls with the same id, one row."""
    session = await a_session(client)
    a, b = await built(client, session.id), given("B")
    run, asked = failing("locked", "timeout", new=b)
    async with client.resumable(session, waits=SOON) as attempt:
        assert await attempt.run(run) == a
        assert attempt.succeeded
    assert asked == [a, a, a]
    last = (await rows(client, session))[-1]
    assert (last.resumed_from, last.provider_session_id, last.state) == (a, b, ProviderState.ENDED)
    assert len(await rows(client, session)) == 2


@pytest.mark.parametrize("reason", ["not_found", "corrupted"])
async def test_an_id_that_is_gone_is_begun_afresh_at_once(client: Client, reason: str) -> None:
    """One call to resume, one to begin: under an id that is free, in the same row; the next one resumes the new id."""
    session = await a_session(client)
    a, b = await built(client, session.id), given("B")
    begun: list[str] = []
    run, asked = failing(reason, new=b)

    async def watching(use: Use) -> str | None:
        begun.append(use.provider_session_id)
        return await run(use)

    # Were there a wait, it would be too long for the test.
    async with client.resumable(session, waits=ResumeWaits(first_s=600, longest_s=600)) as attempt:
        assert await attempt.run(watching) is None
        assert (attempt.decision.decision, attempt.decision.reason) == (Decision.FRESH, FreshReason.NOT_RESUMABLE)
    assert asked == [a, None]
    assert begun[0] == a
    assert begun[1] not in (a, b)
    first, second = await rows(client, session)
    assert (first.is_resumable, second.resumed_from, second.provider_session_id) == (False, None, b)
    assert await newest_id(client, session) == b


async def test_three_failures_in_a_row_are_enough(client: Client) -> None:
    """An id that stays locked is tried three times, then begun afresh; nobody has to do anything."""
    session = await a_session(client)
    a, b = await built(client, session.id), given("B")
    run, asked = failing("locked", "locked", "other", new=b)
    async with client.resumable(session, waits=SOON) as attempt:
        await attempt.run(run)
    assert asked == [a, a, a, None]
    assert attempt.decision.reason is FreshReason.TOO_MANY_FAILURES
    assert await newest_id(client, session) == b


async def test_a_failure_with_nothing_to_resume_is_the_callers(client: Client) -> None:
    """`ResumeFailed` from a fresh run is raised, not tried again, and leaves nothing to resume."""
    session = await a_session(client)
    run, asked = failing("other", new="never")
    with pytest.raises(ResumeFailed, match="other: says the provider"):
        async with client.resumable(session, waits=SOON) as attempt:
            await attempt.run(run)
    assert asked == [None]
    (row,) = await rows(client, session)
    assert (row.state, row.is_resumable) == (ProviderState.ENDED, False)
    assert await newest_id(client, session) is None


async def test_a_new_id_is_captured_at_once(client: Client, node: NodeProcess) -> None:
    """While the run still goes on, another client and the project's version have the id it recorded."""
    session = await a_session(client)
    version = await client.versions.create(session.project_id, session)
    b = given("B")

    async def run(use: Use) -> None:
        await use.record(provider_session_id=b, tokens=3)
        async with Client(node.url) as other:
            assert await newest_id(other, session) == b
            assert (await other.versions.latest(session.project_id)).ai_session_id == b

    async with client.resumable(session, project_version=version) as attempt:
        await attempt.run(run)
    assert attempt.version is not None
    assert (attempt.version.id, attempt.version.ai_session_id) == (version.id, b)
    assert attempt.version.ai_session_last_used_at is not None


async def test_a_version_that_was_overtaken_is_not_told(client: Client) -> None:
    """When a later version took its place meanwhile, there is none to show."""
    session = await a_session(client)
    version = await client.versions.create(session.project_id, session)
    async with client.resumable(session, project_version=version) as attempt:
        await client.versions.create(session.project_id, session)
        await attempt.run(gives(given("B"))[0])
    assert attempt.version is None


async def test_an_exception_after_a_new_id_does_not_spoil_it(client: Client) -> None:
    """The provider has it: the next update resumes it, whatever the caller's own code ran into."""
    session, agent = await a_session(client), Agent()
    a, b = await built(client, session.id), given("B")

    async def run(use: Use) -> None:
        assert agent.session_id == a
        await use.record(provider_session_id=b)
        assert agent.session_id == b
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with client.resumable(session, agent=agent) as attempt:
            await attempt.run(run)
    assert agent.session_id == "its own"
    async with client.resumable(session) as attempt:
        assert attempt.decision.provider_session_id == b
        assert await attempt.run(gives(given("C"))[0]) == b


async def test_an_exception_before_any_id_leaves_the_head(client: Client) -> None:
    """A run that failed without a word of the provider's is not resumed; the id it was to resume still is."""
    session = await a_session(client)
    a = await built(client, session.id)

    async def run(use: Use) -> None:
        await use.record(tokens=7)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with client.resumable(session) as attempt:
            await attempt.run(run)
    _, failed = await rows(client, session)
    assert (failed.state, failed.is_resumable, failed.usage) == (ProviderState.ENDED, False, Usage(tokens=7))
    assert await newest_id(client, session) == a


async def test_a_turn_that_was_not_used_leaves_the_head(client: Client) -> None:
    """Left without a run: no id that the provider has never heard of is offered next."""
    session = await a_session(client)
    async with client.resumable(session):
        pass
    assert await newest_id(client, session) is None
    a = await built(client, session.id)
    async with client.resumable(session):
        pass
    assert await newest_id(client, session) == a


async def test_what_changed_too_much_is_begun_afresh(client: Client) -> None:
    """The files that the last run left are compared with those of now."""
    session = await a_session(client)
    left = {f"{number}.py": "1" for number in range(10)}

    async def run(use: Use) -> None:
        await use.record(provider_session_id=given("A"), structure_fingerprint=left)

    async with client.resumable(session, structure_fingerprint=left) as attempt:
        await attempt.run(run)
    async with client.resumable(session, structure_fingerprint=left | {"1.py": "2"}) as attempt:
        assert attempt.decision.decision is Decision.RESUME
    async with client.resumable(session, structure_fingerprint=dict.fromkeys(left, "2")) as attempt:
        assert attempt.decision.reason is FreshReason.STRUCTURE_CHANGED


async def test_a_function_that_is_not_async_does_not_hold_up_the_loop(client: Client) -> None:
    """It is called in a thread, with a use whose methods block; what it returns or raises comes out of `run`."""
    session, gate = await a_session(client), threading.Event()
    a, b = await built(client, session.id), given("B")
    asked: list[str | None] = []

    def run(use: Use) -> int:
        assert gate.wait(30)
        asked.append(use.resume_id)
        if len(asked) == 1:
            raise ResumeFailed("locked")
        use.record(provider_session_id=b)  # type: ignore[unused-coroutine]  # it is a view, whose methods block
        return threading.get_ident()

    async with client.resumable(session, waits=SOON) as attempt:
        running = asyncio.create_task(attempt.run(run))
        assert (await client.sessions.get(session.id)).id == session.id
        gate.set()
        assert await running != threading.get_ident()
    assert asked == [a, a]
    assert await newest_id(client, session) == b


async def test_a_lambda_around_an_async_function_is_one(client: Client) -> None:
    """What it returns is awaited, and has the use that is awaited, too."""
    session, b = await a_session(client), given("B")

    class Provider:
        async def __call__(self, use: Use, name: str) -> str:
            await use.record(provider_session_id=name)
            return name

    provider = Provider()
    async with client.resumable(session) as attempt:
        assert await attempt.run(lambda use: provider(use, b)) == b
    assert await newest_id(client, session) == b


async def test_misuse_is_told_before_anything_is_sent(client: Client) -> None:
    """A version of another session, a second run, a second entry."""
    session, other = await a_session(client), await a_session(client)
    version = await client.versions.create(other.project_id, other)
    with pytest.raises(ValueError, match="version 1 is of session"):
        client.resumable(session, project_version=version)
    assert await rows(client, session) == []
    resumable = client.resumable(session)
    async with resumable as attempt:
        await attempt.run(gives(given("A"))[0])
        with pytest.raises(RuntimeError, match="runs once"):
            await attempt.run(gives("never")[0])
        with pytest.raises(RuntimeError, match="entered once"):
            await resumable.__aenter__()


async def test_somebody_elses_session_is_not_resumed(client: Client, node: NodeProcess) -> None:
    """Another user's update is refused as a violation, and opens nothing."""
    session = await a_session(client)
    async with Client(node.url, user="eve") as eve:
        with pytest.raises(SecurityViolation):
            await eve.resumable(session).__aenter__()
    assert await rows(client, session) == []
    audit = [entry.action async for entry in client.providers.audit(session.project_id)]
    assert audit == ["security_violation"]


async def test_a_thread_that_cannot_be_stopped_keeps_its_turn(client: Client) -> None:
    """Cancelled, the block is not left before the function has ended; until then nobody else is let in."""
    session = await a_session(client)
    a, b = await built(client, session.id), given("B")
    inside, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def run(use: Use) -> None:
        loop.call_soon_threadsafe(inside.set)
        assert gate.wait(30)
        use.record(provider_session_id=b, tokens=7)  # type: ignore[unused-coroutine]  # it is a view, whose methods block
        raise ZeroDivisionError

    async def update() -> None:
        async with client.resumable(session, lease_s=RENEWED_S) as attempt:
            await attempt.run(run)

    updating = asyncio.create_task(update())
    await inside.wait()
    updating.cancel()
    # Longer than its lease, which is renewed meanwhile.
    with pytest.raises(SessionBeingModified):
        await client.providers.resume(session, wait_s=RENEWED_S + 1)
    assert not updating.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await updating
    first, second = await rows(client, session)
    assert (first.provider_session_id, second.state, second.usage) == (a, ProviderState.ENDED, Usage(tokens=7))
    assert await newest_id(client, session) == b
