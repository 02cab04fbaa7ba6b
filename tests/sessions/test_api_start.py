"""Starting sessions over HTTP: every row of the interface's table, word for word."""

import re
from typing import Any

import pytest

from support.api import Api, problem

SAME_MODEL = "A session with the same model is already active. View the active session."
CONFIRM = (
    "This will replace the existing session and any unsaved progress will be lost. Are you sure you want to continue?"
)
LOSS = "Replacing this session will result in the loss of any unsaved progress."
MEMBERS = {
    "id",
    "project_id",
    "task_id",
    "phase",
    "debug",
    "model",
    "agent",
    "user",
    "status",
    "active",
    "version",
    "fence",
    "metadata",
    "output_seq",
    "last_activity_at",
    "head_provider_session_id",
    "created_at",
    "updated_at",
    "ended_at",
    "deleted_at",
    "replaced_by",
}
EXISTING = {"id", "model", "agent", "user", "status", "active", "created_at", "last_activity_at"}
PROBLEM = {"type", "title", "status", "code", "detail", "request_id", "retryable"}
ANOTHER_ID = "01234567-89ab-7def-8123-456789abcdef"

LIVE, OTHER, GARBAGE = "live", ANOTHER_ID, "no id at all"

# on_conflict, other model?, confirm -> outcome or code
MEETINGS = [
    *(
        (wish, False, confirm, "existing")
        for wish in (None, "ask", "replace")
        for confirm in (None, LIVE, OTHER, GARBAGE)
    ),
    *((wish, True, confirm, "confirm") for wish in (None, "ask") for confirm in (None, LIVE, OTHER, GARBAGE)),
    *(("reject", changed, confirm, "reject") for changed in (False, True) for confirm in (None, LIVE, OTHER, GARBAGE)),
    ("replace", True, None, "confirm"),
    ("replace", True, LIVE, "replaced"),
    ("replace", True, OTHER, "changed"),
    ("replace", True, GARBAGE, "changed"),
    *(("restart", changed, None, "confirm") for changed in (False, True)),
    *(("restart", changed, LIVE, "replaced") for changed in (False, True)),
    *(("restart", changed, confirm, "changed") for changed in (False, True) for confirm in (OTHER, GARBAGE)),
]


@pytest.mark.parametrize("terminal", [False, True], ids=["active", "terminal"])
@pytest.mark.parametrize(("on_conflict", "changed", "confirm", "expected"), MEETINGS)
def test_a_live_session_is_met_by_the_table(
    api: Api, on_conflict: str | None, changed: bool, confirm: str | None, expected: str, terminal: bool
) -> None:
    """Each wish meets a live session, active or ended, as the table says; only `replaced` writes anything."""
    work = api.work()
    live = work.session(agent="a", metadata={"k": 1})
    if terminal:
        live = api.ok(api.patch(f"/v1/sessions/{live['id']}", {"status": "failed"}), 200)
    before = len(work.events())
    wish: dict[str, Any] = {} if on_conflict is None else {"on_conflict": on_conflict}
    if confirm is not None:
        wish["confirm"] = {"session_id": live["id"].upper() if confirm == LIVE else confirm}
    answer = work.start("m-2" if changed else "m-1", **wish)
    {
        "existing": _existing,
        "confirm": _confirm,
        "changed": _changed,
        "reject": _reject,
        "replaced": _replaced,
    }[expected](answer, live, changed)
    assert len(work.events()) == before + (2 if expected == "replaced" else 0)
    now = api.ok(api.get(work.path), 200)["data"]
    assert len(now) == 1
    assert (now[0]["id"] == live["id"]) is (expected != "replaced")


def _existing(answer: Any, live: dict[str, Any], changed: bool) -> None:
    assert answer.status_code == 200
    assert answer.json() == {"outcome": "existing", "session": live, "message": SAME_MODEL}


def _confirm(answer: Any, live: dict[str, Any], changed: bool) -> None:
    document = problem(answer, 409, "model_change_requires_confirmation")
    assert document["detail"] == CONFIRM
    _confirmable(document, live, changed)


def _confirmable(document: dict[str, Any], live: dict[str, Any], changed: bool) -> None:
    assert document.keys() == PROBLEM | {"warning", "difference", "existing", "export_url", "confirm"}
    assert document["warning"] == LOSS
    assert document["difference"] == (
        {"result": "changed", "fields": ["name"]} if changed else {"result": "same", "fields": []}
    )
    assert document["existing"] == {name: live[name] for name in EXISTING}
    assert document["export_url"] == f"/v1/sessions/{live['id']}/export"
    assert document["confirm"] == {"session_id": live["id"]}
    assert document["retryable"] is False


def _changed(answer: Any, live: dict[str, Any], changed: bool) -> None:
    _confirmable(problem(answer, 409, "session_changed"), live, changed)


def _reject(answer: Any, live: dict[str, Any], changed: bool) -> None:
    document = problem(answer, 409, "session_active")
    assert document.keys() == PROBLEM | {"existing"}
    assert document["existing"] == {name: live[name] for name in EXISTING}


def _replaced(answer: Any, live: dict[str, Any], changed: bool) -> None:
    assert answer.status_code == 201
    document = answer.json()
    assert document.keys() == {"outcome", "session", "replaced"}
    assert document["outcome"] == "replaced"
    session, replaced = document["session"], document["replaced"]
    assert session.keys() == replaced.keys() == MEMBERS
    assert session["id"] != live["id"]
    assert session["model"] == {"name": "m-2" if changed else "m-1"}
    assert session["deleted_at"] is None
    assert session["fence"] == live["fence"] + 1
    assert replaced["id"] == live["id"]
    assert replaced["replaced_by"] == session["id"]
    assert replaced["deleted_at"] is not None
    assert replaced["active"] is False
    assert replaced["status"] == ("cancelled" if live["active"] else live["status"])
    assert replaced["ended_at"] == (replaced["deleted_at"] if live["active"] else live["ended_at"])
    assert replaced["version"] == live["version"] + 1


@pytest.mark.parametrize("on_conflict", ["ask", "replace", "restart", "reject"])
def test_an_empty_phase_is_taken(api: Api, on_conflict: str) -> None:
    """With nothing live every wish creates, whatever it confirms."""
    work = api.work()
    answer = work.start(
        on_conflict=on_conflict, confirm={"session_id": ANOTHER_ID}, agent=["a", "b"], metadata={"k": 1}
    )
    document = api.ok(answer, 201)
    assert document.keys() == {"outcome", "session"}
    session = document["session"]
    assert session.keys() == MEMBERS
    assert document["outcome"] == "created"
    shown = {name: value for name, value in session.items() if not name.endswith("_at")}
    assert shown == {
        "id": session["id"],
        "project_id": work.project,
        "task_id": work.task,
        "phase": "run",
        "debug": False,
        "model": {"name": "m-1"},
        "agent": ["a", "b"],
        "user": "ann",
        "status": "pending",
        "active": True,
        "version": 1,
        "fence": 1,
        "metadata": {"k": 1},
        "output_seq": 0,
        "head_provider_session_id": None,
        "replaced_by": None,
    }
    assert session["created_at"] == session["updated_at"] == session["last_activity_at"]
    assert session["created_at"].endswith("Z")
    assert answer.headers["x-position"].partition(":")[2] == "2"
    read = api.get(f"/v1/sessions/{session['id']}")
    assert read.json() == session
    assert read.headers["etag"] == answer.headers["etag"]


def test_phases_and_debug_sessions_have_slots_of_their_own(api: Api) -> None:
    """A task holds a session in each phase and a debug one beside it; none meets another."""
    work = api.work()
    titles = {"plan": "Design", "run": " EXECUTE ", "verify": "Review"}
    made = {
        phase + (".debug" if debug else ""): work.session(phase=title, debug=debug)
        for phase, title in titles.items()
        for debug in (False, True)
    }
    assert [made[name]["phase"] for name in made] == ["plan", "plan", "run", "run", "verify", "verify"]
    assert api.ok(api.get(f"/v1/tasks/{work.task}"), 200)["sessions"] == made
    for name, params in (("run", {"debug": "false"}), ("run.debug", {"debug": "true"})):
        found = api.ok(api.get(work.path, params={"phase": "implement", **params}), 200)["data"]
        assert found == [made[name]]
    problem(work.start(phase="run", debug=True, on_conflict="reject"), 409, "session_active")


def test_a_debug_session_has_one_agent(api: Api) -> None:
    """A list of more than one agent is 422 with `debug`, at the start and later; without it it is not."""
    work = api.work()
    problem(work.start(debug=True, agent=["a", "b"]), 422, "invalid")
    session = work.session(debug=True, agent=["a"])
    document = problem(api.patch(f"/v1/sessions/{session['id']}", {"agent": ["a", "b"]}), 422, "invalid")
    assert document["errors"][0]["field"] == "agent"
    assert api.ok(api.patch(f"/v1/sessions/{session['id']}", {"agent": "c"}), 200)["agent"] == "c"
    plain = work.session(agent=["a", "b"])
    assert api.ok(api.patch(f"/v1/sessions/{plain['id']}", {"agent": ["a", "b", "c"]}), 200)["agent"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": "rum"},
        {"phase": 1},
        {"phase": None},
        {"model": {"name": ""}},
        {"model": {"name": "x" * 201}},
        {"model": {"name": "a\0"}},
        {"model": {"name": "a", "other": 1}},
        {"model": {"name": "a", "params": []}},
        {"model": "a"},
        {"agent": ""},
        {"agent": ["a\0"]},
        {"agent": 1},
        {"debug": "perhaps"},
        {"debug": "true"},
        {"debug": 1},
        {"treat_minor_as_change": "yes"},
        {"metadata": []},
        {"metadata": None},
        {"on_conflict": "force"},
        {"confirm": {}},
        {"confirm": {"session_id": "x" * 37}},
        {"confirm": {"session_id": ANOTHER_ID, "more": 1}},
        {"user": "bob"},
    ],
)
def test_a_start_that_says_something_else_is_named(api: Api, changes: dict[str, Any]) -> None:
    """Each unacceptable member is 422 with its name, and nothing was started."""
    work = api.work()
    body = {"phase": "run", "model": {"name": "m"}} | changes
    document = problem(api.post(work.path, body), 422, "invalid")
    assert document["errors"][0]["field"].startswith(next(iter(changes)))
    assert not re.search(r"constrained|function|\[|\^", str(document["detail"])), "words of a library"
    assert api.ok(api.get(work.path), 200) == {"data": [], "next": None}


@pytest.mark.parametrize(
    ("one", "other", "fields"),
    [
        ({"version": "1"}, {"version": "2"}, ["version"]),
        ({"version": None}, {}, None),
        ({"params": {}}, {}, None),
        ({"params": {"top_p": 1}}, {"params": {"top_p": 1.0}}, None),
        ({"params": {"top_p": 1}}, {"params": {"top_p": True}}, ["params.top_p"]),
        ({"params": {"top_p": "a\0b"}}, {"params": {"top_p": "a"}}, ["params.top_p"]),
        ({"params": {"top_p": 2**63 - 1}}, {"params": {"top_p": -(2**63)}}, ["params.top_p"]),
    ],
)
def test_what_matters_of_a_model_counts(api: Api, one: Any, other: Any, fields: list[str] | None) -> None:
    """What differs between the models is named; what means the same is the same."""
    work = api.work()
    wish = {"phase": "verify"}
    api.ok(api.post(work.path, {**wish, "model": {"name": "m", **one}}), 201)
    answer = api.post(work.path, {**wish, "model": {"name": "m", **other}})
    if fields is None:
        assert api.ok(answer, 200)["outcome"] == "existing"
    else:
        document = problem(answer, 409, "model_change_requires_confirmation")
        assert document["difference"] == {"result": "changed", "fields": fields}


def test_a_replacement_is_one_run_of_offsets(api: Api) -> None:
    """`session.replaced` comes right before `session.created`: replayed, no offset shows two live ones."""
    work = api.work()
    live = work.session("m-0")
    for number in range(1, 6):
        confirm = {"session_id": live["id"]}
        live = work.session(f"m-{number}", on_conflict="replace", confirm=confirm)
    events = work.events()
    offsets = [int(event["position"].partition(":")[2]) for event in events]
    assert offsets == list(range(1, 13))
    types = [event["type"] for event in events]
    assert types == ["task.created", "session.created", *["session.replaced", "session.created"] * 5]
    living: set[str] = set()
    for event in events[1:]:
        if event["type"] == "session.created":
            living.add(event["session_id"])
        else:
            assert event["data"]["replaced_by"] != event["session_id"]
            living.remove(event["session_id"])
        assert len(living) <= 1
    assert living == {live["id"]}
    assert events[-1]["data"] == live


def test_times_of_a_chain_do_not_go_back(api: Api) -> None:
    """A session's successor is not older than its end, and newest is first in the list of all."""
    work = api.work()
    old, new = work.replaced()
    assert new["created_at"] >= old["deleted_at"] >= old["created_at"]
    listed = api.ok(api.get(work.path, params={"include_deleted": "true"}), 200)["data"]
    assert [session["id"] for session in listed] == [new["id"], old["id"]]


def test_a_key_makes_one_start_of_two(api: Api) -> None:
    """The same Idempotency-Key gives the first answer again, to the byte; another body with it is 422."""
    work = api.work()
    body = {"phase": "run", "model": {"name": "m"}}
    key = {"Idempotency-Key": f"k-{work.task}"}
    first, second = (api.post(work.path, body, headers=key) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content) == (201, first.content)
    assert [first.headers[name] for name in ("etag", "x-position")] == [
        second.headers[name] for name in ("etag", "x-position")
    ]
    problem(api.post(work.path, body | {"debug": True}, headers=key), 422, "idempotency_key_reused")
    assert len(work.events()) == 2
