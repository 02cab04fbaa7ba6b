"""Threads as they are seen live, and answers while they are being given."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from support.api import ALL_SCOPES, Api
from support.chat import Talk
from support.streams import Kind, Refused, Stream, follow, websocket
from support.threadfold import Fold
from support.threads import AFAR, READ_ALL, Chat

KINDS: list[Kind] = ["sse", "websocket"]


@pytest.fixture
def talk(api: Api) -> Talk:
    """A thread that is there, to chat in."""
    return Talk.begin(api).made()


def watching(chat: Chat, kind: Kind, *, position: str | None = None, **wanted: list[str]) -> Any:
    """An open stream of a thread, or of what is wanted."""
    wish = wanted or {"thread": [chat.id]}
    return follow(kind, chat.api.url, chat.project, token=chat.api.token, wanted=wish, position=position)


def resources(stream: Stream) -> list[dict[str, Any]]:
    """What snapshots held."""
    return [resource for frame in stream.of("snapshot") for resource in frame["resources"]]


def logged(stream: Stream) -> list[dict[str, Any]]:
    """Events that have a position."""
    return [event for event in stream.events if "position" in event]


def told(stream: Stream) -> str:
    """What pieces of an answer make."""
    return "".join(event["data"]["text"] for event in stream.events if event["type"] == "message.delta")


async def ended(stream: Stream, chat: Chat, what: str = "the end") -> None:
    """Everything that was told up to now came."""
    mark = chat.append([{"role": "user", "content": what}])
    position = mark.headers["x-position"]
    await stream._until(lambda: any(event.get("position") == position for event in stream.events), what)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_watcher_holds_the_thread(talk: Talk, kind: Kind) -> None:
    """A snapshot of the thread and its messages by number, then each change as it happens: always what is read."""
    talk.appended("one", "two")
    talk.beside().appended("elsewhere")
    async with watching(talk, kind) as stream:
        await stream.said("snapshot")
        assert [(one["kind"], one["data"].get("seq")) for one in resources(stream)] == [
            ("thread", None), ("message", 1), ("message", 2),
        ]  # fmt: skip
        talk.popped()
        talk.appended(*range(210))
        talk.post("clear")
        talk.say("hello")
        await ended(stream, talk)
        fold = Fold()
        fold.show(resources(stream))
        for event in logged(stream):
            fold.take(event["type"], event["version"], event["data"])
        fold.is_shown(talk.get(), talk.whole())


@pytest.mark.parametrize("kind", KINDS)
async def test_pieces_come_between_line_and_answer(talk: Talk, kind: Kind) -> None:
    """After the line its answer comes in pieces, numbered from 0, with the id that it is kept under; then whole."""
    async with watching(talk, kind) as stream:
        await stream.said("snapshot")
        answers = [talk.say("What can you do?"), talk.say("hello")]
        await ended(stream, talk)
        for exchange, answer in enumerate(answers):
            types = [event["type"] for event in stream.events]
            created = [number for number, type_ in enumerate(types) if type_ == "message.created"]
            first, last = created[2 * exchange : 2 * exchange + 2]
            line, *pieces, kept = stream.events[first : last + 1]
            assert (line["data"]["role"], kept["data"]["role"]) == ("user", "assistant")
            assert kept["data"]["content"] == answer
            assert pieces
            for index, piece in enumerate(pieces):
                assert piece.keys() == {"type", "at", "project_id", "thread_id", "data"}
                assert (piece["type"], piece["project_id"]) == ("message.delta", talk.project)
                assert piece["thread_id"] == talk.id
                assert piece["data"].keys() == {"user", "message_id", "index", "text"}
                named = [piece["data"][name] for name in ("user", "message_id", "index")]
                assert named == ["ann", kept["data"]["id"], index]
            assert "".join(piece["data"]["text"] for piece in pieces) == answer


@pytest.mark.parametrize("kind", KINDS)
async def test_pieces_are_never_told_again(talk: Talk, kind: Kind) -> None:
    """Who comes back, and who comes late, is told the line and the answer, and no pieces."""
    since = talk.api.get(talk.path).headers["x-position"]
    talk.say("hello")
    for position in (since, None):
        async with watching(talk, kind, position=position) as stream:
            await ended(stream, talk)
            assert not [event for event in stream.events if event["type"] == "message.delta"]
            if position is not None:
                assert [event["data"]["role"] for event in stream.events][:2] == ["user", "assistant"]
    assert not [event for event in talk.own_events() if event["type"] == "message.delta"]


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_else_sees_it(talk: Talk, kind: Kind) -> None:
    """A thread of the same id, the project, a task of it: of what happens and of the pieces none is shown there.

    With threads:read_all the project's stream shows it all.
    """
    bob = talk.acting(sub="bob").made()
    reader = talk.acting(scopes=READ_ALL)
    task = talk.api.ok(talk.api.post(f"/v1/projects/{talk.project}/tasks", {"title": "T"}), 201)
    async with AsyncExitStack() as stack:
        his = await stack.enter_async_context(watching(bob, kind))
        plain = await stack.enter_async_context(watching(talk, kind, task=[task["id"]]))
        whole = await stack.enter_async_context(watching(talk, kind, kinds=["task", "thread"]))
        every = await stack.enter_async_context(watching(reader, kind, kinds=["task", "thread"]))
        for stream in (his, plain, whole, every):
            await stream.said("snapshot")
        answer = talk.say("hello")
        talk.popped()
        await ended(his, bob, "bob's")
        talk.api.ok(talk.api.patch(f"/v1/tasks/{task['id']}", {"title": "U"}), 200)
        for stream in (plain, whole):
            await stream._until(lambda stream=stream: bool(stream.events), "the task's event")
            assert [event["type"] for event in stream.events] == ["task.updated"]
        assert [event["data"]["content"] for event in his.events] == ["bob's"]
        await every._until(lambda: every.events[-1]["type"] == "task.updated", "the task's event")
        assert told(every) == answer
        assert [(event["type"], event["data"].get("user")) for event in logged(every)] == [
            ("message.created", "ann"), ("message.created", "ann"), ("message.popped", "ann"),
            ("message.created", "bob"), ("task.updated", None),
        ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_ones_own_comes_first(talk: Talk, kind: Kind) -> None:
    """Who may read all and has a thread of that id sees his own only; who has none sees all of that id."""
    bob = talk.acting(sub="bob").made()
    async with (
        watching(talk.acting(scopes=READ_ALL), kind) as own,
        watching(talk.acting(sub="root", scopes=READ_ALL), kind) as every,
    ):
        for stream in (own, every):
            await stream.said("snapshot")
        answer = bob.say("hello")
        await ended(own, talk)
        await ended(every, talk, "last")
        assert {event["data"]["user"] for event in own.events} == {"ann"}
        assert [event["data"]["user"] for event in logged(every)] == ["bob", "bob", "ann", "ann"]
        assert told(every) == answer


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_of_anothers_thread_is_not_to_be_had(talk: Talk, kind: Kind) -> None:
    """A thread that is not there, or is another user's only: not found, on both transports."""
    for stranger, ids in ((talk.acting(sub="bob"), [talk.id]), (talk, [talk.id, AFAR])):
        with pytest.raises(Refused) as caught:
            async with watching(stranger, kind, thread=ids):
                pass
        assert caught.value.problem["code"] == "not_found"
    with pytest.raises(Refused) as caught:
        async with watching(talk.acting(scopes=ALL_SCOPES[1:]), kind):
            pass
    assert caught.value.problem["code"] == "forbidden"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_outlives_its_thread(talk: Talk, kind: Kind) -> None:
    """Who watches a thread is told that it was deleted, and sees the next one of its id."""
    async with watching(talk, kind) as stream:
        await stream.said("snapshot")
        talk.api.ok(talk.api.delete(talk.path), 204)
        await ended(stream, talk, "anew")
        assert [event["type"] for event in stream.events] == ["thread.deleted", "thread.created", "message.created"]


async def test_a_right_that_ends_ends_what_it_showed(talk: Talk) -> None:
    """A WebSocket whose token is renewed without threads:read_all loses others' threads, and keeps one's own."""
    root = talk.acting(sub="root", scopes=READ_ALL)
    own = root.beside().made()
    async with websocket(talk.api.url, token=root.api.token) as socket:
        for wish in ({"thread": [talk.id]}, {"thread": [own.id]}, {"kinds": ["thread"]}):
            await socket.say("subscribe", project=talk.project, filter=wish)
        await socket.said("snapshot", 3)
        plain = talk.acting(sub="root").api.token
        await socket.say("auth", token=plain.removeprefix("Bearer "))
        await socket.said("unsubscribed", 2)
        assert {frame["reason"] for frame in socket.of("unsubscribed")} == {"forbidden"}
        talk.appended("not for root")
        await ended(socket, own, "for root")
        assert [event["data"]["content"] for event in socket.events] == ["for root"]
