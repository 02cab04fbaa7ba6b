"""Models over HTTP, on a node of each database."""

from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from support.api import Api, Work, problem
from support.streams import Kind, follow

GONE = {"available": False, "label": "Model Not Found"}

# Names as a session's model may have them; each is sent with nothing left unescaped.
NAMES = [
    "m",
    "meta-llama/Llama-3",
    "/",
    "//a//",
    "a/../b",
    "models",
    "a b",
    " ",
    "a?b#c",
    "a%2Fb",
    "a%",
    "a;b,c=d&e+f",
    "\u00e9\u4e2d\U0001f600\u2028",
    "e\u0301",
    "\u00e9",
    "a\nb",
    "a\n",
    "\r\n",
    "\x01\x7f",
    "'; DROP TABLE model; --",
    "%s :name",
    "\U0001f600" * 200,
]


def models(project: str, name: str | None = None) -> str:
    """Path of a project's models, or of one."""
    return f"/v1/projects/{project}/models" + ("" if name is None else f"/{quote(name, safe='')}")


def put(api: Api, project: str, name: str, **rest: Any) -> httpx2.Response:
    """The answer to a registration."""
    return api.request("PUT", models(project, name), **rest)


def names(api: Api, project: str, **params: Any) -> list[str]:
    """Registered names, from all pages."""
    found: list[str] = []
    while True:
        page = api.ok(api.get(models(project), params=params), 200)
        found += [model["name"] for model in page["data"]]
        if page["next"] is None:
            return found
        params["after"] = page["next"]


def test_a_model_is_registered_deleted_and_registered_again(api: Api) -> None:
    """201 when it is made, 200 when it is there, 204 for each deletion, 201 again; one event for each change."""
    project = api.project()
    problem(api.delete(models(project, "m")), 404, "not_found")
    answers = [put(api, project, "m"), put(api, project, "m", json={})]
    answers += [api.delete(models(project, "m")), api.delete(models(project, "m"))]
    answers += [put(api, project, "m"), put(api, project, "m")]
    assert [answer.status_code for answer in answers] == [201, 200, 204, 204, 201, 200]
    first, there, again = (answers[number].json() for number in (0, 1, 4))
    assert first == there
    assert first.keys() == {"project_id", "name", "version", "created_at", "updated_at", "deleted_at"}
    assert (first["project_id"], first["name"], first["version"], first["deleted_at"]) == (project, "m", 1, None)
    assert again == first | {"version": 3, "updated_at": again["updated_at"]}
    events = api.events(project)
    assert [event["type"] for event in events] == ["model.registered", "model.deleted", "model.registered"]
    for event, version in zip(events, (1, 2, 3), strict=True):
        data = event["data"]
        assert (event["model"], event["version"], data["version"]) == ("m", version, version)
        assert event["updated_at"] == data["updated_at"]
        assert (data["deleted_at"] is not None) is (version == 2)
        assert event.get("task_id") is event.get("session_id") is None
    assert [events[0]["data"], events[2]["data"]] == [first, again]


def test_what_is_shown_says_when_it_was_read(api: Api) -> None:
    """PUT tells the position of its event, or of the log when there is none; its ETag is of the resource."""
    project = api.project()
    made, there = put(api, project, "m"), put(api, project, "m")
    assert made.headers["x-position"] == there.headers["x-position"] == api.events(project)[0]["position"]
    assert made.headers["etag"] == there.headers["etag"]
    deleted = api.delete(models(project, "m"))
    assert deleted.headers["x-position"] == api.events(project)[1]["position"]
    assert put(api, project, "m").headers["etag"] != made.headers["etag"]


def test_the_list_changes_its_tag_with_the_registry(api: Api) -> None:
    """304 while no model is registered or deleted, whatever else happens in the project."""
    work = api.work()

    def tag() -> str:
        return str(api.get(models(work.project)).headers["etag"])

    tags = [tag()]
    for method in ("PUT", "DELETE"):
        api.request(method, models(work.project, "m"))
        tags.append(tag())
        api.request(method, models(work.project, "m"))
        work.api.ok(api.patch(f"/v1/tasks/{work.task}", {"title": f"T{len(tags)}"}), 200)
        answer = api.get(models(work.project), headers={"If-None-Match": tags[-1]})
        assert (answer.status_code, answer.content) == (304, b"")
    assert len(set(tags)) == 3


def test_a_list_waits_for_a_position(api: Api) -> None:
    """`min_position` of a registration shows it."""
    project = api.project()
    position = put(api, project, "m").headers["x-position"]
    page = api.ok(api.get(models(project), params={"min_position": position}), 200)
    assert [model["name"] for model in page["data"]] == ["m"]


def test_every_name_a_session_can_have_can_be_registered(api: Api) -> None:
    """Each is a model of its own, in the answer, in the list and its pages, for starts and for deletion."""
    work = api.work()
    for name in NAMES:
        assert api.ok(put(api, work.project, name), 201)["name"] == name
    assert sorted(names(api, work.project)) == sorted(names(api, work.project, limit=1)) == sorted(NAMES)
    for number, name in enumerate(NAMES):
        assert put(api, work.project, name).status_code == 200
        task = api.ok(api.post(f"/v1/projects/{work.project}/tasks", {"title": str(number)}), 201)
        assert Work(api, work.project, task["id"]).session(name)["model"] == {"name": name}
    for name in NAMES:
        assert api.delete(models(work.project, name)).status_code == 204
        problem(work.start(name), 422, "model_not_found")
    assert names(api, work.project) == []


def test_a_slash_may_stand_as_it_is(api: Api) -> None:
    """Encoded or not, in either case, it is the same name."""
    project = api.project()
    assert api.request("PUT", f"/v1/projects/{project}/models/meta-llama/Llama-3").status_code == 201
    for spelling in ("meta-llama%2FLlama-3", "meta-llama%2fLlama-3", "meta-llama/Llama%2D3"):
        assert api.request("PUT", f"/v1/projects/{project}/models/{spelling}").status_code == 200
    assert names(api, project) == ["meta-llama/Llama-3"]


def test_a_slash_may_stand_in_the_name_only(api: Api) -> None:
    """Encoded before it, it parts nothing and joins nothing."""
    project = api.project()
    for path in (
        f"/v1/projects/{project}%2Fmodels/m",
        f"/v1/projects%2F{project}/models/m",
        f"/v1/projects/{project}/models%2Fm",
        f"/v1/projects/{project}%2Fmodels/models/m",
        f"/v1/projects/x%2F{project}/models/m",
    ):
        problem(api.request("PUT", path), 404, "not_found")
    assert api.events(project) == []


@pytest.mark.parametrize("name", ["", "x" * 201, "\U0001f600" * 201, "a\0b", "\0"])
def test_what_cannot_be_a_name_is_refused(api: Api, name: str) -> None:
    """1 to 200 characters without NUL, else 422; nothing was written."""
    project = api.project()
    path = models(project, name)
    for method in ("PUT", "DELETE"):
        assert problem(api.request(method, path), 422, "invalid")["errors"][0]["field"] == "name"
    assert api.events(project) == []


@pytest.mark.parametrize("path", ["%ff", "a%C3", "%ED%A0%80", "a/%80"])
def test_a_name_that_is_not_utf8_is_refused(api: Api, path: str) -> None:
    """Else two names would be one."""
    project = api.project()
    for method in ("PUT", "DELETE"):
        problem(api.request(method, f"{models(project)}/{path}"), 400, "bad_unicode")
    assert api.events(project) == []


def test_other_bad_requests_are_named(api: Api) -> None:
    """A body with something in it, no JSON type, a wrong page, and methods that there are not."""
    project = api.project()
    path = models(project, "m")
    problem(put(api, project, "m", json={"version": "2"}), 422, "invalid")
    problem(put(api, project, "m", content=b"[]"), 422, "invalid")
    problem(put(api, project, "m", headers={"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    problem(api.request("DELETE", path, json={"a": 1}), 422, "invalid")
    for params in ({"limit": 0}, {"limit": 201}, {"name": "m"}):
        problem(api.get(models(project), params=params), 422, "invalid")
    for after in ("x", "WzFd", "WyJhIiwiYiJd"):
        problem(api.get(models(project), params={"after": after}), 400, "bad_cursor")
    for method in ("GET", "POST", "PATCH"):
        answer = api.request(method, path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "DELETE, PUT"
    assert api.events(project) == []


def test_what_is_not_yours_does_not_exist(api: Api) -> None:
    """A foreign project is answered as a missing one, and nothing is changed; rights are asked first."""
    project = api.project()
    put(api, project, "m")
    stranger, reader = api.acting(sub="eve", projects=[api.project()]), api.acting(scopes=["sessions:read"])
    for method, name in (("PUT", "n"), ("DELETE", "m"), ("GET", None)):
        for who, where in ((stranger, project), (stranger, "p-missing"), (api, "p-missing"), (api, "P!"), (api, "%00")):
            problem(who.request(method, models(where, name)), 404, "not_found")
        if name is not None:
            assert problem(reader.request(method, models(project, name)), 403, "forbidden")["scope"] == "sessions:write"
    assert reader.get(models(project)).status_code == 200
    assert len(api.events(project)) == 1


def test_a_key_makes_a_change_once(api: Api) -> None:
    """The first answer comes again, also after a deletion; and a key knows names apart that differ after `?` or `#`."""
    project = api.project()
    key = {"Idempotency-Key": f"k-{project}"}
    first = put(api, project, "m", headers=key)
    api.delete(models(project, "m"))
    again = put(api, project, "m", headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert names(api, project) == []
    for name in ("a?1", "a?2", "a#1", "a#2", "a/1"):
        assert api.ok(put(api, project, name, headers=key), 201)["name"] == name


def test_only_registered_models_start(api: Api) -> None:
    """Any while none is registered; then only those that are; a deleted one never; and the text is the promised one."""
    work = api.work()
    work.session("any", phase="plan")
    put(api, work.project, "m")
    document = problem(work.start("any"), 422, "model_not_found")
    assert (document["detail"], document["model"], document["retryable"]) == ("Model Not Found", "any", False)
    work.session("m")
    api.delete(models(work.project, "m"))
    problem(work.start("m", phase="verify"), 422, "model_not_found")
    work.session("any", phase="verify")


def test_live_sessions_are_marked_and_unmarked(api: Api) -> None:
    """A deletion tells the registry first, then each live session of the model, all in one run; so does its undoing."""
    work = api.work()
    put(api, work.project, "m")
    put(api, work.project, "n")
    sessions = {phase: work.session("m", phase=phase) for phase in ("plan", "run")}
    other = work.session("n", phase="verify")
    before = work.events()
    answer = api.delete(models(work.project, "m"))
    told = work.events()[len(before) :]
    assert [event["type"] for event in told] == ["model.deleted", "session.updated", "session.updated"]
    assert answer.headers["x-position"] == told[-1]["position"]
    offsets = [int(event["position"].partition(":")[2]) for event in told]
    assert offsets == list(range(len(before) + 1, len(before) + 4))
    ids = [event["session_id"] for event in told[1:]]
    assert ids == sorted(session["id"] for session in sessions.values())
    for event in told[1:]:
        old = next(session for session in sessions.values() if session["id"] == event["session_id"])
        data = event["data"]
        assert data == old | {"model": {"name": "m", **GONE}, "version": 2, "updated_at": data["updated_at"]}
        assert data["updated_at"] > old["updated_at"]
        assert (event["version"], event["updated_at"], event["model"]) == (2, data["updated_at"], "m")
        assert (event["task_id"], event["phase"]) == (work.task, old["phase"])
        assert api.ok(api.get(f"/v1/sessions/{old['id']}"), 200) == data
    assert api.ok(api.get(f"/v1/sessions/{other['id']}"), 200) == other
    put(api, work.project, "m")
    back = work.events()[len(before) + 3 :]
    assert [event["type"] for event in back] == ["model.registered", "session.updated", "session.updated"]
    for event in back[1:]:
        assert (event["data"]["model"], event["version"]) == ({"name": "m"}, 3)


def test_a_marked_session_has_a_new_tag(api: Api) -> None:
    """Whoever read it before the deletion gets it again, and cannot change it by the old tag."""
    work = api.work()
    put(api, work.project, "m")
    path = f"/v1/sessions/{work.session('m')['id']}"
    tag = api.get(path).headers["etag"]
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 304
    api.delete(models(work.project, "m"))
    shown = api.get(path, headers={"If-None-Match": tag})
    assert api.ok(shown, 200)["model"] == {"name": "m", **GONE}
    problem(api.request("DELETE", path, headers={"If-Match": tag}), 412, "precondition_failed")
    listed = api.ok(api.get(work.path), 200)["data"]
    assert [session["model"] for session in listed] == [{"name": "m", **GONE}]


def test_pages_of_a_thousand_are_marked(api: Api) -> None:
    """Of more live sessions than one page each is told once, and the log has no gap."""
    work = api.work()
    put(api, work.project, "m")
    bodies = [{"title": str(number)} for number in range(520)]
    for body in bodies:
        task = api.ok(api.post(f"/v1/projects/{work.project}/tasks", body), 201)["id"]
        Work(api, work.project, task).session("m")
    before = len(work.events())
    api.delete(models(work.project, "m"))
    events = work.events()
    assert [int(event["position"].partition(":")[2]) for event in events] == list(range(1, len(events) + 1))
    told = events[before:]
    assert told[0]["type"] == "model.deleted"
    assert len(told) == 521
    assert len({event["session_id"] for event in told[1:]}) == 520
    assert {event["data"]["version"] for event in told[1:]} == {2}


@pytest.mark.parametrize("kind", ["sse", "websocket"])
async def test_streams_see_models(api: Api, kind: Kind) -> None:
    """A project's stream has the model's event and those of its sessions; with `kinds=model` only the first."""
    work = api.work()
    put(api, work.project, "m")
    session = work.session("m")
    async with (
        follow(kind, api.url, work.project, token=api.token) as everything,
        follow(kind, api.url, work.project, token=api.token, wanted={"kinds": ["model"]}) as registry,
    ):
        await everything.said("snapshot")
        await registry.said("snapshot")
        api.delete(models(work.project, "m"))
        put(api, work.project, "m")
        await everything.counted(4)
        await registry.counted(2)
        assert [event["type"] for event in everything.events] == [
            "model.deleted", "session.updated", "model.registered", "session.updated"
        ]  # fmt: skip
        assert [event["type"] for event in registry.events] == ["model.deleted", "model.registered"]
        assert everything.events[1]["data"]["model"] == {"name": "m", **GONE}
        assert {event["data"]["id"] for event in everything.events[1::2]} == {session["id"]}


def test_openapi_and_metrics_show_the_template(api: Api) -> None:
    """`{name}`, whatever it may hold; so requests for a thousand names are one line of metrics."""
    project = api.project()
    put(api, project, "a/b")
    document = api.ok(api.get("/openapi.json"), 200)
    operations = document["paths"]["/v1/projects/{project_id}/models/{name}"]
    assert operations.keys() == {"put", "delete"}
    assert [parameter["name"] for parameter in operations["put"]["parameters"]] == ["project_id", "name"]
    assert operations["put"]["operationId"] == "put_v1_projects_project_id_models_name"
    metrics = api.get("/metrics").text
    assert 'route="/v1/projects/{project_id}/models/{name}"' in metrics
    assert ":path" not in metrics
