"""A test's view of a thread over HTTP."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from sessioncast_server.db.migrate import migrate
from sessioncast_server.threads.rules import Terms
from support.api import ALL_SCOPES, Api, problem
from support.postgres import fresh_database
from support.serving import served

READ_ALL = (*ALL_SCOPES, "threads:read_all")
THREAD_MEMBERS = {
    "id", "project_id", "user", "title", "version", "message_seq", "message_count", "created_at", "last_activity_at",
    "expires_at",
}  # fmt: skip
MESSAGE_MEMBERS = {"id", "thread_id", "user", "seq", "role", "content", "created_at"}
CALM = {"SESSIONCAST_WAITER_LEASE_S": "30"}
"""For nodes of which nobody dies: a machine that stalls for some seconds ends neither a chat's run nor a place."""
AFAR = "01234567-89ab-4def-8123-456789abcdef"
"""A UUID that nothing has."""


def terms(messages_max: int = 200, *, read_bytes: int = 1 << 20) -> Terms:
    """Terms for plain calls."""
    return Terms(messages_max, timedelta(days=7), read_bytes, 60)


def new_uuid() -> str:
    """An id of the client's own."""
    return str(uuid4())


def keyed(key: str | None = None) -> dict[str, str]:
    """Headers with an `Idempotency-Key`, a new one where none is given."""
    return {"Idempotency-Key": key or uuid4().hex}


def said(*contents: Any) -> list[dict[str, Any]]:
    """Messages of the user with these contents."""
    return [{"role": "user", "content": content} for content in contents]


@contextmanager
def calmly_served(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Iterator[Api]:
    """As `serving.served_on`, with `CALM`."""
    folder = factory.mktemp("node")
    with ExitStack() as stack:
        url = f"sqlite:///{folder}/x.db"
        if request.param != "sqlite":
            url = stack.enter_context(fresh_database(request.getfixturevalue("postgres").url))
        migrate(url)
        yield stack.enter_context(served(folder, url, **CALM))


@dataclass(frozen=True, slots=True)
class Chat:
    """A thread of the user of `api`, there or not.

    Attributes:
        id: of the thread.
    """

    api: Api
    project: str
    id: str

    @classmethod
    def begin(cls, api: Api, *, project: str | None = None) -> "Chat":
        """A thread that is not there yet; in a new project where none is given."""
        return cls(api, project or api.project(), new_uuid())

    def acting(self, **claims: Any) -> "Chat":
        """A thread of the same id in the same project, asked for by another user or with other rights."""
        return replace(self, api=self.api.acting(**claims))

    def beside(self) -> "Chat":
        """Another thread of the same user in the same project, not there yet."""
        return replace(self, id=new_uuid())

    @property
    def all(self) -> str:
        """Path of the project's threads."""
        return f"/v1/projects/{self.project}/threads"

    @property
    def path(self) -> str:
        """Path of the thread."""
        return f"{self.all}/{self.id}"

    def create(self, **body: Any) -> httpx2.Response:
        """The answer to making it."""
        return self.api.post(self.all, {"id": self.id, **body})

    def made(self, **body: Any) -> "Chat":
        """The thread, which is there now."""
        self.api.ok(self.create(**body), 201)
        return self

    def get(self, **params: Any) -> dict[str, Any]:
        """The thread as it is."""
        found: dict[str, Any] = self.api.ok(self.api.get(self.path, params=params), 200)
        return found

    def append(self, messages: list[dict[str, Any]], headers: dict[str, str] | None = None, **body: Any) -> Any:
        """The answer to appending messages."""
        return self.api.post(f"{self.path}/messages", {"messages": messages, **body}, headers=headers or {})

    def appended(self, *contents: Any, **body: Any) -> list[dict[str, Any]]:
        """Messages of the user, which are there now."""
        found: list[dict[str, Any]] = self.api.ok(self.append(said(*contents), **body), 201)["data"]
        return found

    def messages(self, **params: Any) -> dict[str, Any]:
        """A page of messages."""
        found: dict[str, Any] = self.api.ok(self.api.get(f"{self.path}/messages", params=params), 200)
        return found

    def contents(self) -> list[Any]:
        """Contents of all messages, oldest first."""
        return [message["content"] for message in self.whole()]

    def whole(self) -> list[dict[str, Any]]:
        """All messages, oldest first."""
        found: list[dict[str, Any]] = []
        after = "0"
        while True:
            page = self.messages(limit=200, after=after)
            found += page["data"]
            if page["next"] is None:
                return found
            after = page["next"]

    def post(self, what: str, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        """The answer to a POST below the thread: `pop`, `clear`, `runs`."""
        return self.api.post(f"{self.path}/{what}", body, headers=headers or {})

    def popped(self, **body: Any) -> Any:
        """The newest message, which is not there any more."""
        return self.api.ok(self.post("pop", **body), 200)["message"]

    def run(self, **body: Any) -> str:
        """Id of a new run."""
        return str(self.api.ok(self.post("runs", **body), 201)["id"])

    def left(self, *contents: Any) -> str:
        """Id of a run that appended this and is then left alone, so that it is over soon."""
        for _ in range(20):
            run = self.run(lease_s=1, wait_s=60)
            answer = self.append(said(*contents), run=run)
            if answer.status_code == 201:
                return run
            problem(answer, 409, "fenced")  # the machine stood still for longer than the lease
        raise TimeoutError("no run lasts for long enough to append")

    def renew(self, run: str) -> httpx2.Response:
        """The answer to renewing a run."""
        return self.api.patch(f"{self.path}/runs/{run}", {})

    def end(self, run: str) -> None:
        """End a run."""
        self.api.ok(self.api.delete(f"{self.path}/runs/{run}"), 204)

    @contextmanager
    def running(self, **body: Any) -> Iterator[str]:
        """A run, ended afterwards."""
        run = self.run(**body)
        try:
            yield run
        finally:
            self.end(run)

    def events(self, *, reader: Api | None = None) -> list[dict[str, Any]]:
        """All events of the thread so far, as one sees them who may read all."""
        whole = (reader or self.api.acting(scopes=READ_ALL)).events(self.project)
        return [event for event in whole if event.get("thread_id") == self.id]
