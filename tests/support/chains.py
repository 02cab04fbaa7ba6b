"""A session over HTTP, and what is done with its provider sessions."""

import json
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from typing import Any
from uuid import uuid4

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from support.api import Api, Work
from support.waiting import wait_until

FLAG = "/v1/admin/flags/session_resume_enabled"
SECURITY = "Session security violation"
ANOTHER_ID = "01234567-89ab-7def-8123-456789abcdef"


def given(name: str) -> str:
    """An id as a provider gives it out; it belongs to one session, for ever."""
    return f"{name}-{uuid4().hex}"


def fenced(fence: int | None = None, *, key: str | None = None) -> dict[str, str]:
    """Headers with a fence and a key, where there are any."""
    named = {"X-Session-Fence": fence, "Idempotency-Key": key}
    return {name: str(value) for name, value in named.items() if value is not None}


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    """Bodies that have one of these values in a field."""
    return [{name: value} for value in values]


@dataclass(frozen=True, slots=True)
class Chain:
    """A session of the user of `api`.

    Attributes:
        id: of the session.
    """

    api: Api
    work: Work
    id: str

    @classmethod
    def begin(cls, api: Api, *, work: Work | None = None, **start: Any) -> "Chain":
        """A new session, in a new project where none is given."""
        work = work or api.work()
        return cls(api, work, work.session(**start)["id"])

    def acting(self, **claims: Any) -> "Chain":
        """The same session, asked for by another user or with other rights."""
        return replace(self, api=self.api.acting(**claims))

    @property
    def path(self) -> str:
        """Where the session is."""
        return f"/v1/sessions/{self.id}"

    def session(self) -> dict[str, Any]:
        """The session as it is now."""
        found: dict[str, Any] = self.api.ok(self.api.get(self.path), 200)
        return found

    def open(self, operation: Any = "update", *, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        """The answer to the start of a provider session."""
        wish = {"operation": operation, **body}
        return self.api.post(f"{self.path}/provider-sessions", wish, headers=headers or {})

    def opened(self, operation: str = "update", *, fence: int | None = None, **body: Any) -> dict[str, Any]:
        """A new provider session."""
        row: dict[str, Any] = self.api.ok(self.open(operation, headers=fenced(fence), **body), 201)
        return row

    def patch(self, row: dict[str, Any], *, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        """The answer to a change of a provider session."""
        return self.api.patch(f"/v1/provider-sessions/{row['id']}", body, headers=headers or {})

    def patched(self, row: dict[str, Any], *, fence: int | None = None, **body: Any) -> dict[str, Any]:
        """A provider session after a change."""
        after: dict[str, Any] = self.api.ok(self.patch(row, headers=fenced(fence), **body), 200)
        return after

    def ended(self, row: dict[str, Any], **body: Any) -> dict[str, Any]:
        """A provider session after its end."""
        return self.patched(row, ended=True, **body)

    def link(self, name: str = "A", **body: Any) -> dict[str, Any]:
        """A provider session from its start to its end, whose id is the head since."""
        row = self.opened()
        return self.ended(row, new_provider_session_id=given(name), **body)

    def resume(self, *, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        """The answer to a resume, which does not wait unless it is told to."""
        return self.api.post(f"{self.path}/resume", {"wait_s": 0, **body}, headers=headers or {})

    def decided(self, **body: Any) -> dict[str, Any]:
        """A decision."""
        decision: dict[str, Any] = self.api.ok(self.resume(**body), 200)
        return decision

    def taken(self, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A decision, and the provider session that was opened with it."""
        decision = self.decided(**body)
        wanted = {"resumed_from": decision["provider_session_id"]} if decision["decision"] == "resume" else {}
        return decision, self.opened(fence=decision["fence"], **wanted)

    def give_up(self, fence: int) -> httpx2.Response:
        """The answer to one who does not use the turn of a fence."""
        return self.api.delete(f"{self.path}/turn", headers=fenced(fence))

    def fail(self, row: dict[str, Any], reason: Any, *, headers: dict[str, str] | None = None) -> httpx2.Response:
        """The answer to a failed attempt."""
        path = f"/v1/provider-sessions/{row['id']}/resume-failed"
        return self.api.post(path, {"reason": reason}, headers=headers or {})

    def failed(self, row: dict[str, Any], reason: str) -> dict[str, Any]:
        """The decision after a failed attempt."""
        decision: dict[str, Any] = self.api.ok(self.fail(row, reason), 200)
        return decision

    def chain(self, **params: Any) -> dict[str, Any]:
        """A page of the chain, and its head."""
        page: dict[str, Any] = self.api.ok(self.api.get(f"{self.path}/chain", params=params), 200)
        return page

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A provider session as it is now."""
        return next(one for one in self.chain(limit=200)["data"] if one["id"] == row["id"])

    def head_id(self) -> str | None:
        """The id that the next resume is decided about; the session says the same as the chain."""
        head = self.chain()["head"]
        found: str | None = None if head is None else head["provider_session_id"]
        assert self.session()["head_provider_session_id"] == found
        return found

    def closed(self, row: dict[str, Any]) -> dict[str, Any]:
        """A provider session, as soon as nobody has it open."""
        wait_until(lambda: self.row(row)["state"] != "open", "a provider session to be closed", period_s=0.1)
        return self.row(row)

    def audit(self, **params: Any) -> list[dict[str, Any]]:
        """Lines of the trail about the session, oldest first."""
        asked = {"session": self.id, "limit": 200, **params}
        page = self.api.ok(self.api.get(f"/v1/projects/{self.work.project}/audit", params=asked), 200)
        return list(reversed(page["data"]))

    def actions(self) -> list[str]:
        """What the trail says was done, oldest first."""
        return [line["action"] for line in self.audit()]

    def events(self) -> list[dict[str, Any]]:
        """All events of the project so far."""
        return self.work.events()


def figures(api: Api) -> dict[tuple[str, ...], float]:
    """The node's metrics by name, without `sessioncast_`, and values of labels by their names' order."""
    found = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for sample in family.samples:
            name, labels = sample.name.removeprefix("sessioncast_"), sorted(sample.labels.items())
            found[name, *(value for _, value in labels)] = sample.value
    return found


def waiting(api: Api) -> float:
    """Requests of the node that wait for their turn."""
    return figures(api)["turns_waiting",]


class Waiting:
    """A resume that waits for its turn, in a thread and on a connection of its own, which is cut off at the end.

    `with Waiting(chain, wait_s=30) as waiting:` returns when it waits; `waiting.answer()` is what it was told.
    """

    def __init__(self, chain: Chain, *, wait_s: float = 30, key: str | None = None) -> None:
        self._chain = chain
        self._body = json.dumps({"wait_s": wait_s})
        named = {"Authorization": chain.api.token, "Content-Type": "application/json"}
        self._headers = {**named, **fenced(key=key)}
        self._connection = HTTPConnection(chain.api.url.removeprefix("http://"), timeout=90)
        self._future: Future[httpx2.Response] = Future()

    @property
    def answered(self) -> bool:
        """Whether it was told anything."""
        return self._future.done()

    def answer(self) -> httpx2.Response:
        """What it was told, as soon as it was."""
        return self._future.result(timeout=60)

    def decision(self) -> dict[str, Any]:
        """The decision, as soon as there is one."""
        found: dict[str, Any] = self._chain.api.ok(self.answer(), 200)
        return found

    def __enter__(self) -> "Waiting":
        before = waiting(self._chain.api)
        self._connection.connect()
        self._socket = self._connection.sock
        threading.Thread(target=self._run, daemon=True).start()
        wait_until(lambda: self.answered or waiting(self._chain.api) > before, "a resume to wait")
        return self

    def __exit__(self, *_: object) -> None:
        if not self.answered:
            before = waiting(self._chain.api)
            # Closed alone, a socket that another thread reads from stays open until it has read something.
            self._socket.shutdown(socket.SHUT_RDWR)
            wait_until(lambda: self.answered and waiting(self._chain.api) < before, "the node to notice")
        self._connection.close()

    def _run(self) -> None:
        try:
            self._connection.request("POST", f"{self._chain.path}/resume", self._body, self._headers)
            answer = self._connection.getresponse()
            found = httpx2.Response(answer.status, headers=answer.getheaders(), content=answer.read())
            self._future.set_result(found)
        except BaseException as error:  # noqa: BLE001  whoever asks for the answer is told
            self._future.set_exception(error)
