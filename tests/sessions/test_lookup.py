"""Looking up the live sessions of a task over HTTP: quick, and never behind what the one who asks has done."""

import random
from typing import Any

import pytest

from support.api import Api, problem
from support.lookups import Figures, warm
from support.waiting import wait_until


def shown(api: Api, path: str, **params: Any) -> list[dict[str, Any]]:
    """The sessions that a lookup shows."""
    found: list[dict[str, Any]] = api.ok(api.get(path, params=params), 200)["data"]
    return found


def test_what_does_not_change_is_answered_from_memory(api: Api) -> None:
    """Each lookup is counted once, with where it came from; what it says is what was read."""
    work = api.work()
    session = work.session()
    warm(api, work.path, phase="run")
    before = Figures(api)
    answers = [api.get(work.path, params={"phase": "run"}) for _ in range(20)]
    after = Figures(api)
    assert after.outcome("hit") - before.outcome("hit") == 20
    assert after.source("memory") - before.source("memory") == 20
    assert after.source("store") == before.source("store")
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json() == {"data": [session], "next": None}
    assert answers[0].headers["cache-control"] == "private, no-cache"
    assert answers[0].headers["content-type"] == "application/json"
    wait_until(lambda: Figures(api).entries >= 1, "the gauge to show that something is kept")


def test_an_own_change_is_seen_by_the_next_lookup(api: Api) -> None:
    """Two hundred changes of any kind, each followed by a lookup of another view: never the state before."""
    dice = random.Random(11)
    work = api.work()
    session = work.session()
    views: list[dict[str, Any]] = [{"phase": "run"}, {}, {"debug": False}, {"phase": "execute", "debug": False}]
    for view in views:
        warm(api, work.path, **view)
    for number in range(200):
        match dice.randrange(4):
            case 0:
                status = "running" if session["status"] != "running" else "waiting"
                session = api.ok(api.patch(f"/v1/sessions/{session['id']}", {"status": status}), 200)
            case 1:
                chunks = {"chunks": [{"text": str(number)}]}
                last = api.ok(api.post(f"/v1/sessions/{session['id']}/output", chunks), 200)["last"]
                session = {**session, "output_seq": last}
            case 2:
                wish: dict[str, Any] = {"on_conflict": "replace", "confirm": {"session_id": session["id"]}}
                session = api.ok(work.start(f"m-{number}", **wish), 201)["session"]
            case 3:
                api.ok(api.delete(f"/v1/sessions/{session['id']}"), 204)
                assert shown(api, work.path, phase="run") == []
                session = work.session()
        found = shown(api, work.path, **dice.choice(views))
        assert [(each["id"], each["version"], each["output_seq"]) for each in found] == [
            (session["id"], session["version"], session["output_seq"])
        ]


def test_changes_elsewhere_let_it_stand_and_raise_its_position(api: Api) -> None:
    """An event of another task costs nothing: the answer has the same tag, and the position of that event."""
    work = api.work()
    work.session()
    warm(api, work.path)
    first = api.get(work.path)
    other = api.ok(api.post(f"/v1/projects/{work.project}/tasks", {"title": "U"}), 201)
    before = Figures(api).outcome("hit")
    second = api.get(work.path)
    assert Figures(api).outcome("hit") == before + 1
    assert (second.content, second.headers["etag"]) == (first.content, first.headers["etag"])
    position = api.get(f"/v1/tasks/{other['id']}").headers["x-position"]
    assert second.headers["x-position"] == position != first.headers["x-position"]


def test_a_tag_is_compared_with_what_is_kept(api: Api) -> None:
    """304 from memory until something changed; then 200 with another tag."""
    work = api.work()
    session = work.session()
    warm(api, work.path)
    tag = {"If-None-Match": api.get(work.path).headers["etag"]}
    before = Figures(api).outcome("hit")
    unchanged = api.get(work.path, headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert Figures(api).outcome("hit") == before + 1
    api.ok(api.patch(f"/v1/sessions/{session['id']}", {"status": "running"}), 200)
    changed = api.get(work.path, headers=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag["If-None-Match"]


def test_every_view_has_an_answer_of_its_own(api: Api) -> None:
    """Phases and debug are kept apart, titles of one phase are not."""
    work = api.work()
    run, plan = work.session(), work.session(phase="plan")
    debug = work.session(debug=True)
    views: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        ({}, [debug, plan, run]),
        ({"phase": "run"}, [debug, run]),
        ({"phase": "run", "debug": False}, [run]),
        ({"phase": "run", "debug": True}, [debug]),
        ({"debug": False}, [plan, run]),
        ({"phase": "verify"}, []),
    ]
    for _ in range(3):
        for view, expected in views:
            assert [each["id"] for each in shown(api, work.path, **view)] == [each["id"] for each in expected]
    warm(api, work.path, phase="run")
    before = Figures(api).outcome("hit")
    assert shown(api, work.path, phase="Implementation") == [debug, run]
    assert Figures(api).outcome("hit") == before + 1


def test_pages_and_audits_are_read(api: Api) -> None:
    """What is not the first page of live sessions is neither kept nor taken from what is kept."""
    work = api.work()
    old, new = work.replaced()
    warm(api, work.path)
    before = Figures(api)
    assert shown(api, work.path, limit=1) == [new]
    assert [each["id"] for each in shown(api, work.path, include_deleted=True)] == [new["id"], old["id"]]
    following = api.ok(api.get(work.path, params={"include_deleted": True, "limit": 1}), 200)["next"]
    assert [each["id"] for each in shown(api, work.path, include_deleted=True, after=following)] == [old["id"]]
    after = Figures(api)
    for outcome in ("hit", "miss", "stale", "joined"):
        assert after.outcome(outcome) == before.outcome(outcome)


def test_what_one_may_see_is_not_shown_to_another(api: Api) -> None:
    """Rights are asked for each time: a foreign task is not found, as one that is not there, however warm it is."""
    work = api.work()
    work.session()
    warm(api, work.path)
    foreign = api.acting(sub="eve", projects=["another"])
    missing = api.get("/v1/tasks/01234567-89ab-7def-8123-456789abcdef/sessions")
    documents = [problem(answer, 404, "not_found") for answer in (foreign.get(work.path), missing)]
    for document in documents:
        document.pop("request_id")
    assert documents[0] == documents[1]
    assert problem(api.acting(scopes=[]).get(work.path), 403, "forbidden")
    assert problem(
        api.acting(scopes=["sessions:read"]).get(work.path, params={"include_deleted": True}), 403, "forbidden"
    )
    assert shown(api.acting(sub="bob", projects=[work.project]), work.path) == shown(api, work.path)


def test_a_position_is_waited_for_past_what_is_kept(api: Api) -> None:
    """What is known here is answered from memory; a position of another epoch or of no form is told, as by any read."""
    work = api.work()
    work.session()
    warm(api, work.path)
    here = api.get(work.path).headers["x-position"]
    before = Figures(api).outcome("hit")
    api.ok(api.get(work.path, params={"min_position": here}), 200)
    assert Figures(api).outcome("hit") == before + 1
    problem(api.get(work.path, params={"min_position": f"other:{here.partition(':')[2]}"}), 503, "unavailable")
    problem(api.get(work.path, params={"min_position": "x"}), 400, "bad_cursor")
    changed = api.post(f"/v1/projects/{work.project}/tasks", {"title": "U"})
    answer = api.get(work.path, params={"min_position": changed.headers["x-position"]})
    assert answer.headers["x-position"] == changed.headers["x-position"]


def test_a_deleted_model_is_shown_by_the_next_lookup(api: Api) -> None:
    """The registry's changes reach what is kept: the session's model is not available, and then it is again."""
    work = api.work()
    model = f"/v1/projects/{work.project}/models/m-1"
    api.ok(api.request("PUT", model, json={}), 201)
    work.session("m-1")
    warm(api, work.path)
    api.ok(api.delete(model), 204)
    assert shown(api, work.path)[0]["model"]["available"] is False
    api.ok(api.request("PUT", model, json={}), 201)
    assert "available" not in shown(api, work.path)[0]["model"]


@pytest.mark.parametrize("query", [{"phase": "none"}, {"debug": "perhaps"}, {"limit": 0}, {"nonsense": 1}])
def test_what_cannot_be_asked_is_refused(api: Api, query: dict[str, Any]) -> None:
    """Parameters are checked before anything is looked up."""
    problem(api.get(api.work().path, params=query), 422, "invalid")
