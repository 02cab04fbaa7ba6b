"""A session whose model was deleted: what is shown of it, and what may still be done with it."""

from typing import Any

import pytest

from support.api import Api, problem

GONE = {"available": False, "label": "Model Not Found"}


@pytest.fixture
def lost(api: Api) -> Any:
    """Work with a live session of a model that is deleted by now, and another model to go on with."""
    work = api.work()
    for name in ("old", "new"):
        api.ok(api.request("PUT", f"/v1/projects/{work.project}/models/{name}", json={}), 201)
    session = work.session("old")
    api.ok(api.delete(f"/v1/projects/{work.project}/models/old"), 204)
    return work, session


def test_it_stays_listed_and_looked_up(api: Api, lost: Any) -> None:
    """Lists, lookups, the session, its task, its download and the poll all show it, marked."""
    work, session = lost
    path = f"/v1/sessions/{session['id']}"
    shown = [
        api.ok(api.get(path), 200),
        api.ok(api.get(f"{path}/export"), 200)["session"],
        api.ok(api.get(f"{work.path}?phase={session['phase']}"), 200)["data"][0],
        api.ok(api.get(f"/v1/tasks/{work.task}"), 200)["sessions"][session["phase"]],
    ]
    for resource in shown:
        assert resource["id"] == session["id"]
        assert resource["model"] == {"name": "old", **GONE}
        assert resource["version"] == session["version"] + 1


def test_it_cannot_be_started_restarted_or_changed(api: Api, lost: Any) -> None:
    """Starting with the model, restarting and changing the active session are 422 with the promised text."""
    work, session = lost
    confirm = {"session_id": session["id"]}
    refused = [
        api.post(work.path, {"phase": session["phase"], "model": {"name": "old"}}),
        api.post(work.path, {"phase": "verify", "model": {"name": "old"}}),
        api.post(
            work.path,
            {"phase": session["phase"], "model": {"name": "old"}, "on_conflict": "restart", "confirm": confirm},
        ),
        api.patch(f"/v1/sessions/{session['id']}", {"status": "running"}),
        api.patch(f"/v1/sessions/{session['id']}", {"metadata": {"a": 1}}),
        api.patch(f"/v1/sessions/{session['id']}", {"agent": "other"}),
    ]
    for answer in refused:
        document = problem(answer, 422, "model_not_found")
        assert (document["detail"], document["model"], document["retryable"]) == ("Model Not Found", "old", False)


def test_its_output_export_and_ending_go_on(api: Api, lost: Any) -> None:
    """Output is taken and exported, and the session may be ended; once it has ended its metadata may be changed."""
    _, session = lost
    path = f"/v1/sessions/{session['id']}"
    api.ok(api.post(f"{path}/output", {"chunks": [{"text": "still here"}]}), 200)
    assert api.ok(api.get(f"{path}/export"), 200)["output"][0]["text"] == "still here"
    ended = api.ok(api.patch(path, {"status": "failed", "metadata": {"exit_code": 1}}), 200)
    assert (ended["status"], ended["metadata"], ended["model"]["available"]) == ("failed", {"exit_code": 1}, False)
    api.ok(api.patch(path, {"metadata": {"note": "seen"}}), 200)


@pytest.mark.parametrize("way", ["delete", "replace"])
def test_it_can_make_room(api: Api, lost: Any, way: str) -> None:
    """It can be deleted, and replaced by a session of a model that is there; what is left of it tells the same."""
    work, session = lost
    path = f"/v1/sessions/{session['id']}"
    if way == "delete":
        api.ok(api.delete(path), 204)
    else:
        wish = {"phase": session["phase"], "model": {"name": "new"}}
        asked = problem(api.post(work.path, wish), 409, "model_change_requires_confirmation")
        assert asked["existing"]["model"] == {"name": "old", **GONE}
        made = api.ok(api.post(work.path, {**wish, "on_conflict": "replace", "confirm": asked["confirm"]}), 201)
        assert made["replaced"]["model"] == {"name": "old", **GONE}
    assert api.ok(api.get(path), 200)["model"] == {"name": "old", **GONE}


def test_one_that_was_deleted_before_its_model_tells_it_too(api: Api) -> None:
    """A session that was gone already shows that its model is, alone, in the audited list and in a download."""
    work = api.work()
    api.ok(api.request("PUT", f"/v1/projects/{work.project}/models/old", json={}), 201)
    session = work.session("old")
    path, listed = f"/v1/sessions/{session['id']}", f"{work.path}?include_deleted=true"
    api.ok(api.delete(path), 204)
    before = {where: api.get(where).headers["etag"] for where in (path, listed)}
    assert api.ok(api.get(path), 200)["model"] == {"name": "old"}
    api.ok(api.delete(f"/v1/projects/{work.project}/models/old"), 204)
    for where, tag in before.items():
        answer = api.get(where, headers={"If-None-Match": tag})
        assert answer.status_code == 200, "a cached copy would not know"
    assert api.ok(api.get(path), 200)["model"] == {"name": "old", **GONE}
    assert api.ok(api.get(listed), 200)["data"][0]["model"] == {"name": "old", **GONE}
    assert api.ok(api.get(f"{path}/export"), 200)["session"]["model"] == {"name": "old", **GONE}
