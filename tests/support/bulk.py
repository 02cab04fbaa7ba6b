"""A project with tasks, to replace and delete many sessions of."""

from typing import Any
from uuid import uuid4

import httpx2

from support.api import Api

NOBODY = "00000000-0000-4000-8000-000000000000"


def wish(task: str, model: str = "m", *, confirm: str = NOBODY, phase: str = "run") -> dict[str, Any]:
    """An item of `replace`."""
    return {"task_id": task, "phase": phase, "model": {"name": model}, "confirm": {"session_id": confirm}}


class Field:
    """Tasks of a project.

    Attributes:
        tasks: their ids.
        path: of the bulk.
    """

    def __init__(self, api: Api, count: int, *, project: str | None = None) -> None:
        self.api = api
        self.project = project or api.project()
        self.tasks = [
            api.ok(api.post(f"/v1/projects/{self.project}/tasks", {"title": "T"}), 201)["id"] for _ in range(count)
        ]
        self.path = f"/v1/projects/{self.project}/sessions/bulk"

    def ask(self, *, replace: Any = (), delete: Any = (), key: str | None = None) -> httpx2.Response:
        """The answer to a bulk."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.api.post(self.path, {"replace": list(replace), "delete": list(delete)}, headers=headers)

    def bulk(self, *, replace: Any = (), delete: Any = (), key: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """The outcomes."""
        shown: dict[str, list[dict[str, Any]]] = self.api.ok(self.ask(replace=replace, delete=delete, key=key), 207)
        assert (len(shown["replace"]), len(shown["delete"])) == (len(replace), len(delete))
        return shown

    def sessions(self, model: str = "m") -> list[str]:
        """Start one in each task's phase `run`; their ids."""
        made: list[str] = []
        for start in range(0, len(self.tasks), 1000):
            items = self.bulk(replace=[wish(task, model) for task in self.tasks[start : start + 1000]])["replace"]
            assert {item["status"] for item in items} == {201}
            made += [item["session"]["id"] for item in items]
        return made

    def events(self) -> list[dict[str, Any]]:
        """Those of sessions."""
        return [event for event in self.api.events(self.project) if event["type"].startswith("session.")]

    def live(self) -> dict[str, str]:
        """Model of the live session of `run`, by task; a task with none is left out."""
        found: dict[str, str] = {}
        for task in self.tasks:
            rows = self.api.ok(self.api.get(f"/v1/tasks/{task}/sessions", params={"phase": "run"}), 200)["data"]
            assert len(rows) <= 1
            if rows:
                found[task] = rows[0]["model"]["name"]
        return found


def codes(items: list[dict[str, Any]]) -> list[Any]:
    """The outcome of each item in one word: `created`, `replaced`, `existing`, its status, or the problem's code."""
    return [
        item["problem"]["code"] if "problem" in item else item.get("outcome", item["status"])
        for item in items
    ]  # fmt: skip


def new_key() -> str:
    """An Idempotency-Key."""
    return uuid4().hex


def metric(api: Api, name: str, **labels: str) -> float:
    """A sample of the node's metrics; 0 before it was first counted."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    for line in api.get("/metrics").text.splitlines():
        sample, _, value = line.rpartition(" ")
        found, _, rest = sample.partition("{")
        if found == name and wanted == set(filter(None, rest.rstrip("}").split(","))):
            return float(value)
    return 0.0
