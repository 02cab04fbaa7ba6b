"""Agents of the OpenAI Agents SDK whose memory is a thread, against a real node."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from agents import Agent, Runner, function_tool

from sessioncast import Client, Event, Limits, Message, SessionBeingModified, Snapshot
from sessioncast.integrations.openai_agents import Session
from support.agentmodel import QUIET, ScriptedModel, call, text, thought
from support.node import Node, NodeFactory, NodeProcess
from support.waiting import DEADLINE_S


@function_tool
def weather(city: str) -> str:
    """What it is like in a city."""
    return f"sun in {city}"


def agent(model: ScriptedModel) -> Agent[Any]:
    """One that can tell the weather."""
    return Agent("a", model=model, tools=[weather])


async def ask(session: Session, question: str, model: ScriptedModel) -> Any:
    """What an agent finally says."""
    return (await Runner.run(agent(model), question, session=session, run_config=QUIET)).final_output


async def said(client: Client, session: Session) -> list[Message]:
    """What is in the thread."""
    return list(await client.threads.messages(session.project, session.session_id))


async def test_a_conversation_keeps_its_memory(client: Client, project: str) -> None:
    """Each turn's model is told all that was said before, also by a `Session` made anew under the name."""
    model = ScriptedModel([text("Hello, Ann.")], [text("You are Ann.")], [text("Still Ann.")])
    assert await ask(Session("chat", client, project=project), "I am Ann", model) == "Hello, Ann."
    assert await ask(Session("chat", client, project=project), "Who am I?", model) == "You are Ann."
    session = Session("chat", client, project=project)
    streamed = Runner.run_streamed(agent(model), "And now?", session=session, run_config=QUIET)
    async for _ in streamed.stream_events():
        pass
    assert streamed.final_output == "Still Ann."
    assert model.texts()[-1] == ["I am Ann", "Hello, Ann.", "Who am I?", "You are Ann.", "And now?"]
    found = await said(client, session)
    assert [message.role for message in found] == ["user", "assistant"] * 3


async def test_tools_are_remembered_and_seen_live(client: Client, project: str) -> None:
    """Thoughts, calls and what came of them are in the thread, in order, and a watcher sees each as it comes."""
    session = Session("chat", client, project=project)
    await client.threads.create(project, id=session.session_id)
    model = ScriptedModel([thought(), call("weather", '{"city": "Rome"}', call_id="c1")], [text("Sunny.")])
    async with client.subscribe(project, thread=[session.session_id]) as stream:
        async for item in stream:
            if isinstance(item, Snapshot):
                break
        assert await ask(session, "Weather?", model) == "Sunny."
        live = []
        async with asyncio.timeout(DEADLINE_S):
            async for item in stream:
                if isinstance(item, Event) and item.type == "message.created":
                    live.append(Message.model_validate(item.data))
                    if len(live) == 5:
                        break
    assert [message.role for message in live] == ["user", "assistant", "assistant", "tool", "assistant"]
    kinds = [message.content.get("type") for message in live]
    assert kinds == [None, "reasoning", "function_call", "function_call_output", "message"]
    assert live[3].content == {"call_id": "c1", "output": "sun in Rome", "type": "function_call_output"}
    assert await said(client, session) == live
    assert await session.get_items() == [message.content for message in live]


async def test_runs_do_not_come_between_each_other(client: Client, project: str, node: NodeProcess) -> None:
    """Two agents on one thread, each in a run: one whole turn after the other."""

    async def turn(client: Client, question: str) -> None:
        session = Session("chat", client, project=project)
        model = ScriptedModel([call("weather", '{"city": "Rome"}', call_id=question)], [text(f"{question}: sun")])
        async with session.run():
            await ask(session, question, model)

    async with Client(node.url) as other:
        await asyncio.gather(*(turn(each, str(number)) for number, each in enumerate([client, other, client, other])))
    found = await said(client, Session("chat", client, project=project))
    turns = [[message.content for message in found[start : start + 4]] for start in range(0, len(found), 4)]
    assert sorted(asked["content"] for asked, *_ in turns) == ["0", "1", "2", "3"]
    for asked, called, output, answered in turns:
        question = asked["content"]
        assert [called["call_id"], output["call_id"]] == [question, question]
        assert answered["content"][0]["text"] == f"{question}: sun"


async def test_agents_on_two_nodes_take_turns(node_factory: NodeFactory, migrated_postgres_url: str) -> None:
    """Whole turns, one after the other, and a watcher of one node sees what was said on both, in order."""
    env = {"SESSIONCAST_DATABASE_URL": migrated_postgres_url}
    first, second = await node_factory(env=env), await node_factory(env=env)
    id_ = uuid4()

    async def turn(client: Client, question: str) -> None:
        session = Session(id_, client, project="p")
        model = ScriptedModel([call("weather", '{"city": "Rome"}', call_id=question)], [text(f"{question}: sun")])
        async with session.run(wait_s=60):
            await ask(session, question, model)

    async with Client(first.url) as one, Client(second.url) as two:
        await one.projects.put("p")
        await one.threads.create("p", id=str(id_))
        async with two.subscribe("p", thread=[str(id_)]) as stream, asyncio.timeout(DEADLINE_S):
            while not isinstance(await anext(stream), Snapshot):
                pass
            await asyncio.gather(*(turn(each, str(number)) for number, each in enumerate([one, two] * 3)))
            live: list[Message] = []
            while len(live) < 24:
                item = await anext(stream)
                if isinstance(item, Event) and item.type == "message.created":
                    live.append(Message.model_validate(item.data))
        assert await said(two, Session(id_, two, project="p")) == live
    turns = [[message.content for message in live[start : start + 4]] for start in range(0, 24, 4)]
    assert all(called["call_id"] == output["call_id"] == asked["content"] for asked, called, output, _ in turns)
    assert sorted(asked["content"] for asked, *_ in turns) == [str(number) for number in range(6)]


async def test_without_runs_each_append_stays_whole(client: Client, project: str) -> None:
    """Turns side by side mix, but what an agent adds at once stays together."""
    first = Session("chat", client, project=project)
    slow, quick = ScriptedModel([text("slow")]), ScriptedModel([text("quick")])
    slow.go.clear()
    task = asyncio.create_task(ask(first, "1", slow))
    await slow.asked.wait()
    await ask(Session("chat", client, project=project), "2", quick)
    slow.go.set()
    await task
    texts = [message.content["content"] for message in await said(client, first)]
    assert [part if isinstance(part, str) else part[0]["text"] for part in texts] == ["1", "2", "quick", "slow"]
    batches = [[{"role": "user", "content": f"{batch}.{number}"} for number in range(20)] for batch in range(8)]
    shared = Session("batches", client, project=project)
    await asyncio.gather(*(shared.add_items(list(batch)) for batch in batches))  # type: ignore[arg-type]  # plain dicts
    found = await shared.get_items()
    assert sorted([found[start : start + 20] for start in range(0, 160, 20)], key=str) == batches


async def test_a_run_in_a_run_is_the_same_one(client: Client, project: str) -> None:
    """Also by another `Session` of the thread, and in tasks begun there; after it each change is its own again."""
    session, again = Session("chat", client, project=project), Session("chat", client, project=project)
    async with session.run(wait_s=0, lease_s=30) as outer:
        async with again.run(wait_s=0) as inner:
            assert inner is outer
        await asyncio.create_task(again.add_items([{"role": "user", "content": "1"}]))
        with pytest.raises(SessionBeingModified):
            await client.threads.pop(project, session.session_id, wait_s=0)
        left = asyncio.Event()
        late = asyncio.create_task(after(left, again))
    left.set()
    await late
    assert [message.content["content"] for message in await said(client, session)] == ["1", "2"]


async def after(event: asyncio.Event, session: Session) -> None:
    """Add an item once it has happened."""
    await event.wait()
    await session.add_items([{"role": "user", "content": "2"}])


async def test_others_wait_while_a_run_lasts(client: Client, project: str) -> None:
    """A task outside is no part of it, though it uses the same `Session`."""
    session = Session("chat", client, project=project)
    began, done = asyncio.Event(), asyncio.Event()

    async def outside() -> None:
        await began.wait()
        with pytest.raises(SessionBeingModified):
            async with session.run(wait_s=0):
                raise AssertionError
        done.set()

    task = asyncio.create_task(outside())
    async with session.run():
        began.set()
        await done.wait()
        await session.add_items([{"role": "user", "content": "1"}])
    await task


async def restarted(node: Node) -> None:
    """Killed, and started again on its port and file."""
    node.kill()
    await node.start()


async def test_memory_outlives_the_server_between_turns(node_factory: NodeFactory) -> None:
    """Killed between two turns: the second knows the first."""
    node = await node_factory()
    model = ScriptedModel([text("one")], [text("two")])
    async with Client(node.url) as client:
        await client.projects.put("p")
        session = Session("chat", client, project="p")
        await ask(session, "1", model)
        await restarted(node)
        await ask(session, "2", model)
    assert model.texts()[-1] == ["1", "one", "2"]


async def test_a_turn_outlives_the_server(node_factory: NodeFactory) -> None:
    """Killed while the model thinks, in a run: the turn ends as if nothing had been, nothing is doubled or lost."""
    node = await node_factory()
    model = ScriptedModel([call("weather", '{"city": "Rome"}', call_id="c1")], [text("sun")])
    async with Client(node.url, limits=Limits(backoff_base_s=0.05)) as client:
        await client.projects.put("p")
        session = Session("chat", client, project="p")
        model.go.clear()

        async def turn() -> None:
            async with session.run():
                await ask(session, "1", model)

        task = asyncio.create_task(turn())
        await model.asked.wait()
        node.kill()
        model.go.set()
        await node.start()
        await task
        kinds = [message.content.get("type") for message in await said(client, session)]
        assert kinds == [None, "function_call", "function_call_output", "message"]
        assert (await client.threads.get("p", session.session_id)).message_count == 4
        async with session.run(wait_s=0):
            pass


# The SDK shuts the async generators of its loop down after each run; asyncio then warns of every later one.
@pytest.mark.filterwarnings("ignore:asynchronous generator .* was scheduled after:ResourceWarning")
def test_a_synchronous_runner_remembers(node: NodeProcess) -> None:
    """`Runner.run_sync` keeps one event loop for all its runs: a client that is used by nothing else lives on it."""
    client = Client(node.url)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        project = loop.run_until_complete(client.projects.put(f"p-{uuid4().hex}")).id
        session = Session("chat", client, project=project)
        model = ScriptedModel([text("one")], [text("two")])
        for question in ("1", "2"):
            Runner.run_sync(agent(model), question, session=session, run_config=QUIET)
        assert model.texts()[-1] == ["1", "one", "2"]
    finally:
        loop.run_until_complete(client.aclose())
        asyncio.set_event_loop(None)
        loop.close()
