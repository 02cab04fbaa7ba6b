"""Threads and chats where nobody has a token."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.settings import load
from support.api import Api, problem
from support.node import PATIENT
from support.threads import Chat, new_uuid, said

_URL = "http://localhost"


class OpenApi(Api):
    """Requests of whom X-User names; of `local` where it is None."""

    user: str | None = None

    def request(self, method: str, path: str, **rest: Any) -> Any:
        """An answer."""
        named = {} if self.user is None else {"X-User": self.user.encode()}
        return super().request(method, path, **rest | {"headers": {**named, **rest.get("headers", {})}})

    def named(self, user: str | None) -> "OpenApi":
        """The same node, asked by somebody else."""
        found = OpenApi(self.url, database=self.database, shared=self.http)
        found.user = user
        return found


@pytest.fixture
def api(sqlite_url: str) -> Iterator[OpenApi]:
    """Requests to a node in open mode, in the test's own process."""
    application = Application(load({**PATIENT, "SESSIONCAST_DATABASE_URL": sqlite_url}))
    with TestClient(application.asgi, base_url=_URL) as client:
        yield OpenApi(_URL, database="sqlite", shared=client)


def test_everybody_has_threads_of_his_own(api: OpenApi) -> None:
    """Whose they are is said by X-User, by default `local`; everybody may read everybody's, by name."""
    local = Chat.begin(api)
    assert local.api.ok(local.create(), 201)["user"] == "local"
    zoe = replace(local, api=api.named("Zoë 😀"))
    problem(zoe.api.get(zoe.path), 404, "not_found")
    assert local.api.ok(zoe.create(), 201)["user"] == "Zoë 😀"
    zoe.appended("mine")
    assert local.contents() == []
    assert zoe.contents() == ["mine"]
    assert local.messages(user="Zoë 😀")["data"] == zoe.messages()["data"]
    assert len(local.api.ok(local.api.get(local.all, params={"all": "true"}), 200)["data"]) == 2
    problem(replace(local, api=api.named("a\nb")).create(), 422, "invalid")


def test_chats_have_a_project(api: OpenApi) -> None:
    """Without X-Project chats are in `default`, which the first write makes; with it in that, which has to be there."""
    id_ = new_uuid()
    problem(api.get(f"/chatkit/threads/{id_}"), 404, "not_found")
    problem(api.get("/v1/projects/default"), 404, "not_found")
    thread = api.ok(api.post("/chatkit/threads", {"id": id_}), 201)
    assert thread["project_id"] == "default"
    api.ok(api.post(f"/chatkit/threads/{id_}/messages", {"content": "hello"}), 200)
    assert Chat(api, "default", id_).contents()[0] == "hello"
    api.ok(api.post("/chatkit/threads", {}, headers={"X-Project": "default"}), 201)
    problem(api.post("/chatkit/threads", {}, headers={"X-Project": "elsewhere"}), 404, "not_found")
    other = api.project()
    found = api.ok(api.post("/chatkit/threads", {"id": id_}, headers={"X-Project": other}), 201)
    assert found["project_id"] == other


def test_a_line_makes_the_default_project(api: OpenApi) -> None:
    """A line may be the first that is ever written: project and thread are made for it."""
    id_ = new_uuid()
    api.ok(api.post(f"/chatkit/threads/{id_}/messages", {"content": "hello"}), 200)
    shown = api.ok(api.get(f"/chatkit/threads/{id_}"), 200)
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
    assert shown["user"] == "local"


def test_projects_that_are_named_are_not_made(api: OpenApi) -> None:
    """Threads outside chats have to have their project, also `default`."""
    chat = Chat(api, "default", new_uuid())
    problem(chat.create(), 404, "not_found")
    problem(chat.append(said("x")), 404, "not_found")
