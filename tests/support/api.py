"""A test's view of a node over HTTP: raw requests, with a token where the node wants one."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from sessioncast_server.auth.tokens import make_token

SECRET = "a secret of at least thirty-two bytes"
ALL_SCOPES = ("sessions:read", "sessions:write", "sessions:audit")
_JSON = {"Content-Type": "application/json"}


def bearer(*, sub: str = "ann", projects: Sequence[str] | str = "*", scopes: Sequence[str] = ALL_SCOPES) -> str:
    """Value of an Authorization header that nodes with `SECRET` take."""
    return f"Bearer {make_token(SECRET, sub=sub, projects=projects, scopes=scopes, ttl_s=3600)}"


class Api:
    """Requests of one user to one node.

    Attributes:
        http: the client below; its requests carry the token.
        url: address of the node.
        database: `sqlite` or `postgresql`.
    """

    def __init__(
        self, url: str, *, database: str, token: str | None = None, shared: httpx2.Client | None = None
    ) -> None:
        self.url = url
        self.database = database
        self.token = token or bearer()
        self.http = shared or httpx2.Client(timeout=60)

    def acting(self, **claims: Any) -> "Api":
        """The same node, asked by another user or with other rights."""
        return Api(self.url, database=self.database, token=bearer(**claims), shared=self.http)

    def request(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        """An answer; `json` and `content` get the Content-Type, unless `headers` says otherwise."""
        headers = {"Authorization": self.token, **(_JSON if method != "GET" else {}), **rest.pop("headers", {})}
        return self.http.request(method, f"{self.url}{path}", headers=headers, **rest)

    def get(self, path: str, **rest: Any) -> httpx2.Response:
        """GET."""
        return self.request("GET", path, **rest)

    def post(self, path: str, json: Any = None, **rest: Any) -> httpx2.Response:
        """POST of JSON."""
        return self.request("POST", path, **({"json": json} if json is not None else {}), **rest)

    def patch(self, path: str, json: Any, **rest: Any) -> httpx2.Response:
        """PATCH with JSON."""
        return self.request("PATCH", path, json=json, **rest)

    def delete(self, path: str, **rest: Any) -> httpx2.Response:
        """DELETE."""
        return self.request("DELETE", path, **rest)

    def ok(self, response: httpx2.Response, status: int) -> Any:
        """The answer's document, once its status is the expected one."""
        assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
        return response.json() if response.content else None

    def project(self) -> str:
        """A new project."""
        name = f"p-{uuid4().hex[:12]}"
        self.ok(self.request("PUT", f"/v1/projects/{name}", json={}), 201)
        return name

    def work(self) -> "Work":
        """A new task in a new project."""
        project = self.project()
        task = self.ok(self.post(f"/v1/projects/{project}/tasks", {"title": "T"}), 201)
        return Work(self, project, task["id"])

    def events(self, project: str, *, task: str | None = None) -> list[dict[str, Any]]:
        """The whole log of a project, from its first event."""
        epoch = self.get(f"/v1/projects/{project}").headers["X-Position"].partition(":")[0]
        position, found = f"{epoch}:0", []
        for _ in itertools.count():
            params = {"position": position, "snapshot": "never"} | ({"task": task} if task else {})
            answer = self.get(f"/v1/projects/{project}/events", params=params, headers={"Accept": "application/json"})
            page = self.ok(answer, 200)
            assert page["state"] == "resumed", page["state"]
            found += page["events"]
            position = page["position"]
            if not page["more"]:
                break
        return found


@dataclass(frozen=True, slots=True)
class Work:
    """A task to start sessions in."""

    api: Api
    project: str
    task: str

    @property
    def path(self) -> str:
        """Where sessions of the task are started and listed."""
        return f"/v1/tasks/{self.task}/sessions"

    def start(self, model: str = "m-1", *, phase: str = "run", **rest: Any) -> httpx2.Response:
        """The answer to a start."""
        return self.api.post(self.path, {"phase": phase, "model": {"name": model}, **rest})

    def session(self, model: str = "m-1", *, phase: str = "run", **rest: Any) -> dict[str, Any]:
        """A new session."""
        answer = self.api.ok(self.start(model, phase=phase, **rest), 201)
        session: dict[str, Any] = answer["session"]
        return session

    def replaced(self, model: str = "m-2", *, phase: str = "run") -> tuple[dict[str, Any], dict[str, Any]]:
        """A session that was replaced, as it is then, and its successor."""
        old = self.session("m-1", phase=phase)
        wish = {"on_conflict": "replace", "confirm": {"session_id": old["id"]}}
        answer = self.api.ok(self.start(model, phase=phase, **wish), 201)
        return answer["replaced"], answer["session"]

    def events(self) -> list[dict[str, Any]]:
        """All events of the project so far."""
        return self.api.events(self.project)


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, once it is the expected one."""
    assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    return document
