"""Flags over HTTP."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from sessioncast_shared.resources import Flag, Page
from support.api import Api, problem
from support.waiting import wait_until

EVERY = "/v1/admin/flags"
FLAG = f"{EVERY}/session_resume_enabled"
NAMES = ["pessimistic_locking_enabled", "push_enabled", "session_resume_enabled", "single_session_enabled"]


def put(api: Api, body: Any, path: str = FLAG, **headers: str) -> httpx2.Response:
    """The answer to a change."""
    return api.request("PUT", path, json=body, headers=headers)


def changes(api: Api, name: str = "session_resume_enabled") -> float:
    """How many changes of a flag the node counted."""
    text = api.http.get(f"{api.url}/metrics").text
    start = f'sessioncast_flag_changes_total{{flag="{name}"}} '
    return next((float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)), 0.0)


@pytest.mark.parametrize(
    ("body", "state", "percentage"),
    [
        ({"state": "off"}, "off", 0),
        ({"state": "on"}, "on", 100),
        ({"state": "percentage", "percentage": 5}, "percentage", 5),
        ({"state": "percentage", "percentage": 0.07}, "percentage", 0.07),
        ({"state": "percentage", "percentage": 0}, "off", 0),
        ({"state": "percentage", "percentage": -0.0}, "off", 0),
        ({"state": "percentage", "percentage": 100}, "on", 100),
    ],
)
def test_a_change_is_shown(admin: Api, body: Any, state: str, percentage: float) -> None:
    """What a PUT answers is what GET and the list show from then on, with the same tag, and who did it."""
    put(admin, {"state": "percentage", "percentage": 33})
    answer = put(admin, body)
    flag = Flag.model_validate(admin.ok(answer, 200))
    assert (flag.name, flag.state, flag.percentage) == ("session_resume_enabled", state, percentage)
    assert (flag.updated_by, flag.settled) == ("root", None)
    assert flag.updated_at is not None
    assert "settled" not in answer.json()
    read = admin.get(FLAG)
    assert read.json() == answer.json()
    assert read.headers["etag"] == answer.headers["etag"]
    assert "x-position" not in read.headers
    assert answer.json() in admin.get(EVERY).json()["data"]
    assert b"-0" not in answer.content.split(b"percentage")[-1].split(b",")[0]


def test_all_are_listed_in_pages(admin: Api) -> None:
    """The list has every flag by name, once, whatever the size of the page."""
    whole = admin.ok(admin.get(EVERY), 200)
    assert [flag.name for flag in Page[Flag].model_validate(whole).data] == NAMES
    assert whole["next"] is None
    names, after = [], None
    for _ in NAMES:
        params = {"limit": "1"} | ({"after": after} if after else {})
        page = admin.ok(admin.get(EVERY, params=params), 200)
        names += [flag["name"] for flag in page["data"]]
        after = page["next"]
    assert (names, after) == (NAMES, None)
    problem(admin.get(EVERY, params={"limit": "0"}), 422, "invalid")
    problem(admin.get(EVERY, params={"after": "x"}), 400, "bad_cursor")


@pytest.mark.parametrize("path", [EVERY, FLAG])
def test_what_did_not_change_is_not_sent_again(admin: Api, path: str) -> None:
    """With its tag a read is 304 until the flag is changed; a change to what is so already is none."""
    put(admin, {"state": "off"})
    tag = {"If-None-Match": admin.get(path).headers["etag"]}
    put(admin, {"state": "off"})
    unchanged = admin.get(path, headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    put(admin, {"state": "on"})
    assert admin.get(path, headers=tag).status_code == 200


def test_if_match_guards_a_change(admin: Api) -> None:
    """With the tag of another state a change is 412 and not made; with the present one it is made."""
    old = admin.get(FLAG).headers["etag"]
    now = put(admin, {"state": "off"}).headers["etag"]
    problem(put(admin, {"state": "on"}, **{"If-Match": old}), 412, "precondition_failed")
    assert admin.get(FLAG).json()["state"] == "off"
    assert put(admin, {"state": "on"}, **{"If-Match": now}).json()["state"] == "on"


def test_a_key_makes_a_change_once(admin: Api) -> None:
    """A repeated request gets the first answer and undoes nothing that came after it; another body is 422."""
    key = {"Idempotency-Key": "once"}
    first = put(admin, {"state": "percentage", "percentage": 7}, **key)
    put(admin, {"state": "off"})
    again = put(admin, {"state": "percentage", "percentage": 7}, **key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["etag"] == first.headers["etag"]
    assert admin.get(FLAG).json()["state"] == "off"
    problem(put(admin, {"state": "on"}, **key), 422, "idempotency_key_reused")


def test_changes_are_counted_and_logged(admin: Api, logged: Callable[[], list[dict[str, Any]]]) -> None:
    """Each change is one count and one line with who, from and to; what changes nothing or is refused is neither."""
    before, others = changes(admin), changes(admin, "single_session_enabled")
    put(admin, {"state": "percentage", "percentage": 25}, **{"Idempotency-Key": "counted"})
    put(admin, {"state": "percentage", "percentage": 25}, **{"Idempotency-Key": "counted"})
    put(admin, {"state": "percentage", "percentage": 25})
    put(admin, {"state": "percentage", "percentage": 125})
    put(admin, {"state": "on"}, **{"If-Match": '"1-000000000000"'})
    put(admin, {"state": "off"})
    assert changes(admin) == before + 2
    assert changes(admin, "single_session_enabled") == others

    def lines() -> list[tuple[Any, ...]]:
        found = [line for line in logged() if line["event"] == "flag changed"]
        return [(line["flag"], line["user"], line["before"], line["after"]) for line in found]

    name = "session_resume_enabled"
    wait_until(lambda: len(lines()) >= 2, "two lines")
    assert lines()[-2:] == [(name, "root", 100, 25), (name, "root", 25, 0)]


def test_many_at_once_all_succeed(admin: Api) -> None:
    """Of thirty concurrent changes none is refused, and the last one made is what is read."""
    bodies = [{"state": "percentage", "percentage": number} for number in range(1, 31)]
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda body: put(admin, body), bodies))
    assert {answer.status_code for answer in answers} == {200}
    last = max((answer.json() for answer in answers), key=lambda flag: flag["updated_at"])
    assert admin.get(FLAG).json() == last


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "state"),
        ({"state": "yes"}, "state"),
        ({"state": True}, "state"),
        ({"state": None}, "state"),
        ({"state": "ON"}, "state"),
        ({"percentage": 5}, "state"),
        ({"state": "percentage"}, "percentage"),
        ({"state": "percentage", "percentage": None}, "percentage"),
        ({"state": "percentage", "percentage": True}, "percentage"),
        ({"state": "percentage", "percentage": "5"}, "percentage"),
        ({"state": "percentage", "percentage": [5]}, "percentage"),
        ({"state": "percentage", "percentage": -0.001}, "percentage"),
        ({"state": "percentage", "percentage": 100.001}, "percentage"),
        ({"state": "percentage", "percentage": 1e300}, "percentage"),
        ({"state": "on", "percentage": 100}, "percentage"),
        ({"state": "off", "percentage": 0}, "percentage"),
        ({"state": "on", "percentage": None}, "percentage"),
        ({"state": "on", "projects": ["p"]}, "projects"),
    ],
)
def test_what_is_no_change_is_refused(admin: Api, body: Any, field: str) -> None:
    """Exactly one of the three forms is taken; of the others the field that is wrong is named, and nothing changes."""
    document = problem(put(admin, body), 422, "invalid")
    assert document["errors"][0]["field"] == field
    assert admin.get(FLAG).json()["state"] == "on"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "05"])
def test_what_is_no_number_is_refused(admin: Api, number: str) -> None:
    """What JSON does not know as a number is no JSON."""
    body = f'{{"state": "percentage", "percentage": {number}}}'
    problem(admin.request("PUT", FLAG, content=body.encode()), 400, "bad_json")


@pytest.mark.parametrize("name", ["push", "SINGLE_SESSION", "single_session_enabled%00", "%20", "x" * 300])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_unknown_flag_is_not_found(admin: Api, method: str, name: str) -> None:
    """Names that are no flag are 404, whatever they are made of."""
    body = {"json": {"state": "on"}} if method == "PUT" else {}
    problem(admin.request(method, f"{EVERY}/{name}", **body), 404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("GET", EVERY), ("GET", FLAG), ("PUT", FLAG)])
def test_the_scope_is_needed(admin: Api, method: str, path: str) -> None:
    """Without `admin` it is 403, without a token 401."""
    body = {"json": {"state": "off"}} if method == "PUT" else {}
    other = admin.acting(scopes=("sessions:read", "sessions:write", "sessions:audit", "archive:read"))
    assert problem(other.request(method, path, **body), 403, "forbidden")["scope"] == "admin"
    problem(admin.request(method, path, headers={"Authorization": ""}, **body), 401, "unauthenticated")
    assert admin.get(FLAG).json()["state"] == "on"


def test_only_one_flag_leaves_something_to_settle(admin: Api) -> None:
    """A change of the single-session flag says how many it settled; the others have nothing to say."""
    assert put(admin, {"state": "on"}, f"{EVERY}/single_session_enabled").json()["settled"] == 0
    assert "settled" not in put(admin, {"state": "on"}).json()


def test_locking_follows_its_flag(admin: Api) -> None:
    """The next start after a change is made by the strategy that the flag says, for each project by its share."""

    def starts(strategy: str) -> float:
        text = admin.http.get(f"{admin.url}/metrics").text
        start = f'sessioncast_lock_acquisitions_total{{strategy="{strategy}"}} '
        return next((float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)), 0.0)

    # On SQLite one writer comes after another, and there is nothing to choose.
    unlocked = "pessimistic" if admin.database == "sqlite" else "optimistic"
    work = admin.work()
    for state, strategy in (("off", unlocked), ("on", "pessimistic")):
        put(admin, {"state": state}, f"{EVERY}/pessimistic_locking_enabled")
        before = starts(strategy)
        work.session(phase={"off": "plan", "on": "run"}[state])
        assert starts(strategy) == before + 1
