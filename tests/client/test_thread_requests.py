"""What each call about threads sends, and what it makes of the answer."""

import asyncio
import base64
import json
from typing import Any

import pytest
from pydantic import BaseModel

from sessioncast import Client, ConnectionLost, Limits, Message, NewMessage, NotFound, SessionBeingModified, TooLarge
from sessioncast.identity import user_of
from sessioncast.messages import in_parts, new_messages
from sessioncast_shared.threads import Thread
from support.samples import AT
from support.scripted import Lost, Reply, ScriptedServer

THREAD: dict[str, Any] = {
    **dict.fromkeys(("created_at", "last_activity_at", "expires_at"), AT),
    "id": "h/1",
    "project_id": "p",
    "user": "local",
    "version": 1,
    "message_seq": 0,
    "message_count": 0,
    "a_field_of_a_newer_server": 1,
}
MESSAGE: dict[str, Any] = {
    "id": "m",
    "thread_id": "h/1",
    "user": "local",
    "seq": 3,
    "role": "user",
    "content": "hi",
    "created_at": AT,
}
PAGE = {"data": [MESSAGE], "next": None}
RUN = {"id": "r", "thread_id": "h/1", "lease_s": 60.0, "ahead": 0}
STATS = {"count": 1, "age_s": 2.5, "last_activity_at": AT, "expires_at": AT}
OF = Thread.model_validate(THREAD)
THREADS = "/v1/projects/p/threads"


@pytest.mark.parametrize(
    ("call", "answer", "sent", "body"),
    [
        (lambda c: c.threads.create("p"), THREAD, f"POST {THREADS}", {}),
        (
            lambda c: c.threads.create("p", id="i", title="T"),
            THREAD,
            f"POST {THREADS}",
            {"id": "i", "title": "T"},
        ),
        (lambda c: c.threads.get("p", OF), THREAD, f"GET {THREADS}/h%2F1", None),
        (lambda c: c.threads.get("p", "h", user="ann"), THREAD, f"GET {THREADS}/h?user=ann", None),
        (lambda c: c.threads.messages("p", "h"), PAGE, f"GET {THREADS}/h/messages?limit=200&order=asc", None),
        (
            lambda c: c.threads.messages("p", "h", after=0, user="ann"),
            PAGE,
            f"GET {THREADS}/h/messages?after=0&limit=200&order=asc&user=ann",
            None,
        ),
        (lambda c: c.threads.messages("p", "h", last=2), PAGE, f"GET {THREADS}/h/messages?limit=2&order=desc", None),
        (
            lambda c: c.threads.append("p", "h", {"role": "user"}, wait_s=0),
            {"data": [MESSAGE], "pruned": 2},
            f"POST {THREADS}/h/messages",
            {"messages": [{"content": {"role": "user"}}], "wait_s": 0},
        ),
        (
            lambda c: c.threads.say("p", "h", "user", "hi", run="r"),
            {"data": [MESSAGE], "pruned": 0},
            f"POST {THREADS}/h/messages",
            {"messages": [{"role": "user", "content": "hi"}], "run": "r"},
        ),
        (lambda c: c.threads.pop("p", "h", run="r"), {"message": MESSAGE}, f"POST {THREADS}/h/pop", {"run": "r"}),
        (lambda c: c.threads.clear("p", OF, wait_s=1), THREAD, f"POST {THREADS}/h%2F1/clear", {"wait_s": 1}),
        (lambda c: c.threads.stats("p", "h", user="ann"), STATS, f"GET {THREADS}/h/stats?user=ann", None),
    ],
)
async def test_calls_send_what_was_meant(
    server: ScriptedServer, quick: Limits, call: Any, answer: Any, sent: str, body: Any
) -> None:
    """What was not said is not sent, zero is; threads stand for their ids; every message has an id of its own."""
    server.say(Reply(200, answer))
    async with Client(server.url, limits=quick) as client:
        assert await call(client)
    (seen,) = server.seen
    query = "&".join(f"{name}={value}" for name, (value,) in sorted(seen.query.items()))
    assert f"{seen.method} {seen.path}" + (f"?{query}" if query else "") == sent
    told = json.loads(seen.body) if seen.body else None
    if told and "messages" in told:
        assert all(len(message.pop("id")) == 36 for message in told["messages"])
    assert told == body


async def test_a_deletion_tells_its_position(server: ScriptedServer, quick: Limits) -> None:
    """It is visible from there on."""
    server.say(Reply(204, None, {"X-Position": "e:7"}))
    async with Client(server.url, limits=quick) as client:
        assert await client.threads.delete("p", "h") == "e:7"
    assert [f"{seen.method} {seen.path}" for seen in server.seen] == [f"DELETE {THREADS}/h"]


async def test_threads_are_listed_page_by_page(server: ScriptedServer, quick: Limits) -> None:
    """To the end, with the same wishes."""
    server.say(Reply(200, {"data": [THREAD], "next": "x"}), Reply(200, {"data": [{**THREAD, "id": "2"}], "next": None}))
    async with Client(server.url, limits=quick) as client:
        assert [thread.id async for thread in client.threads.list("p", everybody=True)] == ["h/1", "2"]
    assert [seen.query for seen in server.seen] == [
        {"all": ["true"], "limit": ["200"]},
        {"all": ["true"], "limit": ["200"], "after": ["x"]},
    ]


def numbered(*seqs: int, next_: str | None = None) -> Reply:
    """A page of messages."""
    return Reply(200, {"data": [{**MESSAGE, "seq": seq} for seq in seqs], "next": next_})


async def test_the_newest_messages_come_in_their_order(server: ScriptedServer, quick: Limits) -> None:
    """They are read backwards, no further than is wanted, and told forwards; none of none are not asked for."""
    server.say(numbered(*range(900, 700, -1), next_="701"), numbered(700, 699, 690, next_="690"))
    async with Client(server.url, limits=quick) as client:
        found = await client.threads.messages("p", "h", last=203)
        assert [message.seq for message in found] == [690, *range(699, 901)]
        assert await client.threads.messages("p", "h", last=0) == []
    assert [seen.query for seen in server.seen] == [
        {"order": ["desc"], "limit": ["200"]},
        {"order": ["desc"], "limit": ["3"], "after": ["701"]},
    ]


async def test_all_messages_are_read_to_the_end(server: ScriptedServer, quick: Limits) -> None:
    """Page after page, from where one was."""
    server.say(numbered(5, 6, next_="6"), numbered(9))
    async with Client(server.url, limits=quick) as client:
        assert [message.seq for message in await client.threads.messages("p", "h", after=4)] == [5, 6, 9]
    assert [seen.query["after"] for seen in server.seen] == [["4"], ["6"]]


async def test_the_newest_are_also_later_than_a_place(server: ScriptedServer, quick: Limits) -> None:
    """With both wishes the two are met: no more than so many, and none that was seen."""
    server.say(numbered(9, 7, 6))
    async with Client(server.url, limits=quick) as client:
        assert [message.seq for message in await client.threads.messages("p", "h", last=3, after=6)] == [7, 9]


class Said(BaseModel):
    """An item of somebody's SDK."""

    role: str
    name: str | None = None
    tools: dict[str, int] | None = None


@pytest.mark.parametrize(
    ("items", "contents"),
    [
        ({"role": "user", "content": None}, [{"role": "user", "content": None}]),
        ([{"b": 1, "a": 2}], [{"b": 1, "a": 2}]),
        (Said(role="user", tools=None), [{"role": "user", "tools": None}]),
        ((NewMessage(content=[1], role="x"), {"role": "y"}), [[1], {"role": "y"}]),
        (Message.model_validate(MESSAGE), ["hi"]),
        ([], []),
    ],
)
def test_every_item_is_one_content(items: Any, contents: list[Any]) -> None:
    """Objects are taken whole, None and all, of models what was set; one may come without a list."""
    assert [message.content for message in new_messages(items)] == contents


def test_a_copied_message_keeps_its_role_and_gets_an_id_of_its_own() -> None:
    """What another thread has under an id is another message here."""
    (copied,) = new_messages(Message.model_validate(MESSAGE))
    assert (copied.role, copied.content, copied.id) == ("user", "hi", None)


@pytest.mark.parametrize("items", ["hi", b"hi", ["hi"], [1], [None], [["role", "user"]]])
async def test_what_does_not_tell_who_says_it_is_not_sent(server: ScriptedServer, quick: Limits, items: Any) -> None:
    """A bare text, most of all: it would be a message a letter."""
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(TypeError, match="NewMessage"):
            await client.threads.append("p", "h", items)
    assert server.seen == []


async def test_nothing_to_append_is_not_sent(server: ScriptedServer, quick: Limits) -> None:
    """No messages are appended by no request."""
    async with Client(server.url, limits=quick) as client:
        assert await client.threads.append("p", "h", []) == []
        assert client.threads.parts([]) == []
    assert server.seen == []


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([{"role": "user"}] * 1001, "413 too_large: 1001 messages are more than 1000, the most for one append."),
        ([{"role": "user", "content": "x" * 600}] * 4, "413 too_large: The messages do not go into one request"),
        ([{"role": "user", "content": "é" * 1500}], r"413 too_large: A message of \d+ bytes does not go into a"),
    ],
)
async def test_what_is_too_large_is_not_sent(server: ScriptedServer, items: Any, text: str) -> None:
    """Nothing of it: it is all or none."""
    async with Client(server.url, limits=Limits(body_bytes=3072)) as client:
        with pytest.raises(TooLarge, match=text):
            await client.threads.append("p", "h", items)
    assert server.seen == []


async def test_what_the_server_finds_too_large_is_told_likewise(server: ScriptedServer, quick: Limits) -> None:
    """A server may be set to less."""
    server.say(Reply(413, {"code": "too_large", "detail": "The body is larger than 9 bytes.", "retryable": False}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(TooLarge, match="9 bytes"):
            await client.threads.append("p", "h", {"role": "user"})


def test_parts_are_as_large_as_they_may_be_and_in_order() -> None:
    """Of 2,500 messages, and of ones of half the room; one that fits in none is told at once."""
    many = [NewMessage(number, role="user") for number in range(2500)]
    parts = in_parts(many, 2**20)
    assert [len(part) for part in parts] == [1000, 1000, 500]
    assert [message.content for part in parts for message in part] == list(range(2500))
    halves = [NewMessage("x" * 450, role="user") for _ in range(5)]
    assert [len(part) for part in in_parts(halves, 2048 + 100)] == [2, 2, 1]
    with pytest.raises(TooLarge):
        in_parts([*halves, NewMessage("x" * 2000, role="user")], 2048)


async def test_a_lost_answer_is_asked_for_with_the_same_key_and_ids(server: ScriptedServer, quick: Limits) -> None:
    """The server knows both: nothing is appended twice."""
    server.say(Lost(), Reply(201, {"data": [MESSAGE]}))
    async with Client(server.url, limits=quick) as client:
        await client.threads.append("p", "h", {"role": "user"})
    first, second = server.seen
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


async def test_acting_for_a_user_says_so_on_every_request(server: ScriptedServer, quick: Limits) -> None:
    """Reads, changes and runs are the user's, instead of the client's own."""
    server.say(
        Reply(200, THREAD), Reply(201, {"data": [MESSAGE]}), Reply(201, RUN), Reply(200, {"message": None}), Reply(204)
    )
    async with Client(server.url, user="service", limits=quick) as client:
        threads = client.threads.acting_for("ann")
        await threads.get("p", "h")
        await threads.append("p", "h", {"role": "user"})
        async with threads.run("p", "h") as run:
            assert await run.pop() is None
    assert [seen.headers["x-user"] for seen in server.seen] == ["ann"] * 5


async def test_a_turn_that_did_not_come_is_not_asked_for_again(server: ScriptedServer, quick: Limits) -> None:
    """The server waited; what it then says is the answer. A lock that was not had is another matter."""
    busy = {"code": "session_being_modified", "detail": "Busy.", "retryable": True}
    server.say(Reply(409, busy), Reply(409, {**busy, "ahead": 2}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(SessionBeingModified) as caught:
            await client.threads.pop("p", "h")
    assert caught.value.ahead == 2
    assert len(server.seen) == 2


async def test_a_run_that_cannot_be_ended_ends_with_its_lease(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The work in it is done: nothing is raised, a line is logged, without what was said."""
    server.say(Reply(201, RUN), Reply(201, {"data": [MESSAGE]}), Reply(400, {"code": "bad_request"}))
    async with Client(server.url) as client, client.threads.run("p", "h") as run:
        await run.say("user", "a secret")
    assert "ends with its lease of 60.0 s: 400 bad_request" in caplog.text
    assert "secret" not in caplog.text + repr(run)


async def test_a_run_is_entered_once(server: ScriptedServer) -> None:
    """And has no id before, nor takes anything after."""
    server.say(Reply(201, RUN), Reply(204))
    async with Client(server.url) as client:
        run = client.threads.run("p", "h")
        with pytest.raises(RuntimeError, match="before it has begun"):
            await run.pop()
        async with run:
            assert (run.id, run.thread_id, run.project, run.over) == ("r", "h", "p", False)
            with pytest.raises(RuntimeError, match="entered once"):
                await run.__aenter__()
        with pytest.raises(RuntimeError, match="is over"):
            await run.pop()
    assert [seen.method for seen in server.seen] == ["POST", "DELETE"]


async def test_a_run_that_did_not_begin_is_left_without_a_word(server: ScriptedServer, quick: Limits) -> None:
    """There is nothing to end."""
    server.say(Reply(404, {"code": "not_found", "detail": "Not found."}))
    async with Client(server.url, limits=quick) as client:
        run = client.threads.run("p", "h")
        with pytest.raises(NotFound):
            await run.__aenter__()
        await run.__aexit__(None, None, None)
    assert len(server.seen) == 1


async def test_a_lease_is_renewed_over_lost_answers(server: ScriptedServer) -> None:
    """A sign that was not heard is given again, and work goes on meanwhile."""
    server.say(Reply(201, {**RUN, "lease_s": 0.03}), Lost(), Reply(500), Reply(200, RUN), Reply(204))
    async with Client(server.url, limits=Limits(backoff_base_s=0.001)) as client:
        async with client.threads.run("p", "h", lease_s=0.03) as run:
            await server.saw(4)
        assert run.lost is None
    assert [seen.method for seen in server.seen[:4]] == ["POST", "PATCH", "PATCH", "PATCH"]
    assert json.loads(server.seen[0].body) == {"lease_s": 0.03}


async def test_a_run_ends_in_the_background_when_its_task_is_cancelled(server: ScriptedServer) -> None:
    """Leaving does not wait for the server; closing the client does."""
    server.say(Reply(201, RUN), Reply(204))
    inside = asyncio.Event()
    async with Client(server.url) as client:

        async def work() -> None:
            async with client.threads.run("p", "h"):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    assert [seen.method for seen in server.seen] == ["POST", "DELETE"]


def token(claims: Any) -> str:
    """A token that says this, and that nobody signed."""
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b"{}", json.dumps(claims).encode(), b"s")
    )


@pytest.mark.parametrize(
    ("bearer", "user", "whose"),
    [
        (None, None, "local"),
        (None, "ann", "ann"),
        (token({"sub": "béa"}), None, "béa"),
        (token({"sub": "bea"}), "ann", "ann"),
        (token({"sub": 7}), None, None),
        (token([]), None, None),
        ("opaque", None, None),
        ("a.b!.c", None, None),
        ("a.é.c", None, None),
    ],
)
def test_a_client_knows_whom_it_acts_for(bearer: str | None, user: str | None, whose: str | None) -> None:
    """Who is named, else the token's subject, else everybody's name on a server that runs open."""
    assert user_of(bearer, user) == whose
    if bearer is None or bearer.isascii():
        assert Client(token=bearer, user=user).user == whose


async def test_a_read_that_the_server_does_not_answer_is_given_up(server: ScriptedServer) -> None:
    """At the deadline, as every request."""
    server.say(*[Lost()] * 50)
    async with Client(server.url, limits=Limits(deadline_s=0.05, backoff_base_s=0.001)) as client:
        with pytest.raises(ConnectionLost):
            await client.threads.messages("p", "h")
