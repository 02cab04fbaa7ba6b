"""Lists over HTTP: bounds, cursors, filters."""

import base64
import json
from typing import Any

import pytest

from support.api import Api, problem


def walk(api: Api, path: str, *, limit: int, meanwhile: Any = lambda: None, **params: Any) -> list[dict[str, Any]]:
    """All rows of a list, page by page; something else may happen between the pages."""
    rows: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = api.ok(api.get(path, params={"limit": limit, **params, **after}), 200)
        assert page.keys() == {"data", "next"}
        assert len(page["data"]) <= limit
        rows += page["data"]
        if page["next"] is None:
            return rows
        after = {"after": page["next"]}
        meanwhile()


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
def test_pages_hold_every_task_once(api: Api, limit: int) -> None:
    """Newest first, each task that was there at the start exactly once, though others are added between pages."""
    project = api.project()
    path = f"/v1/projects/{project}/tasks"
    made = [api.ok(api.post(path, {"title": f"T{number}"}), 201)["id"] for number in range(7)]
    rows = walk(api, path, limit=limit, meanwhile=lambda: api.ok(api.post(path, {"title": "late"}), 201))
    assert [row["id"] for row in rows] == made[::-1]
    assert len({row["created_at"] for row in rows}) == 7


def test_pages_hold_every_session_once(api: Api) -> None:
    """Replaced ones come with `include_deleted`, newest first, while more are replaced between pages."""
    work = api.work()
    made = [work.session()]

    def replace() -> None:
        confirm = {"session_id": made[-1]["id"]}
        made.append(work.session(on_conflict="restart", confirm=confirm))

    for _ in range(5):
        replace()
    ids = [session["id"] for session in reversed(made)]
    rows = walk(api, work.path, limit=2, meanwhile=replace, include_deleted="true")
    assert [row["id"] for row in rows] == ids
    assert [row["id"] for row in walk(api, work.path, limit=2)] == [made[-1]["id"]]


def test_tasks_are_found_by_title(api: Api) -> None:
    """Only exact titles match, in every page."""
    project = api.project()
    path = f"/v1/projects/{project}/tasks"
    for title in ("one", "One", "one ", "é%_*\U0001f600", "one"):
        api.ok(api.post(path, {"title": title}), 201)
    assert len(walk(api, path, limit=1, title="one")) == 2
    assert [row["title"] for row in walk(api, path, limit=1, title="é%_*\U0001f600")] == ["é%_*\U0001f600"]
    assert walk(api, path, limit=1, title="%") == []


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": -1},
        {"limit": "x"},
        {"limit": "9" * 50},
        {"limit": 1.5},
        {"limit": [1, 1]},
        {"more": 1},
        {"title": "\0"},
        {"phase": "x"},
        {"debug": "x"},
    ],
)
def test_parameters_have_bounds(api: Api, params: dict[str, Any]) -> None:
    """What is out of bounds, unknown or given twice is 422 in each list."""
    work = api.work()
    for path in (f"/v1/projects/{work.project}/tasks", work.path):
        problem(api.get(path, params=params), 422, "invalid")


def _cursor(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "A" * 5000,
        _cursor([]),
        _cursor(["2026-01-01T00:00:00+00:00"]),
        _cursor(["2026-01-01T00:00:00+00:00", 1]),
        _cursor(["2026-01-01T00:00:00+00:00", "a", "b"]),
        _cursor(["yesterday", "a"]),
        _cursor(["2026-01-01T00:00:00", "a"]),
        _cursor(["0001-01-01T00:00:00+05:00", "a"]),
        _cursor(["9999-12-31T23:59:59-05:00", "a"]),
        _cursor(["2026-01-01T00:00:00+00:00", "a\0"]),
        _cursor({"a": 1}),
        _cursor(1),
    ],
)
def test_a_cursor_is_one_of_ours(api: Api, cursor: str) -> None:
    """What no page can have handed out is 400 `bad_cursor`, never a 500."""
    work = api.work()
    for path in (f"/v1/projects/{work.project}/tasks", work.path):
        problem(api.get(path, params={"after": cursor}), 400, "bad_cursor")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
def test_a_cursor_of_any_time_is_a_place(api: Api, at: str) -> None:
    """Well-formed, before and after everything, it is where a page begins."""
    work = api.work()
    found = api.ok(api.get(f"/v1/projects/{work.project}/tasks", params={"after": _cursor([at, "x"])}), 200)
    assert len(found["data"]) == (at > "2000")
