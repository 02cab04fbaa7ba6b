"""Many at once: one live session, one winner, and a log that tells the same story as the tables."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import psycopg
import pytest

from support.api import Api, Work, problem

_JSON = {"Content-Type": "application/json"}


class Crowd:
    """Concurrent requests, spread over nodes."""

    def __init__(self, *apis: Api) -> None:
        self._apis = apis

    async def all(self, requests: list[tuple[str, str, Any]]) -> list[httpx2.Response]:
        """The answers to `(method, path, body)`, all sent at once."""
        headers = {**_JSON, "Authorization": self._apis[0].token}
        limits = httpx2.Limits(max_connections=100)
        async with httpx2.AsyncClient(headers=headers, timeout=60, limits=limits) as http:
            urls = [self._apis[number % len(self._apis)].url for number in range(len(requests))]
            sent = [
                http.request(
                    method,
                    f"{url}{path}",
                    content=b"" if body is None else httpx2.Request("POST", url, json=body).content,
                )
                for url, (method, path, body) in zip(urls, requests, strict=True)
            ]
            return list(await asyncio.gather(*sent))


def check_log(work: Work) -> None:
    """Replayed event by event the log has no gap, never two live ones in a slot, and ends at what is read."""
    events = work.events()
    assert [int(event["position"].partition(":")[2]) for event in events] == list(range(1, len(events) + 1))
    sessions: dict[str, dict[str, Any]] = {}
    for event in events[1:]:
        if event["type"] == "session.output":
            known = sessions[event["session_id"]]
            assert event["data"]["first"] == known["output_seq"] + 1
            known["output_seq"] = event["data"]["last"]
            continue
        data = event["data"]
        before = sessions.get(data["id"])
        assert data["version"] == (1 if before is None else before["version"] + 1)
        if before is not None:
            assert data["output_seq"] == before["output_seq"]
        sessions[data["id"]] = data
        live = Counter((row["phase"], row["debug"]) for row in sessions.values() if row["deleted_at"] is None)
        assert max(live.values(), default=0) <= 1
    for id_, told in sessions.items():
        read = work.api.ok(work.api.get(f"/v1/sessions/{id_}"), 200)
        assert {name: read[name] for name in told if name != "last_activity_at"} == {
            name: told[name] for name in told if name != "last_activity_at"
        }
    listed = work.api.ok(work.api.get(work.path, params={"include_deleted": "true", "limit": 200}), 200)["data"]
    assert {row["id"] for row in listed} == sessions.keys()


async def thirty_starts(crowd: Crowd, api: Api) -> None:
    """Six times over: thirty at once, one made, the others shown it."""
    work = api.work()
    for phase, debug in ((phase, debug) for phase in ("plan", "run", "verify") for debug in (False, True)):
        body = {"phase": phase, "debug": debug, "model": {"name": "m"}}
        answers = await crowd.all([("POST", work.path, body)] * 30)
        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 29}
        assert Counter(answer.json()["outcome"] for answer in answers) == {"created": 1, "existing": 29}
        assert len({answer.json()["session"]["id"] for answer in answers}) == 1
    listed = api.ok(api.get(work.path, params={"include_deleted": "true"}), 200)["data"]
    assert len(listed) == 6
    assert Counter(event["type"] for event in work.events()) == {"task.created": 1, "session.created": 6}
    check_log(work)


async def thirty_replacements(crowd: Crowd, api: Api) -> None:
    """Thirty confirm the same session for different models: one wins, the others are shown the winner."""
    work = api.work()
    live = work.session("m")
    for turn in range(3):
        wish = {"phase": "run", "on_conflict": "replace", "confirm": {"session_id": live["id"]}}
        bodies = [wish | {"model": {"name": f"m-{turn}-{number}"}} for number in range(30)]
        answers = await crowd.all([("POST", work.path, body) for body in bodies])
        winners = [answer.json() for answer in answers if answer.status_code == 201]
        assert [winner["outcome"] for winner in winners] == ["replaced"]
        assert winners[0]["replaced"]["id"] == live["id"]
        live = winners[0]["session"]
        for answer in answers:
            if answer.status_code != 201:
                assert problem(answer, 409, "session_changed")["confirm"] == {"session_id": live["id"]}
    assert len(work.events()) == 2 + 3 * 2
    check_log(work)


async def mixed_changes(crowd: Crowd, api: Api, seed: int) -> None:
    """Everything at once on one session: each answer is one of the table's, and the log tells how it came."""
    work, chance = api.work(), random.Random(seed)
    live = work.session("m")
    path = f"/v1/sessions/{live['id']}"
    confirm = {"session_id": live["id"]}
    requests: list[tuple[str, str, Any]] = [
        *[("PATCH", path, {"metadata": {f"k{number}": number}}) for number in range(15)],
        *[("PATCH", path, {"status": status}) for status in ("running", "working", "idle")],
        *[("POST", f"{path}/output", {"chunks": [{"text": str(number)}] * 3}) for number in range(15)],
        *[
            (
                "POST",
                work.path,
                {"phase": "run", "model": {"name": f"n-{n}"}, "on_conflict": "replace", "confirm": confirm},
            )
            for n in range(4)
        ],
        *[("POST", work.path, {"phase": "run", "model": {"name": "m"}}) for _ in range(4)],
        *[("DELETE", path, None)] * 2,
    ]
    chance.shuffle(requests)
    answers = await crowd.all(requests)
    allowed = {
        "session_replaced", "session_deleted", "session_changed", "model_change_requires_confirmation"
    }  # fmt: skip
    for answer in answers:
        assert answer.status_code in (200, 201, 204, 409), answer.text
        if answer.status_code == 409:
            assert answer.json()["code"] in allowed
    check_log(work)


async def test_thirty_starts_make_one_session(api: Api) -> None:
    """Thirty concurrent starts of one phase, six times over: one session row, one `created`, 29 `existing`."""
    await thirty_starts(Crowd(api), api)


async def test_thirty_replacements_have_one_winner(api: Api) -> None:
    """Of thirty that confirm the same session with different models one replaces it, 29 are told it changed."""
    await thirty_replacements(Crowd(api), api)


@pytest.mark.parametrize("seed", range(4))
async def test_mixed_changes_stay_in_order(api: Api, seed: int) -> None:
    """Patches, output, replacements, starts and deletes at once: no 500, versions rise by one, the log is the state."""
    await mixed_changes(Crowd(api), api, seed)


async def test_two_nodes_are_as_one(postgres_nodes: list[Api]) -> None:
    """The same three races, spread over two nodes on one PostgreSQL, end the same."""
    crowd, api = Crowd(*postgres_nodes), postgres_nodes[0]
    await thirty_starts(crowd, api)
    await thirty_replacements(crowd, api)
    for seed in range(3):
        await mixed_changes(crowd, api, seed)


# SQLite has no row locks: one writer, one after another.
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("locked", ["task", "session"])
def test_who_waits_too_long_is_told_to_try_again(api: Api, database: tuple[str, str], locked: str) -> None:
    """While a stranger keeps a row locked, changes to it are 409 `session_being_modified`; afterwards they succeed."""
    work = api.work()
    session = work.session("m")
    path = f"/v1/sessions/{session['id']}"
    confirm = {"session_id": session["id"]}
    replace = {"phase": "run", "model": {"name": "n"}, "on_conflict": "replace", "confirm": confirm}
    requests: list[Callable[[], httpx2.Response]] = [lambda: api.post(work.path, replace)]
    if locked == "task":
        requests.append(lambda: api.patch(f"/v1/tasks/{work.task}", {"title": "U"}))
    else:
        requests += [
            lambda: api.patch(path, {"status": "running"}),
            lambda: api.post(f"{path}/output", {"chunks": [{"text": "x"}]}),
            lambda: api.delete(path),
        ]
    row = work.task if locked == "task" else session["id"]
    with psycopg.connect(database[1]) as stranger:
        stranger.execute(f"SELECT id FROM {locked} WHERE id = %s FOR NO KEY UPDATE", [row])
        for request in requests:
            answer = request()
            document = problem(answer, 409, "session_being_modified")
            assert document["detail"] == "This session is currently being modified. Please try again later."
            assert document["retryable"] is True
            assert answer.headers["retry-after"] == "1"
    for request in (*requests[1:-1], requests[0], requests[-1]):  # what the replacement ends comes before it
        assert request().status_code in (200, 201, 204)
