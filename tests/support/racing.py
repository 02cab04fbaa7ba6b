"""Many at once on one task, and what has to be true afterwards."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx2

from sessioncast_shared.texts import BUSY
from support.api import Api, Work, problem
from support.racers import Racers, Shot

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
    """Replayed event by event the log has no gap, never two live ones in a slot, and ends at what is read.

    Versions rise by one, fences of a place never fall, what is gone does not change, and what it printed was printed
    before.
    """
    events = work.events()
    assert [int(event["position"].partition(":")[2]) for event in events] == list(range(1, len(events) + 1))
    sessions: dict[str, dict[str, Any]] = {}
    fences: dict[tuple[str, bool], int] = {}
    for event in events[1:]:
        if event["type"] == "session.output":
            known = sessions[event["session_id"]]
            assert known["deleted_at"] is None
            assert event["data"]["first"] == known["output_seq"] + 1
            known["output_seq"] = event["data"]["last"]
            continue
        data = event["data"]
        before = sessions.get(data["id"])
        assert data["version"] == (1 if before is None else before["version"] + 1)
        if before is not None:
            assert before["deleted_at"] is None
            assert data["output_seq"] == before["output_seq"]
        place = (data["phase"], data["debug"])
        if event["type"] == "session.created":
            assert data["fence"] >= fences.get(place, 0)
            fences[place] = data["fence"]
        sessions[data["id"]] = data
        live = Counter((row["phase"], row["debug"]) for row in sessions.values() if row["deleted_at"] is None)
        assert max(live.values(), default=0) <= 1
    for id_, told in sessions.items():
        read = work.api.ok(work.api.get(f"/v1/sessions/{id_}"), 200)
        assert {name: read[name] for name in told if name != "last_activity_at"} == {
            name: told[name] for name in told if name != "last_activity_at"
        }
        assert output_of(work.api, id_) == list(range(1, told["output_seq"] + 1))
    listed = work.api.ok(work.api.get(work.path, params={"include_deleted": "true", "limit": 200}), 200)["data"]
    assert {row["id"] for row in listed} == sessions.keys()


def output_of(api: Api, session_id: str) -> list[int]:
    """`seq` of each chunk of a session."""
    found: list[int] = []
    while True:
        after = found[-1] if found else 0
        page = api.ok(api.get(f"/v1/sessions/{session_id}/output", params={"after": after, "limit": 200}), 200)
        found += [chunk["seq"] for chunk in page["data"]]
        if page["next"] is None:
            return found


async def thirty_starts(crowd: Crowd, api: Api, phases: Sequence[str] = ("plan", "run", "verify")) -> None:
    """Twice for each phase: thirty at once, one made, the others shown it."""
    work = api.work()
    for phase, debug in ((phase, debug) for phase in phases for debug in (False, True)):
        body = {"phase": phase, "debug": debug, "model": {"name": "m"}}
        answers = await crowd.all([("POST", work.path, body)] * 30)
        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 29}
        assert Counter(answer.json()["outcome"] for answer in answers) == {"created": 1, "existing": 29}
        assert len({answer.json()["session"]["id"] for answer in answers}) == 1
    listed = api.ok(api.get(work.path, params={"include_deleted": "true"}), 200)["data"]
    assert len(listed) == 2 * len(phases)
    assert Counter(event["type"] for event in work.events()) == {"task.created": 1, "session.created": 2 * len(phases)}
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


def twenty_replacers(apis: list[Api]) -> None:
    """From four processes, ten confirm what is live and ten what was replaced before: one of the ten wins."""
    with Racers() as racers:
        _twenty_replacers(racers, apis)


def _twenty_replacers(racers: Racers, apis: list[Api]) -> None:
    api = apis[0]
    work = api.work()
    old, live = work.replaced()
    for turn in range(3):
        shots = [
            Shot(
                apis[number // 2 % len(apis)].url,
                api.token,
                "POST",
                work.path,
                {
                    "phase": "run",
                    "model": {"name": f"m-{turn}-{number}"},
                    "on_conflict": "replace",
                    "confirm": {"session_id": old["id"] if number % 2 else live["id"]},
                },
            )
            for number in range(20)
        ]
        hits = racers.race(shots)
        winners = [number for number, hit in enumerate(hits) if hit.status == 201]
        assert len(winners) == 1
        assert winners[0] % 2 == 0, "a stale confirmation replaced a session"
        old, live = live, hits[winners[0]].body["session"]
        for number, hit in enumerate(hits):
            if number not in winners:
                assert (hit.status, hit.body["code"]) == (409, "session_changed")
                # Who came before the winner with a stale confirmation was shown what was live then.
                assert hit.body["confirm"]["session_id"] in {live["id"], old["id"]}
                assert hit.body["detail"] == "Another session is live in this phase by now."
    assert len(work.events()) == 1 + 1 + 2 + 3 * 2
    check_log(work)


async def printing_while_replaced(apis: list[Api]) -> None:
    """One replacement among sixty appends: what was acknowledged is there, what came later was refused."""
    api = apis[0]
    work = api.work()
    live = work.session("m")
    path = f"/v1/sessions/{live['id']}/output"
    requests: list[tuple[str, str, Any]] = [("POST", path, {"chunks": [{"text": "x"}] * 3}) for _ in range(60)]
    wish = {"phase": "run", "on_conflict": "replace", "model": {"name": "n"}, "confirm": {"session_id": live["id"]}}
    requests.insert(25, ("POST", work.path, wish))
    answers = await Crowd(*apis).all(requests)
    replaced = api.ok(answers.pop(25), 201)
    printed = 0
    for answer in answers:
        if answer.status_code == 200:
            printed += 3
            assert answer.json()["last"] <= replaced["replaced"]["output_seq"]
        else:
            document = problem(answer, 409, "session_replaced")
            assert document["replaced_by"] == replaced["session"]["id"]
    assert printed == replaced["replaced"]["output_seq"] == len(output_of(api, live["id"]))
    (told,) = [event for event in work.events() if event["type"] == "session.replaced"]
    assert told["data"]["output_seq"] == printed
    check_log(work)


async def starting_while_deleted(apis: list[Api]) -> None:
    """Starts and deletions at once: whatever is live afterwards, each deletion is 204 and each start has a session."""
    work = apis[0].work()
    live = work.session("m")
    start: tuple[str, str, Any] = ("POST", work.path, {"phase": "run", "model": {"name": "m"}})
    for _ in range(3):
        answers = await Crowd(*apis).all([start, ("DELETE", f"/v1/sessions/{live['id']}", None)] * 10)
        assert {answer.status_code for answer in answers[1::2]} == {204}
        outcomes = Counter(answer.json()["outcome"] for answer in answers[::2])
        assert outcomes.keys() <= {"existing", "created"}
        assert outcomes["created"] <= 1
        answer = work.start("m")
        live = answer.json()["session"]
    check_log(work)


async def mixed_changes(crowd: Crowd, api: Api, seed: int, *, busy: bool = False) -> None:
    """Everything at once on one session: each answer is one of the table's, and the log tells how it came.

    Args:
        busy: whether some may be told to try again.
    """
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
            document = answer.json()
            if busy and document["code"] == "session_being_modified":
                assert document["detail"] == BUSY
                assert answer.headers["retry-after"] == "1"
            else:
                assert document["code"] in allowed
    check_log(work)
