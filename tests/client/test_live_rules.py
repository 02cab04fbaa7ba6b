"""The client's calls around the single-session rule, against real nodes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sessioncast import (
    Client,
    Deletion,
    Difference,
    Invalid,
    ModelChangeRequiresConfirmation,
    ModelNotFound,
    NotFound,
    PreconditionFailed,
    Replacement,
    SessionActive,
    SessionChanged,
    Task,
    Unavailable,
)
from sessioncast_shared import texts
from support.node import Node, NodeFactory
from support.waiting import DEADLINE_S


@pytest.fixture
async def node(node_factory: NodeFactory) -> Node:
    """A node on its default store."""
    return await node_factory()


@pytest.fixture
async def client(node: Node) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.fixture
async def task(client: Client) -> Task:
    """A task."""
    await client.projects.put("p")
    return await client.tasks.create("p", "T")


async def test_a_question_is_answered_by_one_call(client: Client, task: Task) -> None:
    """The refusal tells what differs and what would be lost; confirmed, exactly that session is replaced."""
    old = (await client.sessions.start(task.id, "run", {"name": "m", "version": "1.0"})).session
    await client.sessions.append(old.id, [("log", "precious")])
    with pytest.raises(ModelChangeRequiresConfirmation) as asked:
        await client.sessions.start(task.id, "run", {"name": "m", "version": "2.0"}, metadata={"k": 1})
    assert (asked.value.detail, asked.value.warning) == (texts.CONFIRM, texts.LOSS)
    assert asked.value.difference == Difference(result="changed", fields=("version",))
    assert asked.value.existing.id == old.id
    assert asked.value.export_url == f"/v1/sessions/{old.id}/export"
    assert [chunk["text"] for chunk in (await asked.value.export())["output"]] == ["precious"]
    outcome = await asked.value.confirm()
    assert outcome.outcome == "replaced"
    assert outcome.replaced is not None
    assert (outcome.replaced.id, outcome.session.metadata) == (old.id, {"k": 1})


async def test_of_many_that_confirm_at_once_one_wins(client: Client, task: Task) -> None:
    """All others are told who did, and can confirm that one: in the end each has had its turn."""
    await client.sessions.start(task.id, "run", "old")
    asked = []
    for number in range(8):
        with pytest.raises(ModelChangeRequiresConfirmation) as refusal:
            await client.sessions.start(task.id, "run", f"m{number}")
        asked.append(refusal.value)
    done = await asyncio.gather(*(question.confirm() for question in asked), return_exceptions=True)
    (won,) = [outcome for outcome in done if not isinstance(outcome, BaseException)]
    changed = [error for error in done if isinstance(error, SessionChanged)]
    assert len(changed) == 7
    assert {error.existing.id for error in changed} == {won.session.id}
    assert (await changed[0].confirm()).outcome == "replaced"
    with pytest.raises(SessionChanged):
        await changed[1].confirm()


async def test_a_rejected_start_names_the_session(client: Client, task: Task) -> None:
    """`reject` tells who holds the phase."""
    live = (await client.sessions.start(task.id, "run", "m")).session
    with pytest.raises(SessionActive) as refused:
        await client.sessions.start(task.id, "run", "m", on_conflict="reject")
    assert refused.value.existing is not None
    assert refused.value.existing.id == live.id


async def test_finding_sees_what_was_just_written_on_another_node(
    node_factory: NodeFactory, migrated_postgres_url: str
) -> None:
    """With the position of the write, a read on any node shows it; without a holder it is None."""
    env = {"SESSIONCAST_DATABASE_URL": migrated_postgres_url}
    one, other = await node_factory(env=env), await node_factory(env=env)
    async with Client(one.url) as writer, Client(other.url) as reader:
        await writer.projects.put("p")
        task = await writer.tasks.create("p", "T")
        assert await reader.sessions.find(task.id, "run", min_position=task.position) is None
        session = (await writer.sessions.start(task.id, "run", "m0")).session
        for number in range(1, 20):
            found = await reader.sessions.find(task.id, "run", min_position=session.position)
            assert found is not None
            assert found.id == session.id
            assert await reader.sessions.find(task.id, "run", debug=True, min_position=session.position) is None
            with pytest.raises(ModelChangeRequiresConfirmation) as asked:
                await writer.sessions.start(task.id, "run", f"m{number}")
            session = (await asked.value.confirm()).session
        gone = await writer.sessions.delete(session.id)
        assert gone is not None
        assert await reader.sessions.find(task.id, "run", min_position=gone) is None
        assert (await reader.sessions.get(session.id, min_position=gone)).deleted_at is not None


async def test_a_position_that_never_comes_is_told_at_once(client: Client, task: Task) -> None:
    """A position of another life of the log is refused, not waited for until the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(Unavailable) as refused:
            await client.sessions.find(task.id, "run", min_position="another:1")
    assert not refused.value.retryable


async def test_models_come_and_go(client: Client, task: Task) -> None:
    """Once one is registered only registered ones start; a deleted one's session stays, marked; names are any text."""
    name = "org/model a?b#c%2F"
    registered = await client.models.register("p", name)
    assert (registered.name, registered.project_id) == (name, "p")
    assert (await client.models.register("p", name)).version == registered.version
    await client.models.register("p", "plain")
    assert [model.name for model in (await client.models.list("p")).data] == sorted((name, "plain"))
    page = await client.models.list("p", limit=1)
    assert page.next is not None
    assert len((await client.models.list("p", after=page.next)).data) == 1
    session = (await client.sessions.start(task.id, "run", name)).session
    with pytest.raises(ModelNotFound) as refused:
        await client.sessions.start(task.id, "plan", "unknown")
    assert (refused.value.detail, refused.value.model) == (texts.MODEL_MISSING, "unknown")
    gone = await client.models.delete("p", name)
    assert gone is not None
    found = await client.sessions.find(task.id, "run", min_position=gone)
    assert found is not None
    assert found.id == session.id
    assert (found.model["available"], found.model["label"]) == (False, texts.MODEL_MISSING)
    assert [model.name for model in (await client.models.list("p")).data] == ["plain"]
    with pytest.raises(NotFound):
        await client.models.delete("p", "never registered")


async def test_flags_are_switched(client: Client, task: Task) -> None:
    """On, off and for a share; what cannot be is refused; with the rule off a phase takes several sessions."""
    name = "single_session_enabled"
    assert name in [flag.name for flag in await client.flags.list()]
    assert (await client.flags.set(name, 12.5)).percentage == 12.5
    assert (await client.flags.get(name)).state == "percentage"
    with pytest.raises(Invalid):
        await client.flags.set(name, 101)
    with pytest.raises(NotFound):
        await client.flags.get("no_such_flag")
    assert (await client.flags.set(name, "off")).state == "off"
    first = (await client.sessions.start(task.id, "run", "a")).session
    second = (await client.sessions.start(task.id, "run", "b")).session
    found = await client.sessions.find(task.id, "run", min_position=second.position)
    assert found is not None
    assert found.id == second.id
    listed = await client.sessions.list(task.id, min_position=second.position)
    assert [session.id for session in listed] == [second.id, first.id]
    settled = await client.flags.set(name, "on")
    assert (settled.state, settled.settled) == ("on", 1)


async def test_a_bulk_does_what_it_can(client: Client, task: Task) -> None:
    """Replaced, refused and deleted in one call, each item with its own outcome; again, nothing is done twice."""
    tasks = [await client.tasks.create("p", f"T{number}") for number in range(4)]
    old = [(await client.sessions.start(one.id, "run", "old")).session for one in tasks]
    replace = [
        Replacement(tasks[0].id, "run", "new", old[0].id),
        Replacement(tasks[1].id, "run", "new", old[0].id),
        Replacement("00000000-0000-4000-8000-000000000000", "run", "new", old[0].id),
    ]
    delete: list[Deletion | str] = [old[2].id, Deletion(old[3].id, old[3].version + 1)]
    done = await client.sessions.bulk("p", replace=replace, delete=delete)
    assert [type(error) for error in done.failed] == [SessionChanged, NotFound, PreconditionFailed]
    made, changed, missing = done.replace
    assert made.outcome is not None
    assert (made.outcome.outcome, made.outcome.session.model["name"]) == ("replaced", "new")
    assert [item.error is None for item in done.delete] == [True, False]
    assert missing.wish is replace[2]
    assert await client.sessions.find(tasks[2].id, "run", min_position=done.position) is None
    assert isinstance(changed.error, SessionChanged)
    assert changed.error.existing.id == old[1].id
    confirmed = await changed.error.confirm()
    assert confirmed.replaced is not None
    assert confirmed.replaced.id == old[1].id
    again = await client.sessions.bulk("p", replace=replace[:1], delete=delete[:1])
    assert again.failed == []
    assert again.replace[0].outcome is not None
    assert again.replace[0].outcome.outcome == "existing"


async def test_a_bulk_over_the_servers_bound_is_cut(client: Client, task: Task) -> None:
    """More than a thousand go in several requests, and come back as one outcome in order."""
    wishes = [f"00000000-0000-4000-8000-{number:012}" for number in range(1_001)]
    session = (await client.sessions.start(task.id, "run", "m")).session
    done = await client.sessions.bulk("p", delete=[*wishes, session.id])
    assert [item.wish.session for item in done.delete] == [*wishes, session.id]
    assert {type(error) for error in done.failed} == {NotFound}
    assert len(done.failed) == 1_001
    assert done.delete[-1].error is None
