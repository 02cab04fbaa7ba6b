"""The shapes that frontends of chats were written against: three endpoints, which must not change."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest

from support.api import Api, problem
from support.chat import Talk
from support.threads import AFAR, Chat, calmly_served, keyed, new_uuid

pytestmark = pytest.mark.xdist_group("shapes of chats")  # they share nodes

THREAD = {
    "id": UUID, "project_id": str, "user": str, "title": str, "version": int, "message_seq": int, "message_count": int,
    "created_at": datetime, "last_activity_at": datetime, "expires_at": datetime,
}  # fmt: skip
MESSAGE = {
    "id": UUID, "thread_id": UUID, "user": str, "seq": int, "role": str, "content": str, "created_at": datetime,
}  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Requests to a node on each database, with the default responder."""
    with calmly_served(request, tmp_path_factory) as found:
        yield found


@pytest.fixture
def talk(api: Api) -> Talk:
    """A thread that is not there yet."""
    return Talk.begin(api)


def shaped(document: dict[str, Any], shape: dict[str, Any]) -> None:
    """It has these members and no others, and each is what it should be."""
    assert document.keys() == shape.keys()
    for name, kind in shape.items():
        value = document[name]
        if kind is UUID:
            assert str(UUID(value)) == value
        elif kind is datetime:
            assert value.endswith("Z")
            assert datetime.fromisoformat(value).utcoffset() is not None
        else:
            assert type(value) is kind, name


def begin(talk: Chat, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    """The answer to beginning a chat."""
    return talk.api.post("/chatkit/threads", body, headers={"X-Project": talk.project, **(headers or {})})


def test_beginning_a_chat(talk: Talk) -> None:
    """POST /chatkit/threads is 201 with the thread; with an id that is there 200 with that."""
    answer = begin(talk, id=talk.id, title="Groceries")
    thread = talk.api.ok(answer, 201)
    shaped(thread, THREAD)
    assert (thread["id"], thread["project_id"], thread["user"]) == (talk.id, talk.project, "ann")
    assert (thread["title"], thread["message_count"]) == ("Groceries", 0)
    assert answer.headers["content-type"] == "application/json"
    assert talk.api.ok(begin(talk, id=talk.id, title="other"), 200) == thread
    other = talk.api.ok(begin(talk), 201)
    shaped(other, THREAD | {"title": type(None)})
    assert other["id"] != talk.id
    assert talk.get() == thread


def test_saying_a_line(talk: Talk) -> None:
    """POST …/messages is 200 with the answer as `content`, and nothing else where all is well; it makes the thread."""
    answer = talk.send("hello")
    reply = talk.api.ok(answer, 200)
    shaped(reply, {"content": str})
    assert reply["content"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-position"] == talk.own_events()[-1]["position"]
    assert talk.lines() == [("user", "hello"), ("assistant", reply["content"])]


def test_showing_a_chat(talk: Talk) -> None:
    """GET /chatkit/threads/{id} is the thread with its messages, oldest first; 304 while nothing changes."""
    reply = talk.say("hello")
    path, headers = f"/chatkit/threads/{talk.id}", {"X-Project": talk.project}
    answer = talk.api.get(path, headers=headers)
    shown = talk.api.ok(answer, 200)
    messages = shown.pop("messages")
    shaped(shown, THREAD | {"title": type(None)})
    for message in messages:
        shaped(message, MESSAGE)
    assert [(message["seq"], message["role"], message["content"]) for message in messages] == [
        (1, "user", "hello"), (2, "assistant", reply),
    ]  # fmt: skip
    assert shown["message_count"] == 2
    assert answer.headers["x-position"] == talk.own_events()[-1]["position"]
    again = {**headers, "If-None-Match": answer.headers["etag"]}
    assert talk.api.get(path, headers=again).status_code == 304
    params = {"min_position": answer.headers["x-position"]}
    talk.api.ok(talk.api.get(path, params=params, headers=headers), 200)
    talk.say("more")
    talk.api.ok(talk.api.get(path, headers=again), 200)


def test_the_newest_are_shown(talk: Talk) -> None:
    """Of a long chat the newest 200 messages are shown, also while a run has made it longer, and any JSON in them."""
    talk.appended(*range(200))
    with talk.running() as run:
        talk.appended({"parts": [1]}, None, run=run)
        shown = talk.shown()
        assert [message["content"] for message in shown["messages"]] == [*range(2, 200), {"parts": [1]}, None]
        assert shown["message_count"] == 202


def test_the_seeds_conversation(talk: Talk) -> None:
    """Three lines, of which each refers to those before: the last answer knows of both tasks."""
    talk.say("Create task: buy milk")
    talk.say("Add to that task: 2 litres")
    answer = talk.say("What tasks?")
    assert "buy milk" in answer
    assert "2 litres" in answer


@pytest.mark.parametrize("content", [None, 1, "", [], {}, True, "x" * 100_001])
def test_a_line_is_a_text(talk: Talk, content: Any) -> None:
    """One to 100,000 characters; anything else is 422 that names the field, and no thread is made."""
    assert problem(talk.send(content), 422, "invalid")["errors"][0]["field"] == "content"
    problem(talk.api.get(talk.path), 404, "not_found")


def test_lines_of_any_characters(talk: Talk) -> None:
    """NUL, line feeds and characters beyond the BMP are said and shown as they are."""
    for line in ("\0", "a\0b\n\r\t\x7f", "😀\U0010ffff\u2028", "x" * 100_000):
        talk.say(line)
        assert talk.lines()[-2] == ("user", line)


def test_bad_requests_are_refused(talk: Talk) -> None:
    """Unknown fields, ids that are none, and titles that cannot be are 422 with the field's name."""
    path = f"/chatkit/threads/{talk.id}/messages"
    headers = {"X-Project": talk.project}
    for body in ({"content": "x", "role": "user"}, {"content": "x", "wait_s": 1}, {}):
        problem(talk.api.post(path, body, headers=headers), 422, "invalid")
    for bad in ({"id": "x"}, {"title": ""}, {"title": "x" * 201}, {"unknown": 1}):
        found = problem(begin(talk, **bad), 422, "invalid")
        assert found["errors"][0]["field"] == next(iter(bad))
    for answer in (
        talk.api.get("/chatkit/threads/x", headers=headers),
        talk.api.post("/chatkit/threads/x/messages", {"content": "x"}, headers=headers),
    ):
        assert problem(answer, 422, "invalid")["errors"][0]["field"] == "thread_id"
    problem(talk.api.get(f"/chatkit/threads/{talk.id}?user=bob", headers=headers), 422, "invalid")


def test_what_is_not_there(talk: Talk) -> None:
    """A chat that is not there, or is another user's only, is 404; to say a line there makes one of one's own."""
    headers = {"X-Project": talk.project}
    problem(talk.api.get(f"/chatkit/threads/{AFAR}", headers=headers), 404, "not_found")
    talk.say("secret of ann")
    bob = talk.acting(sub="bob")
    problem(bob.api.get(f"/chatkit/threads/{talk.id}", headers=headers), 404, "not_found")
    assert "secret" not in bob.say("What did I say?")
    assert [message["user"] for message in bob.shown()["messages"]] == ["bob", "bob"]
    assert talk.lines()[0] == ("user", "secret of ann")


def test_rights_are_asked_for(talk: Talk) -> None:
    """Showing needs sessions:read, the rest sessions:write; without a token it is 401."""
    talk.say("hello")
    reader, writer = talk.acting(scopes=["sessions:read"]), talk.acting(scopes=["sessions:write"])
    assert reader.shown()["message_count"] == 2
    assert problem(reader.send("no"), 403, "forbidden")["scope"] == "sessions:write"
    assert problem(begin(reader), 403, "forbidden")["scope"] == "sessions:write"
    path, headers = f"/chatkit/threads/{talk.id}", {"X-Project": talk.project}
    assert problem(writer.api.get(path, headers=headers), 403, "forbidden")["scope"] == "sessions:read"
    problem(talk.api.get(path, headers={**headers, "Authorization": ""}), 401, "unauthenticated")


def test_the_project_of_a_chat(talk: Talk) -> None:
    """The token's only one, else X-Project, else 422; one that is not the token's, or not there, is 404."""
    other = talk.api.project()
    one, two = talk.acting(projects=[talk.project]), talk.acting(projects=[talk.project, other])
    for api, header, found in (
        (one.api, None, talk.project), (one.api, talk.project, talk.project), (two.api, other, other),
        (two.api, talk.project, talk.project), (talk.api, other, other),
    ):  # fmt: skip
        headers = {} if header is None else {"X-Project": header}
        id_ = new_uuid()
        assert talk.api.ok(api.post("/chatkit/threads", {"id": id_}, headers=headers), 201)["project_id"] == found
        talk.api.ok(api.post(f"/chatkit/threads/{id_}/messages", {"content": "x"}, headers=headers), 200)
        assert talk.api.ok(api.get(f"/chatkit/threads/{id_}", headers=headers), 200)["project_id"] == found
    for api, headers, status, code in (
        (two.api, {}, 422, "invalid"), (talk.api, {}, 422, "invalid"),
        (one.api, {"X-Project": other}, 404, "not_found"), (two.api, {"X-Project": "p-else"}, 404, "not_found"),
        (talk.api, {"X-Project": "p-else"}, 404, "not_found"),
        (talk.api, {"X-Project": ""}, 404, "not_found"), (talk.api, {"X-Project": "No Project"}, 404, "not_found"),
        (talk.acting(projects=[]).api, {}, 422, "invalid"),
        (talk.acting(projects=["p-else"]).api, {}, 404, "not_found"),
    ):  # fmt: skip
        path = f"/chatkit/threads/{talk.id}"
        for answer in (
            api.post("/chatkit/threads", {}, headers=headers), api.get(path, headers=headers),
            api.post(f"{path}/messages", {"content": "x"}, headers=headers),
        ):  # fmt: skip
            found_problem = problem(answer, status, code)
            if status == 422:
                assert found_problem["errors"][0]["field"] == "X-Project"


def test_an_exchange_is_told_again(talk: Talk) -> None:
    """The same Idempotency-Key again is the same answer, and nothing is said twice; another line under it is 422."""
    key = keyed()["Idempotency-Key"]
    talk.say("Create task: one")
    answer = talk.send("What tasks?", key=key)
    first = talk.api.ok(answer, 200)
    talk.say("Create task: two")
    again = talk.send("What tasks?", key=key)
    assert talk.api.ok(again, 200) == first
    assert again.headers["x-position"] == answer.headers["x-position"]
    problem(talk.send("What else?", key=key), 422, "idempotency_key_reused")
    assert len(talk.lines()) == 6
    headers = keyed()
    made = [talk.api.ok(begin(talk, headers), 201)["id"] for _ in range(2)]
    assert made[0] == made[1]


def test_a_key_is_its_projects(talk: Talk) -> None:
    """One key, line and thread's id in two projects are two exchanges: neither is lost to the other."""
    other = Talk(talk.api, talk.api.project(), talk.id)
    headers = keyed()
    for one in (talk, other):
        assert one.api.ok(begin(one, headers, id=one.id), 201)["project_id"] == one.project
        one.say("hello", key="one-key")
        assert len(one.lines()) == 2


def test_chats_are_threads(talk: Talk) -> None:
    """What is said in chats is what is read of threads, and the other way round."""
    talk.appended("What is appended is remembered: the milk")
    assert "milk" in talk.say("What did I say about milk?")
    shown = talk.shown()
    assert shown.pop("messages") == talk.whole()
    assert shown == talk.get()
    talk.api.ok(talk.api.delete(talk.path), 204)
    problem(talk.api.get(f"/chatkit/threads/{talk.id}", headers={"X-Project": talk.project}), 404, "not_found")


def test_a_run_holds_up_a_chat(talk: Talk) -> None:
    """While somebody has the thread to himself a line waits, and nothing of it is in the thread before its turn."""
    run = talk.run(lease_s=1)
    answer = talk.say("hello")  # the run's lease ends, and the line's turn comes
    assert talk.lines() == [("user", "hello"), ("assistant", answer)]
    problem(talk.renew(run), 409, "fenced")
