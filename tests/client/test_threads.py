"""Threads against a real node, on each kind of database."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from sessioncast import (
    Client,
    Event,
    Invalid,
    Message,
    NewMessage,
    NotFound,
    SessionBeingModified,
    Snapshot,
)
from sessioncast.streams.items import Item
from sessioncast.streams.subscription import Subscription
from sessioncast_server.db.migrate import migrate
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database
from support.waiting import DEADLINE_S

EVERY: list[Any] = [
    {"role": "user", "content": [{"type": "input_text", "text": "Süß — 🌞"}], "name": None},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": 1}'},
    {"output": {"z": [1, 1.5, None, True], "a": {}}, "type": "function_call_output", "call_id": "c"},
    {"role": "assistant", "content": ""},
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node for all tests of this file, each in a project of its own."""
    folder = tmp_path_factory.mktemp("node")
    if request.param == "sqlite":
        with NodeProcess(folder, port=free_port(), env={}, arguments=()) as started:
            yield started
    else:
        with fresh_database(request.getfixturevalue("postgres").url) as url:
            migrate(url)
            env = {"SESSIONCAST_DATABASE_URL": url}
            with NodeProcess(folder, port=free_port(), env=env, arguments=()) as started:
                yield started


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.fixture
async def project(client: Client) -> str:
    """A new project."""
    return (await client.projects.put(f"p-{uuid4().hex}")).id


async def texts(client: Client, project: str, thread: str) -> list[Any]:
    """What is said in a thread."""
    return [message.content for message in await client.threads.messages(project, thread)]


async def test_a_thread_is_made_once(client: Client, project: str) -> None:
    """Under an id of one's own, or by its first message; making it again changes nothing."""
    id_ = str(uuid4())
    made = await client.threads.create(project, id=id_, title="T")
    again = await client.threads.create(project, id=id_, title="U")
    assert (made.id, made.title, made.user, again) == (id_, "T", "local", made)
    other = str(uuid4())
    (first,) = await client.threads.append(project, other, {"role": "user", "content": "hi"})
    assert first.position is not None
    assert [thread.id async for thread in client.threads.list(project)] == [other, id_]
    assert (await client.threads.get(project, other)).message_count == 1
    stats = await client.threads.stats(project, made)
    assert (stats.count, stats.expires_at) == (0, made.expires_at)


async def test_a_deleted_thread_is_gone(client: Client, project: str) -> None:
    """It is not found by anything afterwards, nor deleted again."""
    thread = await client.threads.create(project)
    assert await client.threads.delete(project, thread) is not None
    for call in ("get", "delete", "messages", "pop", "clear", "stats"):
        with pytest.raises(NotFound):
            await getattr(client.threads, call)(project, thread)
    assert [found async for found in client.threads.list(project)] == []


async def test_items_come_back_as_they_were(client: Client, project: str) -> None:
    """Whole, in order, with the role that they tell; a text has the role that was said."""
    id_ = str(uuid4())
    appended = await client.threads.append(project, id_, EVERY)
    said = await client.threads.say(project, id_, "system", "be nice")
    found = await client.threads.messages(project, id_)
    assert found == [*appended, said]
    assert json.dumps([message.content for message in found]) == json.dumps([*EVERY, "be nice"])  # keys in order, too
    assert [message.role for message in found] == ["user", "assistant", "tool", "assistant", "system"]
    assert [message.seq for message in found] == [1, 2, 3, 4, 5]
    assert await client.threads.messages(project, id_, last=2) == found[3:]
    assert await client.threads.messages(project, id_, after=3) == found[3:]


async def test_an_append_is_all_or_none(client: Client, project: str) -> None:
    """One that tells no role takes the others with it."""
    id_ = str(uuid4())
    with pytest.raises(Invalid):
        await client.threads.append(project, id_, [*EVERY, {"content": "who?"}])
    with pytest.raises(NotFound):
        await client.threads.get(project, id_)


async def test_a_message_of_an_id_is_there_once(client: Client, project: str) -> None:
    """Whoever is not sure asks again, also together with a new one."""
    id_ = str(uuid4())
    one, two = (NewMessage(text, role="user", id=str(uuid4())) for text in ("1", "2"))
    (first,) = await client.threads.append(project, id_, one)
    again, second = await client.threads.append(project, id_, [one, two])
    assert again == first
    assert [message.content for message in await client.threads.messages(project, id_)] == ["1", "2"]
    assert (first.id, second.id) == (one.id, two.id)


async def test_the_newest_can_be_taken_away_and_all(client: Client, project: str) -> None:
    """None of none; the count of all that ever were goes on."""
    thread = await client.threads.create(project)
    assert await client.threads.pop(project, thread) is None
    _, last = await client.threads.append(project, thread, EVERY[:2])
    assert await client.threads.pop(project, thread) == last
    cleared = await client.threads.clear(project, thread)
    assert (cleared.message_count, cleared.message_seq) == (0, 2)
    assert (await client.threads.say(project, thread, "user", "x")).seq == 3


async def test_users_never_meet(client: Client, project: str, node: NodeProcess) -> None:
    """Two threads of one id; who may read all names whose, and gets a list of everybody's."""
    id_ = str(uuid4())
    async with Client(node.url, user="ann") as ann:
        await ann.threads.say(project, id_, "user", "ann's")
        await client.threads.say(project, id_, "user", "mine")
        assert await texts(ann, project, id_) == ["ann's"]
        assert await texts(client, project, id_) == ["mine"]
        theirs = await client.threads.messages(project, id_, user="ann")
        assert [message.content for message in theirs] == ["ann's"]
        assert {thread.user async for thread in client.threads.list(project, everybody=True)} == {"ann", "local"}
        assert [thread.user async for thread in client.threads.list(project, user="ann")] == ["ann"]
        assert [thread.user async for thread in ann.threads.list(project)] == ["ann"]
        await client.threads.acting_for("ann").delete(project, id_)
        with pytest.raises(NotFound):
            await ann.threads.get(project, id_)


async def test_a_run_has_the_thread_to_itself(client: Client, project: str) -> None:
    """What others ask for comes after it, or not in time; what is done in it is done at once."""
    id_ = str(uuid4())
    async with client.threads.run(project, id_) as run:
        with pytest.raises(SessionBeingModified) as caught:
            await client.threads.say(project, id_, "user", "too early", wait_s=0)
        assert caught.value.ahead == 1
        waiting = asyncio.create_task(client.threads.say(project, id_, "user", "after"))
        await run.append(EVERY[1:3])
        await run.say("user", "x")
        popped = await run.pop()
        assert popped is not None
        assert popped.content == "x"
        assert [message.content for message in await run.messages()] == EVERY[1:3]
        assert not waiting.done()
    await waiting
    assert await texts(client, project, id_) == [*EVERY[1:3], "after"]
    async with client.threads.run(project, id_, wait_s=0) as run:
        assert (await run.clear()).message_count == 0


async def test_many_take_their_turns_in_the_order_they_came(client: Client, project: str, node: NodeProcess) -> None:
    """From two clients; nobody comes between what one says in a run."""
    id_ = str(uuid4())
    async with Client(node.url) as other:

        async def turn(client: Client, name: str) -> None:
            async with client.threads.run(project, id_, wait_s=60) as run:
                for _ in range(3):
                    await run.say("user", name)

        await asyncio.gather(*(turn(each, str(number)) for number, each in enumerate([client, other] * 3)))
    said = await texts(client, project, id_)
    assert sorted(said[start : start + 3] for start in range(0, 18, 3)) == [[str(number)] * 3 for number in range(6)]


async def shown(stream: Subscription, *types: str) -> list[Event]:
    """The next events, of these types."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < len(types):
            item: Item = await anext(stream)
            if isinstance(item, Event):
                found.append(item)
    assert [event.type for event in found] == list(types)
    return found


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_thread_is_seen_live(client: Client, project: str, transport: Any) -> None:
    """What there is, then each change in order; not by who follows the project or another thread."""
    thread = await client.threads.create(project)
    await client.threads.append(project, thread, EVERY[:2])
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(client.subscribe(project, thread=[thread.id], transport=transport))
        async with asyncio.timeout(DEADLINE_S):
            while not isinstance(snapshot := await anext(stream), Snapshot):
                pass
        assert [found.message_count for found in snapshot.threads] == [2]
        assert [message.content for message in snapshot.messages] == EVERY[:2]
        (told,) = await client.threads.append(project, thread, EVERY[2])
        await client.threads.pop(project, thread)
        await client.threads.clear(project, thread)
        await client.threads.delete(project, thread)
        events = await shown(stream, "message.created", "message.popped", "thread.pruned", "thread.deleted")
    assert Message.model_validate(events[0].data) == told
    assert {event.thread_id for event in events} == {thread.id}
    assert (events[2].data["count"], events[2].data["reason"]) == (2, "cleared")
    versions = [event.version or 0 for event in events]
    assert versions == sorted(set(versions))
