"""A chat over HTTP: what is said in a thread, and what is answered."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from support.api import Api
from support.threads import Chat, new_uuid

DEGRADED = "Context unavailable"
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
"""What belongs together: the one goes with the other."""


@dataclass(frozen=True, slots=True)
class Talk(Chat):
    """A thread that one chats in."""

    @classmethod
    def begin(cls, api: Api, *, project: str | None = None) -> "Talk":
        """A thread that is not there yet; in a new project where none is given."""
        return cls(api, project or api.project(), new_uuid())

    def acting(self, **claims: Any) -> "Talk":
        """A thread of the same id in the same project, of another user or asked for with other rights."""
        return replace(self, api=self.api.acting(**claims))

    def beside(self) -> "Talk":
        """Another thread of the same user in the same project, not there yet."""
        return replace(self, id=new_uuid())

    def made(self, **body: Any) -> "Talk":
        """The thread, which is there now."""
        self.api.ok(self.create(**body), 201)
        return self

    def at(self, api: Api) -> "Talk":
        """The same thread, asked for at another node."""
        return replace(self, api=Api(api.url, database=api.database, token=self.api.token, shared=api.http))

    def send(self, content: Any, *, key: str | None = None) -> httpx2.Response:
        """The answer to a line."""
        headers = {"X-Project": self.project, **({"Idempotency-Key": key} if key else {})}
        return self.api.post(f"/chatkit/threads/{self.id}/messages", {"content": content}, headers=headers)

    def say(self, content: str, *, key: str | None = None) -> str:
        """What is answered to a line; both are in the thread then."""
        return kept(self.send(content, key=key))

    def shown(self) -> dict[str, Any]:
        """The thread with its messages, as chats show it."""
        answer = self.api.get(f"/chatkit/threads/{self.id}", headers={"X-Project": self.project})
        found: dict[str, Any] = self.api.ok(answer, 200)
        return found

    def lines(self) -> list[tuple[str, Any]]:
        """Role and content of each message, oldest first."""
        return [(message["role"], message["content"]) for message in self.whole()]

    def own_events(self) -> list[dict[str, Any]]:
        """All events so far that the user's own stream of the thread holds."""
        epoch = self.api.get(f"/v1/projects/{self.project}").headers["X-Position"].partition(":")[0]
        params = {"position": f"{epoch}:0", "snapshot": "never", "thread": self.id}
        path = f"/v1/projects/{self.project}/events"
        found: list[dict[str, Any]] = []
        more = True
        while more:
            page = self.api.ok(self.api.get(path, params=params, headers={"Accept": "application/json"}), 200)
            assert page["state"] == "resumed", page["state"]
            found += page["events"]
            params["position"], more = page["position"], page["more"]
        return found


def kept(answer: httpx2.Response) -> str:
    """What was answered, once the exchange is said to be in the thread."""
    return _content(answer, {})


def not_kept(answer: httpx2.Response) -> str:
    """What was answered, once it is said that the thread could not be had."""
    return _content(answer, {"warning": DEGRADED, "kept": False})


def _content(answer: httpx2.Response, rest: dict[str, Any]) -> str:
    assert answer.status_code == 200, f"{answer.status_code} {answer.text[:500]}"
    body = answer.json()
    content = body.pop("content")
    assert body == rest
    assert isinstance(content, str)
    return content


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make calls in threads of their own, all at the same time; what they returned, in order."""
    barrier = threading.Barrier(len(calls))

    def make(call: Callable[[], Any]) -> Any:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=100) for future in [pool.submit(make, call) for call in calls]]
