"""The client against a real node: what it was promised, over restarts."""

import asyncio
from typing import Literal

import pytest

from sessioncast import (
    Client,
    Event,
    IllegalTransition,
    ModelChangeRequiresConfirmation,
    NotFound,
    Opened,
    SessionChanged,
    SessionReplaced,
    Snapshot,
    Subscription,
)
from support.node import Node, NodeFactory
from support.waiting import DEADLINE_S

Transport = Literal["sse", "websocket"]


@pytest.fixture
async def node(node_factory: NodeFactory) -> Node:
    """A node on its default store."""
    return await node_factory()


async def events(stream: Subscription, count: int) -> list[Event]:
    """The next events."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE_S):
        async for item in stream:
            if isinstance(item, Event):
                found.append(item)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_subscription_outlives_its_server(node: Node, transport: Transport) -> None:
    """Killed and started in the middle: every event once, in order, and nothing but a `resumed` to tell of it."""
    async with Client(node.url) as client:
        await client.projects.put("p")
        async with client.subscribe("p", transport=transport) as stream:
            assert isinstance(await anext(stream), Opened)
            assert isinstance(await anext(stream), Snapshot)
            before = [await client.tasks.create("p", f"T{number}") for number in range(20)]
            first = await events(stream, 10)
            node.kill()
            await node.start()
            after = [await client.tasks.create("p", f"U{number}") for number in range(20)]
            rest = await events(stream, 30)
    assert [event.task_id for event in first + rest] == [task.id for task in before + after]
    offsets = [int(event.position.partition(":")[2]) for event in first + rest]
    assert offsets == list(range(offsets[0], offsets[0] + 40))


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_kept_position_goes_on_in_another_life(node: Node, transport: Transport) -> None:
    """A program that kept its position gets exactly what it has not handled, in another process of its own."""
    async with Client(node.url) as client:
        await client.projects.put("p")
        async with client.subscribe("p", transport=transport) as stream:
            tasks = [await client.tasks.create("p", f"T{number}") for number in range(3)]
            async for item in stream:
                if isinstance(item, Snapshot):
                    break
            kept = stream.position
    async with Client(node.url) as client:
        await client.tasks.patch(tasks[0].id, title="new")
        async with client.subscribe("p", position=kept, transport=transport) as stream:
            opened = await anext(stream)
            assert isinstance(opened, Opened)
            assert opened.state == "resumed"
            (event,) = await events(stream, 1)
    assert (event.type, event.data["title"]) == ("task.updated", "new")


async def test_a_position_of_another_life_of_the_log_is_a_gap(node: Node) -> None:
    """The caller is told, and gets the present state."""
    async with Client(node.url) as client:
        await client.projects.put("p")
        task = await client.tasks.create("p", "T")
        async with client.subscribe("p", position="anotherlife:7") as stream:
            opened, snapshot = await anext(stream), await anext(stream)
    assert isinstance(opened, Opened)
    assert (opened.state, opened.from_) == ("gap", "anotherlife:7")
    assert isinstance(snapshot, Snapshot)
    assert [found.id for found in snapshot.tasks] == [task.id]


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_project_that_is_not_there_is_not_asked_for_again(node: Node, transport: Transport) -> None:
    """A missing project is `NotFound`, over either transport."""
    async with Client(node.url) as client:
        with pytest.raises(NotFound):
            await anext(client.subscribe("nope", transport=transport))


async def test_the_dance_of_a_replacement(node: Node) -> None:
    """Asked, confirmed, replaced; who confirmed the one before is told that it changed; the old one takes no more."""
    async with Client(node.url) as client:
        await client.projects.put("p")
        task = await client.tasks.create("p", "T")
        first = await client.sessions.start(task.id, "Review", "m")
        assert (await client.sessions.start(task.id, "verify", "m")).outcome == "existing"
        with pytest.raises(ModelChangeRequiresConfirmation) as asked:
            await client.sessions.start(task.id, "verify", "other")
        assert asked.value.existing.id == first.session.id
        confirm = asked.value.confirmation
        second = await client.sessions.start(task.id, "verify", "other", on_conflict="replace", confirm=confirm)
        assert second.outcome == "replaced"
        with pytest.raises(SessionChanged) as changed:
            await client.sessions.start(task.id, "verify", "third", on_conflict="replace", confirm=confirm)
        assert changed.value.existing.id == second.session.id
        with pytest.raises(SessionReplaced) as replaced:
            await client.sessions.append(first.session.id, [("log", "too late")])
        assert replaced.value.replaced_by == second.session.id
        await client.sessions.patch(second.session.id, status="completed")
        with pytest.raises(IllegalTransition):
            await client.sessions.patch(second.session.id, status="running")
        assert [session.id for session in await client.sessions.list(task.id)] == [second.session.id]
        assert (await client.tasks.get(task.id)).sessions["verify"].id == second.session.id
        assert (await client.tasks.find("p", "T")) is not None
        assert (await client.sessions.export(second.session.id))["session"]["id"] == second.session.id
        await client.sessions.delete(second.session.id)
        assert (await client.sessions.get(second.session.id)).deleted_at is not None
