"""Idempotency-Key on all that changes threads: asked for twice, made once, answered alike."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from support.api import ALL_SCOPES, problem
from support.threads import AFAR, Chat, keyed, new_uuid, said

Change = Callable[[Chat, dict[str, str]], httpx2.Response]
HI = said("hi")[0]

CHANGES: dict[str, Change] = {
    "create": lambda chat, key: chat.api.post(chat.all, {}, headers=key),
    "append": lambda chat, key: chat.append(said("hi"), headers=key),
    "pop": lambda chat, key: chat.post("pop", headers=key),
    "clear": lambda chat, key: chat.post("clear", headers=key),
    "begin": lambda chat, key: chat.post("runs", headers=key, wait_s=60),
    "delete": lambda chat, key: chat.api.delete(chat.path, headers=key),
}


def alike(one: httpx2.Response, other: httpx2.Response) -> None:
    """Two answers are the same but for the request they belong to."""
    kept = [
        (answer.status_code, answer.content, answer.headers.get("etag"), answer.headers.get("x-position"))
        for answer in (one, other)
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("what", CHANGES)
def test_made_once_and_answered_alike(chat: Chat, what: str) -> None:
    """The same request again is answered as before, also after the thread has changed, and changes nothing."""
    chat.appended("one", "two")
    change, key = CHANGES[what], keyed()
    first = change(chat, key)
    assert first.status_code in (200, 201, 204)
    if what == "begin":
        chat.end(first.json()["id"])
    chat.create()
    chat.appended("three")
    before, threads = chat.get(), chat.api.get(chat.all).json()
    alike(first, change(chat, key))
    assert (chat.get(), chat.api.get(chat.all).json()) == (before, threads)
    if what == "create":
        assert change(chat, keyed()).json()["id"] != first.json()["id"]


def test_another_body_is_refused(chat: Chat) -> None:
    """A key belongs to its body: another one is 422, and changes nothing."""
    key = keyed()
    chat.api.ok(chat.append(said("one"), headers=key), 201)
    problem(chat.append(said("two"), headers=key), 422, "idempotency_key_reused")
    chat.api.ok(chat.post("pop", headers=key), 200)  # another path: another request
    problem(chat.post("pop", headers=key, wait_s=0), 422, "idempotency_key_reused")
    assert chat.contents() == []


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "ä"])
def test_keys_that_are_none(chat: Chat, key: str) -> None:
    """What is empty, too long, or no visible ASCII is 422, and changes nothing."""
    chat.made()
    for change in CHANGES.values():
        answer = change(chat, {"Idempotency-Key": key.encode()})  # type: ignore[dict-item]  # as it goes over the wire
        assert problem(answer, 422, "invalid")["errors"][0]["field"] == "Idempotency-Key"
    assert chat.get()["version"] == 1


def test_refusals_are_not_kept(chat: Chat) -> None:
    """What was 404 or 409 is tried again with the same key, and then done once."""
    key = keyed()
    problem(chat.post("pop", headers=key), 404, "not_found")
    with chat.running() as run:
        chat.appended("one", "two", run=run)
        problem(chat.append(said("three"), headers=key, wait_s=0), 409, "session_being_modified")
    assert chat.api.ok(chat.post("pop", headers=key), 200)["message"]["content"] == "two"
    assert chat.api.ok(chat.post("pop", headers=key), 200)["message"]["content"] == "two"
    chat.api.ok(chat.append(said("three"), headers=key, wait_s=0), 201)
    chat.api.ok(chat.append(said("three"), headers=key, wait_s=0), 201)
    assert chat.contents() == ["one", "three"]


def test_a_key_is_its_users(chat: Chat) -> None:
    """Two users, and a service for one of them, may use one key: each has his own answer."""
    key = keyed()
    service = chat.acting(sub="service", scopes=(*ALL_SCOPES, "users:act"))
    bob = chat.acting(sub="bob")
    for where, headers in ((chat, key), (bob, key), (service, key | {"X-User": "bob"})):
        where.api.ok(where.append(said("hi"), headers=headers), 201)
    assert (chat.contents(), bob.contents()) == (["hi"], ["hi", "hi"])


def test_a_run_begun_twice_is_one(chat: Chat) -> None:
    """The repetition of a begin has the same run; while it lasts it does not wait for itself."""
    key = keyed()
    first = chat.api.ok(chat.post("runs", headers=key, wait_s=0), 201)
    assert chat.api.ok(chat.post("runs", headers=key, wait_s=0), 201) == first
    chat.appended("one", run=first["id"])
    problem(chat.post("runs", headers=keyed(), wait_s=0), 409, "session_being_modified")
    chat.end(first["id"])


def test_in_a_run_writes_have_keys_too(chat: Chat) -> None:
    """An append of a run is made once, and told again also when the run is over."""
    key = keyed()
    run = chat.run()
    first = chat.append(said("one"), headers=key, run=run)
    alike(first, chat.append(said("one"), headers=key, run=run))
    chat.end(run)
    alike(first, chat.append(said("one"), headers=key, run=run))
    assert chat.contents() == ["one"]


def test_keys_and_ids_together(chat: Chat) -> None:
    """With another key, a message of an id that is there is still not doubled."""
    one: list[dict[str, Any]] = [HI | {"id": new_uuid()}]
    first, second = (chat.api.ok(chat.append(one, headers=keyed()), 201) for _ in range(2))
    assert first["data"] == second["data"]
    assert chat.contents() == ["hi"]


def test_deletions_have_keys(chat: Chat) -> None:
    """A deletion that is repeated does not delete what was made since."""
    key = keyed()
    chat.made()
    chat.api.ok(chat.api.delete(chat.path, headers=key), 204)
    chat.made()
    chat.api.ok(chat.api.delete(chat.path, headers=key), 204)
    chat.get()
    run = chat.run()
    chat.api.ok(chat.api.delete(f"{chat.path}/runs/{run}", headers=keyed()), 204)
    chat.api.ok(chat.api.patch(f"{chat.path}/runs/{chat.run()}", {}, headers=keyed()), 200)
    problem(chat.api.patch(f"{chat.path}/runs/{AFAR}", {}, headers=keyed()), 409, "fenced")
