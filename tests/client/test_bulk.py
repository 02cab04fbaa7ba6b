"""Many replacements and deletions at once."""

import json
from typing import Any

import pytest

import sessioncast
from sessioncast import Client, Deletion, Limits, Replacement, SessionChanged
from sessioncast.bulk import BATCH_BYTES, BATCH_ITEMS, batches
from support.samples import SESSION, refusal
from support.scripted import Lost, Reply, ScriptedServer

DONE = {"status": 201, "outcome": "replaced", "session": SESSION, "replaced": {**SESSION, "id": "old"}}
GONE = {"status": 204}


def answer(*, replace: list[Any] = [], delete: list[Any] = [], position: str = "e:7") -> Reply:  # noqa: B006  never changed
    """A 207."""
    return Reply(207, {"replace": replace, "delete": delete}, {"X-Position": position})


async def test_each_item_has_its_own_outcome(server: ScriptedServer, quick: Limits) -> None:
    """What was done and what was refused are told item by item, in the order they were asked for."""
    missing = {"status": 404, "problem": {"status": 404, "code": "not_found", "detail": "Not found."}}
    changed = {"status": 409, "problem": refusal("session_changed", existing="two")}
    server.say(answer(replace=[DONE, changed], delete=[GONE, missing]))
    async with Client(server.url, limits=quick) as client:
        done = await client.sessions.bulk(
            "p/q",
            replace=[
                Replacement("t", "run", "m", "old"),
                Replacement("u", sessioncast.Phase.PLAN, {"name": "m", "version": "2"}, "one"),
            ],
            delete=["x", Deletion("y", 3)],
        )
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/projects/p%2Fq/sessions/bulk")
    assert json.loads(seen.body) == {
        "replace": [
            {"task_id": "t", "phase": "run", "model": {"name": "m"}, "confirm": {"session_id": "old"}},
            {
                "task_id": "u",
                "phase": "plan",
                "model": {"name": "m", "version": "2"},
                "confirm": {"session_id": "one"},
            },
        ],
        "delete": [{"session_id": "x"}, {"session_id": "y", "version": 3}],
    }
    first, second = done.replace
    assert first.error is None
    assert first.outcome is not None
    assert (first.outcome.outcome, first.outcome.session.id, first.outcome.position) == ("replaced", "s", "e:7")
    assert (first.wish.task, second.wish.task) == ("t", "u")
    assert [item.error is None for item in done.delete] == [True, False]
    assert [type(error) for error in done.failed] == [SessionChanged, sessioncast.NotFound]
    assert done.position == "e:7"


async def test_a_refused_item_can_be_confirmed_like_a_start(server: ScriptedServer, quick: Limits) -> None:
    """Somebody was faster with one item of many: its refusal replaces the session of now by one call."""
    changed = {"status": 409, "problem": refusal("session_changed", existing="two")}
    started = {"outcome": "replaced", "session": SESSION}
    server.say(answer(replace=[changed]), Reply(201, started), Reply(200, {"session": SESSION}))
    async with Client(server.url, limits=quick) as client:
        done = await client.sessions.bulk("p", replace=[Replacement("t", "run", "m", "one")])
        (error,) = done.failed
        assert isinstance(error, SessionChanged)
        assert (await error.confirm()).outcome == "replaced"
        assert await error.export()
    body = json.loads(server.seen[1].body)
    assert body == {
        "phase": "run",
        "model": {"name": "m"},
        "on_conflict": "replace",
        "confirm": {"session_id": "two"},
    }
    assert [seen.path for seen in server.seen[1:]] == ["/v1/tasks/t/sessions", "/v1/sessions/two/export"]


def test_more_than_a_request_holds_is_cut() -> None:
    """Every item is in exactly one request, in order; none has too many items or too many bytes."""
    replace = [Replacement(f"t{number}", "run", "m", "s") for number in range(1_500)]
    replace += [
        Replacement(f"u{number}", "run", {"name": "m", "params": {"p": "x" * 9_000}}, "s") for number in range(90)
    ]
    delete = [Deletion(f"d{number}") for number in range(1_100)]
    cut = list(batches(replace, delete))
    assert [wish for batch in cut for wish in batch.replace] == replace
    assert [wish for batch in cut for wish in batch.delete] == delete
    assert max(len(batch.replace) + len(batch.delete) for batch in cut) == BATCH_ITEMS
    assert max(len(json.dumps(batch.wire())) for batch in cut) < 1.1 * BATCH_BYTES
    assert list(batches([], [])) == []


async def test_an_item_too_large_for_a_request_goes_alone(server: ScriptedServer, quick: Limits) -> None:
    """It is the server's to refuse."""
    large = Replacement("t", "run", {"name": "m", "params": {"p": "x" * BATCH_BYTES}}, "s")
    assert [len(batch.replace) for batch in batches([large, large], [])] == [1, 1]


async def test_nothing_to_do_sends_nothing(server: ScriptedServer, quick: Limits) -> None:
    """An empty bulk is done without asking."""
    async with Client(server.url, limits=quick) as client:
        done = await client.sessions.bulk("p")
    assert (done.replace, done.delete, done.failed, done.position, server.seen) == ([], [], [], None, [])


async def test_requests_follow_one_another(server: ScriptedServer, quick: Limits) -> None:
    """The parts of a large bulk are one outcome, stamped with the last position; a lost answer is asked for again."""
    rest = 500
    server.say(
        answer(delete=[GONE] * BATCH_ITEMS, position="e:1000"), Lost(), answer(delete=[GONE] * rest, position="e:1500")
    )
    async with Client(server.url, limits=quick) as client:
        done = await client.sessions.bulk("p", delete=[str(number) for number in range(BATCH_ITEMS + rest)])
    assert [item.wish.session for item in done.delete] == [str(number) for number in range(BATCH_ITEMS + rest)]
    assert (done.failed, done.position) == ([], "e:1500")
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert keys[0] != keys[1] == keys[2]


async def test_a_later_request_that_fails_hides_nothing_of_the_earlier(server: ScriptedServer, quick: Limits) -> None:
    """What was done is told; everything from the failed request on has its exception, and is not sent."""
    server.say(answer(delete=[GONE] * BATCH_ITEMS), Reply(403, {"code": "forbidden"}))
    async with Client(server.url, limits=quick) as client:
        done = await client.sessions.bulk("p", delete=["x"] * (2 * BATCH_ITEMS + 1))
    assert len(server.seen) == 2
    assert [item.error is None for item in done.delete] == [True] * BATCH_ITEMS + [False] * (BATCH_ITEMS + 1)
    assert {type(error) for error in done.failed} == {sessioncast.Forbidden}
    assert done.position == "e:7"


async def test_a_first_request_that_fails_is_raised(server: ScriptedServer, quick: Limits) -> None:
    """Where nothing was done there is only the exception."""
    server.say(Reply(404, {"code": "not_found"}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(sessioncast.NotFound):
            await client.sessions.bulk("p", delete=["x"])


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"delete": []},
        {"delete": [GONE, GONE]},
        {"delete": [7]},
        {"delete": [{"status": 404}]},
        {"delete": "x"},
        {"delete": [GONE], "replace": [DONE]},
        {"delete": [{"status": 204, "outcome": 7}]},
    ],
)
async def test_an_answer_without_an_outcome_per_item_is_none(
    server: ScriptedServer, quick: Limits, document: Any
) -> None:
    """Outcomes that cannot be told apart are not guessed at."""
    server.say(Reply(207, document))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(sessioncast.ProtocolError):
            await client.sessions.bulk("p", delete=["x"])


async def test_a_replacement_without_its_session_is_no_outcome(server: ScriptedServer, quick: Limits) -> None:
    """Only a deletion may be answered by a status alone."""
    server.say(answer(replace=[{"status": 201}]))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(sessioncast.ProtocolError):
            await client.sessions.bulk("p", replace=[Replacement("t", "run", "m", "s")])
