"""Changing and ending sessions over HTTP: moves, merge patches, fences, conditions."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from support.api import Api, problem

ACTIVE = ["running", "working", "waiting", "idle"]
TERMINAL = ["completed", "failed", "cancelled"]
STATUSES = ["pending", *ACTIVE, *TERMINAL]


def path_of(session: dict[str, Any]) -> str:
    """Where a session is."""
    return f"/v1/sessions/{session['id']}"


@pytest.mark.parametrize("old", STATUSES)
def test_a_session_moves_only_as_promised(api: Api, old: str) -> None:
    """From each status every other is tried: legal moves are made, the rest are 409 and change nothing."""
    work = api.work()
    for new in STATUSES:
        session = work.session(on_conflict="restart")
        if old != "pending":
            session = api.ok(api.patch(path_of(session), {"status": old}), 200)
        answer = api.patch(path_of(session), {"status": new})
        if new == old:
            assert api.ok(answer, 200) == session
        elif old in TERMINAL or new == "pending":
            document = problem(answer, 409, "illegal_transition")
            assert (document["status_now"], document["status_wanted"]) == (old, new)
            assert api.ok(api.get(path_of(session)), 200) == session
        else:
            moved = api.ok(answer, 200)
            assert (moved["status"], moved["active"]) == (new, new not in TERMINAL)
            assert moved["version"] == session["version"] + 1
            assert moved["ended_at"] == (moved["updated_at"] if new in TERMINAL else None)
        assert api.delete(path_of(session)).status_code == 204


def test_a_patch_merges(api: Api) -> None:
    """Metadata is merged by RFC 7396, null removes, an agent may become null; what was not named stays."""
    work = api.work()
    session = work.session(agent="a", metadata={"a": 1, "b": {"c": 1, "d": [1, 2]}, "e": None})
    changed = api.ok(api.patch(path_of(session), {"metadata": {"a": None, "b": {"c": "x", "d": [3]}, "f": {}}}), 200)
    assert changed["metadata"] == {"b": {"c": "x", "d": [3]}, "e": None, "f": {}}
    assert (changed["agent"], changed["status"], changed["version"]) == ("a", "pending", 2)
    changed = api.ok(api.patch(path_of(session), {"agent": None}), 200)
    assert (changed["agent"], changed["version"]) == (None, 3)
    assert api.ok(api.patch(path_of(session), {"metadata": None}), 200)["metadata"] == {}
    assert [event["type"] for event in work.events()[2:]] == ["session.updated"] * 3
    assert work.events()[-1]["data"] == api.ok(api.get(path_of(session)), 200)


@pytest.mark.parametrize(
    "patch", [{}, {"metadata": {}}, {"metadata": {"none": None}}, {"metadata": {"k": 1}}, {"status": "pending"}]
)
def test_a_patch_that_changes_nothing_writes_nothing(api: Api, patch: dict[str, Any]) -> None:
    """200 with the session as it was: no version, no event, the position of the log as it is."""
    work = api.work()
    session = work.session(metadata={"k": 1})
    answer = api.patch(path_of(session), patch)
    assert api.ok(answer, 200) == session
    assert len(work.events()) == 2
    assert answer.headers["x-position"].partition(":")[2] == "2"
    assert answer.headers["etag"] == api.get(path_of(session)).headers["etag"]


def test_one_is_not_true(api: Api) -> None:
    """Metadata that goes from 1 to true, or back, has changed: in sessions and in tasks."""
    work = api.work()
    for path in (path_of(work.session(metadata={"k": 1})), f"/v1/tasks/{work.task}"):
        for value in (1, True, 1, False, 0):
            assert str(api.ok(api.patch(path, {"metadata": {"k": value}}), 200)["metadata"]["k"]) == str(value)


def test_metadata_does_not_grow_without_end(api: Api) -> None:
    """Patches that would add up to more than a megabyte are 422; smaller ones go on."""
    work = api.work()
    for path in (path_of(work.session()), f"/v1/tasks/{work.task}"):
        api.ok(api.patch(path, {"metadata": {"a": "x" * 700_000}}), 200)
        problem(api.patch(path, {"metadata": {"b": "x" * 700_000}}), 422, "invalid")
        assert api.ok(api.patch(path, {"metadata": {"a": None, "b": 1}}), 200)["metadata"] == {"b": 1}


@pytest.mark.parametrize(
    "patch",
    [{"status": None}, {"status": "done"}, {"status": 1}, {"agent": 5}, {"metadata": 5}, {"model": {"name": "m"}}],
)
def test_a_patch_that_says_something_else_is_named(api: Api, patch: dict[str, Any]) -> None:
    """Unknown and unacceptable members are 422 with their name."""
    document = problem(api.patch(path_of(api.work().session()), patch), 422, "invalid")
    assert document["errors"][0]["field"].startswith(next(iter(patch)))


def test_a_change_may_demand_a_version(api: Api) -> None:
    """`If-Match` with the newest tag or `*` lets a change through; an older, weak, foreign or broken one is 412."""
    work = api.work()
    session = work.session()
    path, output = path_of(session), f"{path_of(session)}/output"
    first = api.get(path).headers["etag"]
    second = api.patch(path, {"status": "running"}, headers={"If-Match": first}).headers["etag"]
    chunks = {"chunks": [{"text": "x"}]}
    for bad in (first, f"W/{second}", '"x"', "x", '""'):
        problem(api.patch(path, {"status": "idle"}, headers={"If-Match": bad}), 412, "precondition_failed")
        problem(api.delete(path, headers={"If-Match": bad}), 412, "precondition_failed")
        problem(api.post(output, chunks, headers={"If-Match": bad}), 412, "precondition_failed")
    api.ok(api.post(output, chunks, headers={"If-Match": second}), 200)
    api.ok(api.patch(path, {"status": "idle"}, headers={"If-Match": f"{first}, {second}"}), 200)
    api.ok(api.patch(path, {"status": "failed"}, headers={"If-Match": "*"}), 200)


def test_a_read_may_be_unchanged(api: Api) -> None:
    """The tag makes a 304, until a change or output: then it is a 200 with another tag."""
    session = api.work().session()
    path = path_of(session)
    tags: list[str] = []
    for change in (
        lambda: None,
        lambda: api.ok(api.post(f"{path}/output", {"chunks": [{"text": "x"}]}), 200),
        lambda: api.ok(api.patch(path, {"status": "running"}), 200),
    ):
        if tags:
            assert api.get(path, headers={"If-None-Match": tags[-1]}).status_code == 304
        change()
        answer = api.get(path, headers={"If-None-Match": ", ".join(tags)} if tags else {})
        assert answer.status_code == 200
        tags.append(answer.headers["etag"])
    assert len(set(tags)) == 3
    task, listed = f"/v1/tasks/{session['task_id']}", f"/v1/tasks/{session['task_id']}/sessions"
    for shown in (task, listed):
        tag = api.get(shown).headers["etag"]
        assert api.get(shown, headers={"If-None-Match": tag}).status_code == 304
        api.ok(api.post(f"{path}/output", {"chunks": [{"text": "y"}]}), 200)
        assert api.get(shown, headers={"If-None-Match": tag}).status_code == 200


def test_a_holder_that_lost_the_session_is_fenced(api: Api) -> None:
    """Writes with the fence pass, with an older one they are 409 `fenced`, with garbage or one ahead 422."""
    work = api.work()
    _, session = work.replaced()
    path, chunks = path_of(session), {"chunks": [{"text": "x"}]}
    assert session["fence"] == 2
    writes: list[Callable[[dict[str, Any]], httpx2.Response]] = [
        lambda headers: api.patch(path, {"status": "running"}, headers=headers),
        lambda headers: api.post(f"{path}/output", chunks, headers=headers),
        lambda headers: api.delete(path, headers=headers),
    ]
    for write in writes:
        for old in ("0", "1"):
            assert problem(write({"X-Session-Fence": old}), 409, "fenced")["fence"] == 2
        for bad in ("3", "", "x", "-1", "1.0", "²", "9" * 30, "999999999999999999"):
            problem(write({"X-Session-Fence": bad.encode()}), 422, "invalid")
    for write, status in zip(writes, (200, 200, 204), strict=True):
        assert write({"X-Session-Fence": "2"}).status_code == status


def test_a_replaced_session_is_closed_and_kept(api: Api) -> None:
    """Writes to it name the successor, when and who; it reads, with its output, and deleting it again is 204."""
    work = api.work()
    old = work.session()
    path, chunks = path_of(old), {"chunks": [{"text": "kept"}]}
    api.ok(api.post(f"{path}/output", chunks), 200)
    wish = {"on_conflict": "replace", "confirm": {"session_id": old["id"]}}
    bob = api.acting(sub="bob")
    new = api.ok(bob.post(work.path, {"phase": "run", "model": {"name": "m-2"}, **wish}), 201)["session"]
    read = api.ok(api.get(path), 200)
    for answer in (api.patch(path, {"status": "running"}), api.post(f"{path}/output", chunks)):
        document = problem(answer, 409, "session_replaced")
        assert document["replaced_by"] == new["id"]
        assert document["replaced_at"] == read["deleted_at"]
        assert document["by"] == "bob"
    assert new["user"] == "bob"
    assert api.delete(path).status_code == 204
    assert api.ok(api.get(path), 200) == read
    assert api.ok(api.get(f"{path}/output"), 200)["data"][0]["text"] == "kept"
    assert api.ok(api.get(f"{path}/export"), 200)["output"][0]["text"] == "kept"


def test_a_deleted_session_is_closed_and_kept(api: Api) -> None:
    """Deleting cancels an active one and frees its phase; again it is 204 without an event; it still reads."""
    work = api.work()
    session = work.session()
    path = path_of(session)
    assert [api.delete(path).status_code for _ in range(3)] == [204, 204, 204]
    read = api.ok(api.get(path), 200)
    assert (read["status"], read["active"], read["replaced_by"]) == ("cancelled", False, None)
    assert read["deleted_at"] == read["ended_at"] == read["updated_at"]
    for answer in (api.patch(path, {}), api.post(f"{path}/output", {"chunks": [{"text": "x"}]})):
        assert problem(answer, 409, "session_deleted")["deleted_at"] == read["deleted_at"]
    events = work.events()
    assert [event["type"] for event in events] == ["task.created", "session.created", "session.deleted"]
    assert events[-1]["data"] == read
    assert work.start().json()["outcome"] == "created"


def test_a_task_changes_by_the_same_rules(api: Api) -> None:
    """Title, milestone and metadata are patched under If-Match; null removes a milestone, and not a title."""
    work = api.work()
    path = f"/v1/tasks/{work.task}"
    first = api.get(path).headers["etag"]
    answer = api.patch(path, {"title": "U", "milestone": "M", "metadata": {"a": 1}}, headers={"If-Match": first})
    task = api.ok(answer, 200)
    assert (task["title"], task["milestone"], task["metadata"], task["version"]) == ("U", "M", {"a": 1}, 2)
    assert task.keys() == {
        "id", "project_id", "title", "milestone", "metadata", "version", "created_at", "updated_at"
    }  # fmt: skip
    problem(api.patch(path, {"title": "V"}, headers={"If-Match": first}), 412, "precondition_failed")
    assert api.ok(api.patch(path, {"milestone": None}), 200)["milestone"] is None
    assert api.ok(api.patch(path, {}), 200)["version"] == 3
    bad: dict[str, Any]
    for bad in ({"title": None}, {"title": ""}, {"title": "a\0b"}, {"milestone": "\0"}, {"metadata": []}, {"id": "x"}):
        problem(api.patch(path, bad), 422, "invalid")
    assert [event["type"] for event in work.events()] == ["task.created", "task.updated", "task.updated"]
