"""Many replacements and deletions with one request."""

from itertools import groupby
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from sessioncast_shared.position import Position
from support.api import Api, problem
from support.bulk import NOBODY, Field, codes, metric, new_key, wish

_ROUTE = {"method": "POST", "route": "/v1/projects/{project_id}/sessions/bulk"}
_BUSY = "This session is currently being modified. Please try again later."


def _at(api: Api, project: str) -> Position:
    return Position.parse(api.get(f"/v1/projects/{project}").headers["X-Position"])


def test_each_item_is_answered_as_if_it_had_come_alone(api: Api) -> None:
    """Created, replaced, existing, deleted and each refusal stand at the item's place, replacements come first."""
    field, other = Field(api, 6), Field(api, 1)
    a, b, c, _, e, f = field.tasks
    live = dict(zip(field.tasks, field.sessions("m"), strict=True))
    (foreign,) = other.sessions()
    api.ok(api.delete(f"/v1/sessions/{live[f]}"), 204)
    before = len(field.events())
    answer = field.ask(
        replace=[
            wish(a, "n", confirm=live[a].upper()),
            wish(b, "m", confirm=live[b]),
            wish(c, "n", confirm=str(uuid4())),
            wish(a, "n", confirm=live[a], phase="Review"),
            wish(other.tasks[0], "n", confirm=foreign),
            wish(str(uuid4()), "n"),
            wish("no uuid", "n"),
            wish("\0", "n"),
            wish(a, "n", confirm="\0", phase="plan"),
        ],
        delete=[
            {"session_id": live[a]},
            {"session_id": live[e].upper(), "version": 1},
            {"session_id": live[e]},
            {"session_id": live[f], "version": 7},
            {"session_id": live[b], "version": 2},
            {"session_id": foreign},
            {"session_id": str(uuid4())},
            {"session_id": "no uuid"},
            {"session_id": "a\0b"},
        ],
    )
    shown = api.ok(answer, 207)
    assert codes(shown["replace"]) == [
        "replaced", "existing", "session_changed", "created", *["not_found"] * 4, "created"
    ]  # fmt: skip
    assert codes(shown["delete"]) == [204, 204, 204, 204, "precondition_failed", *["not_found"] * 4]
    replaced, existing, changed = shown["replace"][:3]
    assert (replaced["status"], existing["status"], changed["status"]) == (201, 200, 409)
    assert replaced["replaced"]["id"] == live[a]
    assert replaced["replaced"]["replaced_by"] == replaced["session"]["id"]
    assert replaced["replaced"]["status"] == "cancelled"
    assert replaced["session"]["fence"] == 2
    assert existing["message"] == "A session with the same model is already active. View the active session."
    assert changed["problem"]["confirm"] == {"session_id": live[c]}
    assert shown["replace"][3]["session"]["phase"] == "verify"
    for item in [*shown["replace"], *shown["delete"]]:
        if "problem" in item:
            assert item["problem"]["status"] == item["status"]
            assert item["problem"]["request_id"] == answer.headers["x-request-id"]
    events = field.events()[before:]
    assert [event["type"] for event in events] == [
        "session.replaced", "session.created", "session.created", "session.created", "session.deleted"
    ]  # fmt: skip
    assert Position.parse(answer.headers["X-Position"]) == Position.parse(events[-1]["position"])
    assert len(other.events()) == 1
    assert events[-1]["data"]["id"] == live[e]


def test_a_place_named_twice_is_decided_twice(api: Api) -> None:
    """The second replacement of a place meets what the first one made."""
    field = Field(api, 1)
    (live,) = field.sessions("m")
    task = field.tasks[0]
    items = field.bulk(replace=[wish(task, model, confirm=live) for model in ("n", "n", "o")])["replace"]
    assert codes(items) == ["replaced", "existing", "session_changed"]
    assert items[1]["session"]["id"] == items[0]["session"]["id"]
    assert items[2]["problem"]["confirm"] == {"session_id": items[0]["session"]["id"]}
    items = field.bulk(replace=[wish(task, model, phase="plan") for model in ("n", "o")])["replace"]
    assert codes(items) == ["created", "session_changed"]


def test_events_come_in_the_order_of_the_items_and_a_tasks_together(api: Api) -> None:
    """Tasks come in the order of their first item, whatever is between; a task's phases are one run of offsets."""
    field = Field(api, 4)
    field.sessions("m")
    before = len(field.events())
    order = [(task, phase) for phase in ("plan", "verify") for task in reversed(field.tasks)]
    field.bulk(replace=[wish(task, phase=phase) for task, phase in order])
    events = field.events()[before:]
    assert [(task, [event["phase"] for event in run]) for task, run in groupby(events, lambda e: e["task_id"])] == [
        (task, ["plan", "verify"]) for task in reversed(field.tasks)
    ]


def test_a_bulk_has_one_to_a_thousand_items(api: Api) -> None:
    """None, or more than a thousand over both lists, are 422 and nothing is done; so is a field that is not offered."""
    field = Field(api, 1)
    problem(field.ask(), 422, "invalid")
    problem(field.ask(delete=[{"session_id": NOBODY}] * 1001), 422, "invalid")
    problem(field.ask(replace=[wish(field.tasks[0])], delete=[{"session_id": NOBODY}] * 1000), 422, "invalid")
    problem(field.ask(replace=[wish(field.tasks[0]) | {"debug": True}]), 422, "invalid")
    problem(field.ask(replace=[wish(field.tasks[0]) | {"on_conflict": "restart"}]), 422, "invalid")
    problem(field.ask(delete=[{"session_id": NOBODY, "version": 0}]), 422, "invalid")
    assert field.events() == []
    assert codes(field.bulk(delete=[{"session_id": NOBODY}] * 1000)["delete"]) == ["not_found"] * 1000


def test_a_bulk_is_limited_as_every_body(api: Api) -> None:
    """A body over a megabyte is 413, whatever is in it, and a project that is not the caller's is 404."""
    field = Field(api, 1)
    item = wish(field.tasks[0]) | {"model": {"name": "m", "params": {"system_prompt": "x" * (1 << 20)}}}
    problem(field.ask(replace=[item]), 413, "too_large")
    stranger = Field(api.acting(projects=["p-none"]), 0, project=field.project)
    problem(stranger.ask(replace=[wish(field.tasks[0])]), 404, "not_found")
    reader = Field(api.acting(scopes=["sessions:read"]), 0, project=field.project)
    problem(reader.ask(replace=[wish(field.tasks[0])]), 403, "forbidden")
    assert field.events() == []


def test_a_thousand_items_take_few_statements_and_few_commits(api: Api) -> None:
    """A thousand replacements, and a thousand deletions, take twenty commits each and not one statement an item."""
    field = Field(api, 1000)

    def spent() -> tuple[float, float]:
        return (
            metric(api, "sessioncast_request_statements_sum", **_ROUTE),
            metric(api, "sessioncast_commit_seconds_count"),
        )

    live = dict(zip(field.tasks, field.sessions("m"), strict=True))
    replaced_before = metric(api, "sessioncast_session_replacements_total", reason="model_changed")
    before = spent()
    items = field.bulk(replace=[wish(task, "n", confirm=live[task]) for task in field.tasks])["replace"]
    replaced = spent()
    assert codes(items) == ["replaced"] * 1000
    gone = field.bulk(delete=[{"session_id": item["session"]["id"]} for item in items])["delete"]
    deleted = spent()
    assert codes(gone) == [204] * 1000
    assert (replaced[1] - before[1], deleted[1] - replaced[1]) == (20, 20)
    assert 20 < replaced[0] - before[0] <= 20 * 20
    assert 20 < deleted[0] - replaced[0] <= 20 * 10
    assert metric(api, "sessioncast_session_replacements_total", reason="model_changed") == replaced_before + 1000
    events = field.events()
    assert len(events) == 1000 + 2000 + 1000
    offsets = [int(event["position"].partition(":")[2]) for event in events]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    assert [event["task_id"] for event in events[1000:3000:2]] == field.tasks
    assert [event["session_id"] for event in events[3000:]] == [item["session"]["id"] for item in items]


def test_a_repeated_bulk_answers_existing_and_gone(api: Api) -> None:
    """Without a key, what was replaced exists, what was deleted is gone, and nothing is written again."""
    field = Field(api, 4)
    live = dict(zip(field.tasks, field.sessions("m"), strict=True))
    kept, ended = field.tasks[:2], field.tasks[2:]
    body: dict[str, Any] = {
        "replace": [wish(task, "n", confirm=live[task]) for task in kept],
        "delete": [{"session_id": live[task], "version": 1} for task in ended],
    }
    first = field.ask(**body)
    assert codes(first.json()["replace"]) == ["replaced"] * 2
    position = _at(api, field.project)
    again = field.ask(**body)
    assert codes(again.json()["replace"]) == ["existing"] * 2
    assert codes(again.json()["delete"]) == [204] * 2
    assert _at(api, field.project) == position
    assert Position.parse(again.headers["X-Position"]) == position
    one, two = first.json()["replace"], again.json()["replace"]
    assert [item["session"]["id"] for item in two] == [item["session"]["id"] for item in one]


def test_a_key_makes_a_bulk_once(api: Api) -> None:
    """With its key a bulk is answered alike and done once; with another body the key is 422, whatever the ETag says."""
    field = Field(api, 3)
    live = dict(zip(field.tasks, field.sessions("m"), strict=True))
    key = new_key()
    body: dict[str, Any] = {
        "replace": [wish(field.tasks[0], "n", confirm=live[field.tasks[0]]), wish(field.tasks[1], "n")],
        "delete": [{"session_id": live[field.tasks[2]]}, {"session_id": NOBODY}],
    }
    first = field.ask(**body, key=key)
    assert codes(first.json()["replace"]) == ["replaced", "session_changed"]
    position = _at(api, field.project)
    field.bulk(replace=[wish(field.tasks[2], "o")])
    again = api.post(field.path, body, headers={"Idempotency-Key": key, "If-Match": '"none"'})

    def told(shown: dict[str, Any]) -> list[Any]:
        items: list[Any] = [*shown["replace"], *shown["delete"]]
        for item in items:
            item.get("problem", {}).pop("request_id", None)  # of the request that is answered
        return items

    assert told(api.ok(again, 207)) == told(first.json())
    assert again.headers["X-Position"] == first.headers["X-Position"] == str(position)
    assert _at(api, field.project).offset == position.offset + 1
    problem(field.ask(replace=body["replace"], key=key), 422, "idempotency_key_reused")
    assert _at(api, field.project).offset == position.offset + 1


def test_a_deleted_model_refuses_its_items_only(api: Api) -> None:
    """Items that name a deleted model are 422 MODEL_MISSING, sessions of it may be replaced and deleted."""
    field = Field(api, 3)
    live = dict(zip(field.tasks, field.sessions("old"), strict=True))
    for name in ("old", "new"):
        api.ok(api.request("PUT", f"/v1/projects/{field.project}/models/{name}", json={}), 201)
    api.ok(api.delete(f"/v1/projects/{field.project}/models/old"), 204)
    a, b, c = field.tasks
    shown = field.bulk(
        replace=[wish(a, "old", confirm=live[a]), wish(b, "new", confirm=live[b]), wish(c, "else", confirm=live[c])],
        delete=[{"session_id": live[c]}],
    )
    assert codes(shown["replace"]) == ["model_not_found", "replaced", "model_not_found"]
    assert shown["replace"][0]["problem"]["detail"] == "Model Not Found"
    assert codes(shown["delete"]) == [204]
    assert field.live() == {a: "old", b: "new"}


def test_while_phases_are_not_single_a_bulk_adds_to_them(api: Api) -> None:
    """With `single_session_enabled` off items create beside what is live; then the last one keeps the slot."""
    admin = api.acting(scopes=["admin"])
    field = Field(api, 2)
    live = dict(zip(field.tasks, field.sessions("m"), strict=True))
    a, b = field.tasks

    def switch(state: str) -> None:
        admin.ok(admin.request("PUT", "/v1/admin/flags/single_session_enabled", json={"state": state}), 200)

    switch("off")
    try:
        items = field.bulk(replace=[wish(a, "n", confirm=live[a]), wish(a, "o"), wish(b, "n")])["replace"]
        assert codes(items) == ["created"] * 3
        rows = api.ok(api.get(f"/v1/tasks/{a}/sessions"), 200)["data"]
        assert [row["model"]["name"] for row in rows] == ["o", "n", "m"]
    finally:
        switch("on")
    newest = items[1]["session"]["id"]
    again = field.bulk(replace=[wish(a, "p", confirm=live[a]), wish(a, "p", confirm=newest)])["replace"]
    assert codes(again) == ["session_changed", "replaced"]
    assert field.live() == {a: "p", b: "n"}


# SQLite has no row locks: one writer, one after another.
@pytest.mark.parametrize("locked", ["task", "session"])
def test_an_item_that_a_stranger_keeps_holds_up_nobody_else(hasty: tuple[Api, str], locked: str) -> None:
    """Items of a locked task or session are 409 BUSY, all others are done; afterwards the same key does the rest."""
    api, url = hasty
    field = Field(api, 4)
    live = dict(zip(field.tasks, field.sessions("m"), strict=True))
    a, b, c, d = field.tasks
    row, key = {"task": b, "session": live[b]}[locked], new_key()
    body: dict[str, Any] = {
        "replace": [wish(task, "n", confirm=live[task]) for task in (a, b)],
        "delete": [{"session_id": live[task]} for task in (c, d)],
    }
    before = metric(api, "sessioncast_lock_timeouts_total", strategy="pessimistic")
    with psycopg.connect(url) as stranger:
        stranger.execute(f"SELECT id FROM {locked} WHERE id = %s FOR NO KEY UPDATE", [row])
        stranger.execute("SELECT id FROM session WHERE id = %s FOR NO KEY UPDATE", [live[d]])
        answer = field.ask(**body, key=key)
        shown = api.ok(answer, 207)
        assert codes(shown["replace"]) == ["replaced", "session_being_modified"]
        assert codes(shown["delete"]) == [204, "session_being_modified"]
        refused = shown["replace"][1]
        assert (refused["status"], refused["problem"]["detail"]) == (409, _BUSY)
        assert refused["problem"]["retryable"] is True
        assert _at(api, field.project) == Position.parse(answer.headers["X-Position"])
    # The second one was not waited for: the patience of the request was spent on the first.
    assert metric(api, "sessioncast_lock_timeouts_total", strategy="pessimistic") == before + 1
    again = field.ask(**body, key=key)
    assert codes(again.json()["replace"]) == ["replaced"] * 2
    assert codes(again.json()["delete"]) == [204] * 2
    assert again.json()["replace"][0] == shown["replace"][0]
    assert _at(api, field.project) == Position.parse(again.headers["X-Position"])
    assert field.live() == {a: "n", b: "n"}
    assert len(field.events()) == 4 + 2 * 2 + 2
