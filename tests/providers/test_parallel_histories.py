"""Several programs at once on one session, some of which vanish: what the log tells is a history that may be."""

import random
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import pytest

from support.api import Api, Work
from support.chains import fenced, given
from support.clockednode import ClockedNode, serving
from support.providermodel import totals
from support.providertold import Told

_PROGRAMS = 5
_DEEDS = 4
_QUIET_S = 0.3
"""When nobody was done for so long, those who vanished are in the way: their leases run out."""
_LONG_S = 61.0
_REASONS = ("not_found", "corrupted", "locked", "timeout", "other")


@pytest.fixture(params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest) -> Iterator[ClockedNode]:
    """A node on each database."""
    url = "sqlite_url" if request.param == "sqlite" else "migrated_postgres_url"
    with serving(request.getfixturevalue(url)) as found:
        yield found


class Program:
    """Does what its dice say."""

    def __init__(self, api: Api, session: str, seed: str) -> None:
        self._api = api
        self._session = session
        self._dice = random.Random(seed)

    def run(self) -> None:
        """All its deeds."""
        for _ in range(_DEEDS):
            self._deed(self._dice.choice(["update", "update", "update", "fork", "iterate"]))

    def _ask(self, path: str, body: dict[str, Any], fence: int | None = None, *, method: str = "POST") -> Any:
        """The answer; None where somebody else was faster."""
        answer = self._api.request(method, path, json=body, headers=fenced(fence))
        if answer.status_code == 409:
            assert answer.json()["code"] in ("fenced", "session_being_modified")
            return None
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def _deed(self, operation: str) -> None:
        wish: dict[str, Any] = {"operation": operation, "fork": operation == "fork"}
        fence = None
        if operation == "iterate":
            wish["iteration"] = self._dice.randrange(9)
        else:
            asked = {"fork": operation == "fork", "wait_s": 20}
            decision = self._ask(f"/v1/sessions/{self._session}/resume", asked)
            if decision is None or self._dice.random() < 0.1:
                return
            fence = None if operation == "fork" else decision["fence"]
            if decision["decision"] == "resume":
                wish["resumed_from"] = decision["provider_session_id"]
        row = self._ask(f"/v1/sessions/{self._session}/provider-sessions", wish, fence)
        if row is not None:
            for step in self._dice.choices(["fail", "id", "same", "usage", "usage"], k=self._dice.randrange(4)):
                self._step(row, step, fence)
            if self._dice.random() < 0.85:
                error = {"is_resumable": False} if self._dice.random() < 0.2 else {}
                self._patch(row, fence, ended=True, **error)

    def _step(self, row: dict[str, Any], step: str, fence: int | None) -> None:
        match step:
            case "fail":
                path = f"/v1/provider-sessions/{row['id']}/resume-failed"
                self._ask(path, {"reason": self._dice.choice(_REASONS)}, fence)
            case "id":
                self._patch(row, fence, new_provider_session_id=given("by"))
            case "same":
                self._patch(row, fence, new_provider_session_id=row["provider_session_id"])
            case _:
                usage = {"tokens": self._dice.randrange(1000), "cost_usd": self._dice.randrange(1000) / 1000}
                self._patch(row, fence, usage=usage)

    def _patch(self, row: dict[str, Any], fence: int | None, **body: Any) -> None:
        self._ask(f"/v1/provider-sessions/{row['id']}", body, fence, method="PATCH")


def _run(node: ClockedNode, programs: list[Program]) -> None:
    """All programs, to their ends; whenever nothing goes on any more the leases of those who vanished run out."""
    with ThreadPoolExecutor(len(programs)) as pool:
        running = {pool.submit(program.run) for program in programs}
        while running:
            done, running = wait(running, timeout=_QUIET_S, return_when=FIRST_EXCEPTION)
            for one in done:
                one.result()
            _pass(node)


def _pass(node: ClockedNode) -> None:
    node.look()
    node.now += _LONG_S
    node.look()


class Replay:
    """The log of a session, event by event.

    Attributes:
        fence, head: of the session.
        open: updates that have not ended, by their ids.
        decided: what was decided, in order.
    """

    def __init__(self) -> None:
        self.fence = 1
        self.head: str | None = None
        self.open: set[str] = set()
        self.decided: list[tuple[int, str]] = []

    def take(self, event: dict[str, Any]) -> None:
        """One event."""
        type_, data = event["type"], event["data"]
        if type_ == "session.resumed" and data["fence"] != self.fence:
            assert data["fence"] == self.fence + 1, "fences rise one by one"
            assert not self.open, "a turn was granted while another one was in use"
            self.fence = data["fence"]
        elif type_ == "session.resume_decided":
            resume = data["resume"]
            if resume["decision"] == "resume" and not resume["fork"]:
                assert resume["provider_session_id"] == self.head, "not the newest id is resumed"
            self.decided.append((resume["fence"], resume.get("reason") or resume["provider_session_id"]))
        elif type_.startswith("provider_session."):
            self._use(data)

    def _use(self, data: dict[str, Any]) -> None:
        head = data["head_provider_session_id"]
        if head != self.head:
            assert head == data["provider_session_id"]
            assert not data["fork"], "a fork moved the head"
            assert data["fence"] == self.fence, "one who has lost the session moved the head"
        self.head = head
        if data["operation"] == "update":
            (self.open.add if data["state"] == "open" else self.open.discard)(data["id"])


@pytest.mark.parametrize("seed", range(2))
def test_at_once_it_is_as_if_one_after_another(node: ClockedNode, seed: int) -> None:
    """Turns never overlap, heads and totals are right at every offset, and in the end nothing is open or forgotten."""
    api = node.api
    project = api.project()
    task = api.ok(api.post(f"/v1/projects/{project}/tasks", {"title": "T"}), 201)["id"]
    session = Work(api, project, task).session()["id"]
    told = Told(api, project)
    _run(node, [Program(api, session, f"{seed} {number}") for number in range(_PROGRAMS)])
    _pass(node)
    assert node.look() == (0, 0)
    replay = Replay()
    for event in told.read():
        replay.take(event)
    shown = api.ok(api.get(f"/v1/sessions/{session}/chain", params={"limit": 200}), 200)
    assert {row["id"]: row for row in shown["data"]} == told.rows
    assert {row["state"] for row in shown["data"]} <= {"ended", "abandoned"}
    now = api.ok(api.get(f"/v1/sessions/{session}"), 200)
    assert (now["fence"], now["head_provider_session_id"]) == (replay.fence, replay.head)
    wanted = totals(shown["data"])
    for path in (f"sessions/{session}", f"tasks/{task}", f"projects/{project}"):
        metrics = api.ok(api.get(f"/v1/{path}/metrics"), 200)
        assert {name: metrics[name] for name in wanted} == wanted
    lines = api.ok(api.get(f"/v1/projects/{project}/audit", params={"limit": 200}), 200)["data"][::-1]
    decisions = [line["data"] for line in lines if line["action"] == "resume_decided"]
    assert [(one["fence"], one.get("reason") or one["provider_session_id"]) for one in decisions] == replay.decided
    abandoned = sorted(line["data"]["provider_session"] for line in lines if line["action"] == "abandoned")
    assert set(abandoned) >= {row["id"] for row in shown["data"] if row["state"] == "abandoned"}
    assert len(set(abandoned)) == len(abandoned), "a lease ran out twice"
