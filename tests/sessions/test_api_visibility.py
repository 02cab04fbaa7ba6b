"""Who sees what: what is not yours does not exist."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from support.api import Api, Work, problem

MISSING = "01234567-89ab-7def-8123-456789abcdef"
START = {"phase": "run", "model": {"name": "m"}}
CHUNKS = {"chunks": [{"text": "x"}]}

# name -> request, given project, task and session
REQUESTS: dict[str, Callable[[Api, str, str, str], httpx2.Response]] = {
    "put project": lambda api, project, task, session: api.request("PUT", f"/v1/projects/{project}", json={}),
    "get project": lambda api, project, task, session: api.get(f"/v1/projects/{project}"),
    "create task": lambda api, project, task, session: api.post(f"/v1/projects/{project}/tasks", {"title": "T"}),
    "list tasks": lambda api, project, task, session: api.get(f"/v1/projects/{project}/tasks"),
    "get task": lambda api, project, task, session: api.get(f"/v1/tasks/{task}"),
    "patch task": lambda api, project, task, session: api.patch(f"/v1/tasks/{task}", {"title": "U"}),
    "start": lambda api, project, task, session: api.post(f"/v1/tasks/{task}/sessions", START),
    "list": lambda api, project, task, session: api.get(f"/v1/tasks/{task}/sessions"),
    "get": lambda api, project, task, session: api.get(f"/v1/sessions/{session}"),
    "patch": lambda api, project, task, session: api.patch(f"/v1/sessions/{session}", {"status": "running"}),
    "delete": lambda api, project, task, session: api.delete(f"/v1/sessions/{session}"),
    "append": lambda api, project, task, session: api.post(f"/v1/sessions/{session}/output", CHUNKS),
    "output": lambda api, project, task, session: api.get(f"/v1/sessions/{session}/output"),
    "export": lambda api, project, task, session: api.get(f"/v1/sessions/{session}/export"),
}
READS = {"get project", "list tasks", "get task", "list", "get", "output", "export"}


def _said(response: httpx2.Response) -> tuple[Any, Any]:
    document = problem(response, 404, "not_found")
    document.pop("request_id")
    names = {name for name in response.headers if name not in ("x-request-id", "date")}
    return document, names


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_not_yours_does_not_exist(api: Api, name: str) -> None:
    """A foreign id is answered as a missing one and as garbage, but for the request id; and nothing is changed."""
    work = api.work()
    session = work.session()
    stranger, request = api.acting(sub="eve", projects=[api.project()]), REQUESTS[name]
    foreign = _said(request(stranger, work.project, work.task, session["id"]))
    assert foreign == _said(request(stranger, "p-missing", MISSING, MISSING))
    assert foreign == _said(request(stranger, "%00", "%00", "not-an-id"))
    assert foreign[0].keys() == {"type", "title", "status", "code", "detail", "retryable"}
    assert len(work.events()) == 2


@pytest.mark.parametrize("name", sorted(REQUESTS.keys() - {"put project"}))
def test_what_is_missing_is_missing_for_all(api: Api, name: str) -> None:
    """Also with rights to everything a missing id, garbage or a NUL is 404."""
    for project, id_ in (("p-missing", MISSING), ("P_!", MISSING[:-1]), ("%00", "%00"), ("é", "é")):
        _said(REQUESTS[name](api, project, id_, id_))


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("known", [True, False])
def test_rights_are_asked_first(api: Api, name: str, known: bool) -> None:
    """Without the scope it is 403, naming it, whether the id is there or not; without a token 401."""
    work = api.work()
    ids = (work.project, work.task, work.session()["id"]) if known else ("p-missing", MISSING, MISSING)
    needed = "sessions:read" if name in READS else "sessions:write"
    others = [scope for scope in ("sessions:read", "sessions:write", "sessions:audit", "admin") if scope != needed]
    document = problem(REQUESTS[name](api.acting(scopes=others), *ids), 403, "forbidden")
    assert document["scope"] == needed
    nobody = Api(api.url, database=api.database, token="Bearer x", shared=api.http)
    answer = REQUESTS[name](nobody, *ids)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_deleted_sessions_are_listed_for_auditors(api: Api) -> None:
    """`include_deleted` needs the scope; one alone still reads without it."""
    work = api.work()
    old, _ = work.replaced()
    reader = api.acting(scopes=["sessions:read"])
    path = {"include_deleted": "true"}
    assert problem(reader.get(work.path, params=path), 403, "forbidden")["scope"] == "sessions:audit"
    assert len(api.ok(api.get(work.path, params=path), 200)["data"]) == 2
    assert [row["id"] for row in reader.ok(reader.get(work.path), 200)["data"]] != [old["id"]]
    assert reader.ok(reader.get(f"/v1/sessions/{old['id']}"), 200)["deleted_at"] is not None


def test_a_key_is_its_owners(api: Api) -> None:
    """Another user's request with the same Idempotency-Key is a request of its own."""
    work: Work = api.work()
    body, key = {"title": "T"}, {"Idempotency-Key": f"k-{work.task}"}
    path = f"/v1/projects/{work.project}/tasks"
    mine = [api.ok(api.post(path, body, headers=key), 201)["id"] for _ in range(2)]
    bob = api.acting(sub="bob")
    assert mine[0] == mine[1] != bob.ok(bob.post(path, body, headers=key), 201)["id"]


def test_projects_are_made_once(api: Api) -> None:
    """PUT makes a project and finds it again; ids that cannot be are 422 for who may make any, 404 for others."""
    name = api.project()
    again = api.request("PUT", f"/v1/projects/{name}", json={})
    assert api.ok(again, 200) == api.ok(api.get(f"/v1/projects/{name}"), 200)
    assert api.ok(again, 200).keys() == {"id", "created_at"}
    assert api.get(f"/v1/projects/{name}", headers={"If-None-Match": again.headers["etag"]}).status_code == 304
    problem(api.request("PUT", f"/v1/projects/{name}", json={"a": 1}), 422, "invalid")
    for bad in ("P", "-a", "a" * 64, "a_b", "%00", "é", "a%0a"):
        problem(api.request("PUT", f"/v1/projects/{bad}", json={}), 422, "invalid")
        problem(api.acting(projects=[]).request("PUT", f"/v1/projects/{bad}", json={}), 404, "not_found")
    assert api.request("PUT", f"/v1/projects/{'a' * 63}", json={}).status_code in (200, 201)
