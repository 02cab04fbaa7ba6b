"""Requests against a server that loses answers, refuses and comes back."""

import json
import re
from dataclasses import replace

import pytest

from sessioncast import Client, ConnectionLost, Fenced, Limits, ProblemError, ProtocolError, SessionBeingModified
from support.scripted import Lost, Reply, ScriptedServer, Streamed
from support.waiting import STALL_S

PROJECT = {"id": "p", "created_at": "2026-01-01T00:00:00Z"}
RANGE = {"first": 1, "last": 2}


def refusal(status: int, code: str, *, retryable: bool) -> Reply:
    """A problem."""
    return Reply(status, {"code": code, "detail": "No.", "retryable": retryable, "request_id": "r"})


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(server: ScriptedServer, quick: Limits) -> None:
    """An append whose answer was lost, refused and lost again is one request to the server: one key, one body."""
    server.say(Lost(), refusal(503, "commit_unknown", retryable=True), Lost(), Reply(200, RANGE))
    async with Client(server.url, limits=quick) as client:
        assert (await client.sessions.append("s", [("log", "a\n"), ("log", "ä")])).last == 2
    assert len(server.seen) == 4
    assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 1
    assert {seen.body for seen in server.seen} == {server.seen[0].body}
    assert json.loads(server.seen[0].body) == {
        "chunks": [{"stream": "log", "text": "a\n"}, {"stream": "log", "text": "ä"}]
    }


async def test_repetitions_are_told_with_their_reasons(server: ScriptedServer, quick: Limits) -> None:
    """Whoever shows a person why it takes long hears each reason before the repetition, and nothing of a refusal."""
    reasons: list[ProblemError | ConnectionLost] = []
    server.say(Lost(), refusal(409, "session_being_modified", retryable=True), refusal(409, "fenced", retryable=False))
    async with Client(server.url, limits=quick, on_retry=reasons.append) as client:
        with pytest.raises(Fenced):
            await client.sessions.append("s", [("log", "a")])
    assert [type(reason) for reason in reasons] == [ConnectionLost, SessionBeingModified]


async def test_every_unsafe_request_has_a_key_of_its_own(server: ScriptedServer, quick: Limits) -> None:
    """Two calls are two changes, and also a DELETE without a body says that it is JSON."""
    server.say(Reply(204), Reply(204), Reply(200, PROJECT))
    async with Client(server.url, limits=quick) as client:
        await client.sessions.delete("s")
        await client.sessions.delete("s")
        await client.projects.get("p")
    keys = [seen.headers.get("idempotency-key") for seen in server.seen]
    assert keys[0] != keys[1]
    assert keys[2] is None
    assert [seen.headers.get("content-type") for seen in server.seen] == ["application/json", "application/json", None]


async def test_a_refusal_for_good_is_raised_at_once(server: ScriptedServer, quick: Limits) -> None:
    """What repeating cannot change is not repeated."""
    server.say(refusal(409, "fenced", retryable=False))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(Fenced) as caught:
            await client.sessions.append("s", [("log", "a")], fence=3)
    assert caught.value.request_id == "r"
    assert [seen.headers["x-session-fence"] for seen in server.seen] == ["3"]


async def test_a_refusal_until_the_deadline_is_raised_as_it_is(server: ScriptedServer, quick: Limits) -> None:
    """After the deadline the caller gets the server's own last word, not a timeout."""
    server.say(*[refusal(503, "unavailable", retryable=True)] * 10_000)
    limits = replace(quick, deadline_s=STALL_S, backoff_base_s=0.5, backoff_cap_s=0.5)
    async with Client(server.url, limits=limits) as client:
        with pytest.raises(ProblemError) as caught:
            await client.projects.get("p")
    assert caught.value.code == "unavailable"
    assert len(server.seen) > 1


async def test_an_attempt_cut_by_the_deadline_does_not_hide_the_last_word(
    server: ScriptedServer, quick: Limits
) -> None:
    """When the last attempt is left without an answer because time ran out, the refusal before it is raised."""
    server.say(refusal(503, "unavailable", retryable=True), Streamed([]))
    async with Client(server.url, limits=replace(quick, deadline_s=STALL_S, attempt_s=30.0)) as client:
        with pytest.raises(ProblemError) as caught:
            await client.projects.get("p")
    assert (caught.value.code, len(server.seen)) == ("unavailable", 2)


async def test_a_wait_beyond_the_deadline_is_not_begun(server: ScriptedServer, quick: Limits) -> None:
    """With `Retry-After` past the deadline there is nothing to wait for: one request, then the refusal."""
    server.say(Reply(503, {"code": "unavailable", "retryable": True}, {"Retry-After": "100"}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ProblemError) as caught:
            await client.projects.get("p")
    assert caught.value.retry_after == 100
    assert len(server.seen) == 1


async def test_nobody_there_is_a_lost_connection(quick: Limits) -> None:
    """A server that cannot be reached until the deadline raises our exception, with the URL and the reason."""
    async with Client("http://127.0.0.1:1", limits=replace(quick, deadline_s=0.05)) as client:
        with pytest.raises(ConnectionLost) as caught:
            await client.projects.get("p")
    assert caught.value.url == "http://127.0.0.1:1/v1/projects/p"
    assert caught.value.reason


@pytest.mark.parametrize("reply", [Reply(200, {}), Reply(200, [1]), Reply(200), Reply(302)])
async def test_an_answer_of_something_else_is_named(server: ScriptedServer, quick: Limits, reply: Reply) -> None:
    """A captive portal or another server behind the address is told as such, and not asked again."""
    server.say(reply)
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ProtocolError):
            await client.projects.get("p")
    assert len(server.seen) == 1


async def test_a_url_that_cannot_be_one_is_our_exception(quick: Limits) -> None:
    """No foreign exception comes out of a URL of another scheme."""
    async with Client("ftp://127.0.0.1", limits=quick) as client:
        with pytest.raises(ProtocolError):
            await client.projects.get("p")


async def test_credentials_travel_in_headers_only(server: ScriptedServer, quick: Limits) -> None:
    """The token is in the Authorization header of each request and nowhere in a URL."""
    server.say(Reply(200, PROJECT))
    async with Client(server.url, "secret", user="ann", limits=quick) as client:
        await client.projects.put("p")
    (seen,) = server.seen
    assert (seen.headers["authorization"], seen.headers["x-user"]) == ("Bearer secret", "ann")
    assert (seen.path, seen.query) == ("/v1/projects/p", {})


async def test_ids_cannot_leave_their_place_in_the_path(server: ScriptedServer, quick: Limits) -> None:
    """An id with a slash or a question mark in it is one segment of the path."""
    server.say(Reply(404, {"code": "not_found"}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ProblemError):
            await client.sessions.get("../projects/p?x=1")
    assert re.fullmatch(r"/v1/sessions/[^/?]+", server.seen[0].path)
