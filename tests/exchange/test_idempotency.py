"""A change that is asked for again with its key is made once, and answered alike."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.exchange.once import Ticket, claim, expire, keep
from sessioncast_server.web.answer import Answer
from support.api import SECRET, Api, Work, problem
from support.commitproxy import CommitProxy
from support.gate import Gate
from support.node import Node
from support.store import Store, add
from support.waiting import until


def key() -> dict[str, str]:
    """A header with a key nobody used."""
    return {"Idempotency-Key": uuid.uuid4().hex}


def same(first: httpx2.Response, second: httpx2.Response) -> bool:
    """Whether two answers say the same in all that a key promises."""
    names = ("x-position", "etag", "content-type", "location")
    return (first.status_code, first.content, [first.headers.get(n) for n in names]) == (
        second.status_code,
        second.content,
        [second.headers.get(n) for n in names],
    )


def test_every_kind_of_change_is_made_once(api: Api) -> None:
    """PUT, POST, PATCH, output and DELETE with a key, each sent twice: one event each, and the same answer again."""
    work = api.work()
    events = len(work.events())
    start = {"phase": "run", "model": {"name": "m"}}

    def twice(method: str, path: str, body: object, status: int, more: int) -> httpx2.Response:
        nonlocal events
        headers = key()
        content = {} if body is None else {"json": body}
        first, second = (api.request(method, path, headers=headers, **content) for _ in range(2))
        assert first.status_code == status, first.text
        assert same(first, second)
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        events += more
        assert len(work.events()) == events
        return first

    twice("PUT", f"/v1/projects/p-{uuid.uuid4().hex[:8]}", {}, 201, 0)
    twice("POST", f"/v1/projects/{work.project}/tasks", {"title": "U"}, 201, 1)
    session = twice("POST", work.path, start, 201, 1).json()["session"]["id"]
    twice("PATCH", f"/v1/sessions/{session}", {"status": "running"}, 200, 1)
    chunks = {"chunks": [{"stream": "stdout", "text": "line"}]}
    assert twice("POST", f"/v1/sessions/{session}/output", chunks, 200, 1).json() == {"first": 1, "last": 1}
    assert len(api.get(f"/v1/sessions/{session}/output").json()["data"]) == 1
    twice("DELETE", f"/v1/sessions/{session}", None, 204, 1)


def test_another_body_is_refused(api: Api) -> None:
    """A key that was used with another body is 422, and nothing is changed."""
    work, headers = api.work(), key()
    path = f"/v1/tasks/{work.task}"
    api.ok(api.patch(path, {"title": "A"}, headers=headers), 200)
    problem(api.patch(path, {"title": "B"}, headers=headers), 422, "idempotency_key_reused")
    assert api.get(path).json()["title"] == "A"


def test_a_key_belongs_to_its_user_method_and_path(api: Api) -> None:
    """The same key of another user, or on another path, is another key."""
    work, headers = api.work(), key()
    path, body = f"/v1/projects/{work.project}/tasks", {"title": "U"}
    ids = {asker.ok(asker.post(path, body, headers=headers), 201)["id"] for asker in (api, api.acting(sub="bob"), api)}
    assert len(ids) == 2
    other = api.project()
    api.ok(api.post(f"/v1/projects/{other}/tasks", body, headers=headers), 201)
    assert len(work.events()) == 3


def test_a_refusal_is_not_kept(api: Api) -> None:
    """After a 409 the same key and body may succeed."""
    work, headers = api.work(), key()
    session = work.session("m-1")
    wish = {"phase": "run", "model": {"name": "m-2"}, "on_conflict": "reject"}
    problem(api.post(work.path, wish, headers=headers), 409, "session_active")
    api.ok(api.delete(f"/v1/sessions/{session['id']}"), 204)
    created = api.post(work.path, wish, headers=headers)
    assert api.ok(created, 201)["outcome"] == "created"
    assert same(created, api.post(work.path, wish, headers=headers))


@pytest.mark.parametrize("bad", ["", "x" * 201, "with space", "tab\tin", "grün".encode()])
def test_a_bad_key_is_refused(api: Api, bad: str | bytes) -> None:
    """A key that is empty, too long or not visible ASCII is 422, naming the header."""
    work = api.work()
    value = bad if isinstance(bad, bytes) else bad.encode()
    answer = api.post(f"/v1/projects/{work.project}/tasks", {"title": "U"}, headers={"Idempotency-Key": value})
    assert "Idempotency-Key" in problem(answer, 422, "invalid")["detail"]
    assert len(work.events()) == 1


def test_many_at_once_are_one(api: Api) -> None:
    """Of twenty requests with one key at the same time one is carried out, and all say the same."""
    work, headers = api.work(), key()

    def ask(_: int) -> httpx2.Response:
        return api.post(f"/v1/projects/{work.project}/tasks", {"title": "U"}, headers=headers)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert all(same(answers[0], answer) for answer in answers)
    assert len(work.events()) == 2


TICKET = Ticket.of("key", user="u", method="POST", path="/", body=b"", ttl_s=3600)


def once(tx: WriteTx, title: str, *, ticket: Ticket = TICKET, gate: Gate | None = None) -> Answer:
    """A change with a key, which may be held in the middle."""
    before = claim(tx, ticket)
    if before is not None:
        return before
    if gate is not None:
        gate(tx)
    answer = Answer(201, add(tx, title).encode(), {})
    keep(tx, ticket, answer)
    return answer


def test_a_service_has_keys_of_its_own() -> None:
    """What a service asked for on behalf of a user is not answered to the user, nor the other way round."""
    asked: dict[str, Any] = {"user": "u", "method": "POST", "path": "/", "body": b"", "ttl_s": 3600}
    tickets = {Ticket.of("key", **asked, bearer=bearer).id for bearer in (None, "svc", "other")}
    assert len(tickets) == 3


async def test_a_second_one_meanwhile_waits(store: Store) -> None:
    """While the first is under way the second waits, and then gets the first one's answer."""
    gate = Gate()
    first = asyncio.create_task(store.database.write(once, "one", gate=gate))
    await until(gate.entered.is_set, "the first to run")
    second = asyncio.create_task(store.database.write(once, "two"))
    await until(lambda: store.database.busy() == 2, "the second to be taken")
    assert not second.done()
    gate.open()
    assert (await second).value.body == (await first).value.body
    assert await store.titles() == ["one"]


async def test_a_second_one_takes_over_when_the_first_is_refused(store: Store) -> None:
    """When the first fails after all, the one that waited is carried out."""
    gate = Gate()

    def refuse(tx: WriteTx) -> None:
        once(tx, "one", gate=gate)
        raise LookupError

    first = asyncio.create_task(store.database.write(refuse))
    await until(gate.entered.is_set, "the first to run")
    second = asyncio.create_task(store.database.write(once, "two"))
    await until(lambda: store.database.busy() == 2, "the second to be taken")
    gate.open()
    with pytest.raises(LookupError):
        await first
    await second
    assert await store.titles() == ["two"]


async def test_answers_are_forgotten_in_time(store: Store) -> None:
    """An answer older than its time is not given again, swept or not, and a sweep takes old ones only."""
    short = Ticket(TICKET.id, TICKET.body_digest, ttl_s=1e-6)
    await store.database.write(once, "one")
    assert (await store.database.write(expire, 3600, 10)).value == 0
    await store.database.write(once, "two", ticket=short)
    assert await store.titles() == ["one", "two"]
    assert (await store.database.write(expire, 1e-6, 10)).value == 1
    await store.database.write(once, "three")
    assert await store.titles() == ["one", "two", "three"]


async def test_an_unknown_outcome_says_so_and_repeating_applies_once(
    migrated_postgres_url: str, tmp_path: Path
) -> None:
    """A COMMIT whose answer is lost is 503 `commit_unknown` with Retry-After; the same key then finds it done."""
    async with CommitProxy(migrated_postgres_url) as proxy:
        env = {"SESSIONCAST_JWT_SECRET": SECRET, "SESSIONCAST_DATABASE_URL": proxy.url}
        async with Node(tmp_path, env=env) as node:
            api = Api(node.url, database="postgresql")
            with api.http:
                work: Work = await asyncio.to_thread(api.work)
                headers = key()
                path, body = f"/v1/projects/{work.project}/tasks", {"title": "U"}
                proxy.armed = True
                lost = await asyncio.to_thread(api.post, path, body, headers=headers)
                document = problem(lost, 503, "commit_unknown")
                assert document["retryable"] is True
                assert "Idempotency-Key" in document["detail"]
                assert int(lost.headers["retry-after"]) >= 1
                again = await asyncio.to_thread(api.post, path, body, headers=headers)
                created = api.ok(again, 201)
                events = await asyncio.to_thread(work.events)
                assert [event["data"]["id"] for event in events] == [work.task, created["id"]]
                assert again.headers["x-position"] == events[-1]["position"]
