"""How many statements a read takes does not depend on how much it shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.settings import load
from support.statements import CountedReads

SIZES = (1, 10, 100)


@dataclass(frozen=True)
class Populated:
    """A project with so many tasks and models, and as many replaced sessions of the first task.

    Attributes:
        sessions: the live session of each task.
    """

    project: str
    tasks: list[str]
    sessions: list[str]
    epoch: str


class Asker:
    """Requests to a node whose reads are counted."""

    def __init__(self, client: TestClient, counted: CountedReads) -> None:
        self.client = client
        self.counted = counted

    def post(self, path: str, document: Any) -> Any:
        """What a change is answered."""
        answer = self.client.post(path, json=document)
        assert answer.is_success, answer.text
        return answer.json()

    def populate(self, count: int) -> Populated:
        """Fill a project."""
        project = f"p-{count}"
        assert self.client.put(f"/v1/projects/{project}", json={}).status_code == 201
        tasks = [self.post(f"/v1/projects/{project}/tasks", {"title": "T"})["id"] for _ in range(count)]
        sessions = [self._printed(task) for task in tasks]
        for _ in range(count):
            wish = {"on_conflict": "replace", "confirm": {"session_id": sessions[0]}}
            sessions[0] = self._printed(tasks[0], model=f"m-{sessions[0]}", **wish)
        for number in range(count - 1):
            self._print(sessions[0], f"line {number}")
        for number in range(count):  # last, for once there is one no other will do
            assert self.client.put(f"/v1/projects/{project}/models/m-{number}", json={}).status_code == 201
        epoch = self.client.get(f"/v1/projects/{project}").headers["x-position"].partition(":")[0]
        return Populated(project, tasks, sessions, epoch)

    def _printed(self, task: str, *, model: str = "m", **rest: Any) -> str:
        started = self.post(f"/v1/tasks/{task}/sessions", {"phase": "run", "model": {"name": model}, **rest})
        session: str = started["session"]["id"]
        self._print(session, "first")
        return session

    def _print(self, session: str, text: str) -> None:
        self.post(f"/v1/sessions/{session}/output", {"chunks": [{"stream": "log", "text": text}]})

    def get(self, path: str, **rest: Any) -> tuple[Any, int]:
        """An answer's document, and how many statements it took to read."""
        self.counted.taken()
        answer: httpx2.Response = self.client.get(path, **rest)
        assert answer.status_code == 200, answer.text
        return answer.json(), self.counted.taken()

    def poll(self, place: Populated, **params: Any) -> tuple[Any, int]:
        """As `get`, of a poll."""
        path = f"/v1/projects/{place.project}/events"
        return self.get(path, params=params, headers={"Accept": "application/json"})


@pytest.fixture
def asker(database_url: str) -> Iterator[Asker]:
    """A node in this process, on each database."""
    application = Application(load({"SESSIONCAST_DATABASE_URL": database_url, "SESSIONCAST_REPLAY_MAX_EVENTS": "9999"}))
    counted = CountedReads(application.database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application.database, "read", counted.read)
        with TestClient(application.asgi, base_url="http://localhost") as client:
            yield Asker(client, counted)


def test_the_size_of_an_answer_costs_no_statements(asker: Asker) -> None:
    """Lists, pages, details, snapshots and filters by id take as many statements for 100 items as for one."""
    costs: dict[str, set[int]] = {}
    for count in SIZES:
        place = asker.populate(count)
        first, session = place.tasks[0], place.sessions[0]
        reads = {
            "tasks": asker.get(f"/v1/projects/{place.project}/tasks", params={"limit": 200}),
            "sessions": asker.get(f"/v1/tasks/{first}/sessions", params={"limit": 200, "include_deleted": True}),
            "models": asker.get(f"/v1/projects/{place.project}/models", params={"limit": 200}),
            "output": asker.get(f"/v1/sessions/{session}/output", params={"limit": 200}),
        }
        polls = {
            "snapshot of the project": asker.poll(place, snapshot="always"),
            "snapshot of tasks": asker.poll(place, task=place.tasks),
            "snapshot of sessions": asker.poll(place, session=place.sessions),
        }
        lengths = {name: len(page["data"]) for name, (page, _) in reads.items()}
        assert lengths == dict.fromkeys(reads, count) | {"sessions": count + 1}
        shown = {name: len(answer["resources"]) for name, (answer, _) in polls.items()}
        assert shown == dict(zip(polls, (2 * count, 2 * count, count), strict=True))
        exported, cost = asker.get(f"/v1/sessions/{session}/export")
        assert len(exported["output"]) == count
        task, cost_of_task = asker.get(f"/v1/tasks/{first}")
        assert list(task["sessions"]) == ["run"]
        for name, (_, statements) in (reads | polls | {"export": (None, cost), "task": (None, cost_of_task)}).items():
            costs.setdefault(name, set()).add(statements)
    assert {name: sorted(found) for name, found in costs.items() if len(found) != 1 or 0 in found} == {}


def test_a_replay_of_many_sessions_is_joined_at_once(asker: Asker) -> None:
    """A replay costs a statement for each 64 rows of the log, and one for the text of all its sessions."""
    costs = []
    for count in SIZES:
        place = asker.populate(count)
        answer, statements = asker.poll(place, position=f"{place.epoch}:0", session=place.sessions, kinds="output")
        events = answer["events"]
        assert {event["session_id"] for event in events} == set(place.sessions)
        assert all(event["data"]["chunks"] for event in events)
        fetches = len(events) // 64 + 1
        costs.append(statements - fetches)
    assert len(set(costs)) == 1, costs
