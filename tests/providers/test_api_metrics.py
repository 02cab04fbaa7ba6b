"""What provider sessions used, added up by task, session, milestone and project."""

from fractions import Fraction
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.api import Api, Work, problem
from support.chains import ANOTHER_ID, Chain

NOTHING = {
    "total_tokens": 0,
    "total_cached_tokens": 0,
    "total_turns": 0,
    "total_cost": 0.0,
    "cost_known": True,
    "num_iterations": 0,
    "avg_tokens_per_iteration": 0.0,
}
SCOPES = ("task", "session", "project")


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def path_of(chain: Chain, scope: str) -> str:
    """Where the totals of a scope are."""
    return {
        "task": f"/v1/tasks/{chain.work.task}/metrics",
        "session": f"{chain.path}/metrics",
        "project": f"/v1/projects/{chain.work.project}/metrics",
    }[scope]


def milestone_path(work: Work, label: str) -> str:
    """Where the totals of a milestone are."""
    return f"/v1/projects/{work.project}/milestones/{quote(label, safe='')}/metrics"


def totals(api: Api, path: str, **params: Any) -> dict[str, Any]:
    """The totals without the rows."""
    found = api.ok(api.get(path, params=params), 200)
    return {name: found[name] for name in NOTHING}


def test_the_seeds_numbers(chain: Chain) -> None:
    """Five iterations, 262,189 tokens, ten turns: 52,437.8 on average, in every scope."""
    for number, tokens in enumerate((50_000, 52_189, 55_000, 52_000, 53_000)):
        row = chain.opened("iteration", iteration=number)
        chain.ended(row, usage={"tokens": tokens, "cached_tokens": 1, "turns": 2, "cost_usd": 0.0})
    for scope in SCOPES:
        found = totals(chain.api, path_of(chain, scope))
        expected = {"total_tokens": 262_189, "total_cached_tokens": 5, "total_turns": 10, "num_iterations": 5}
        assert found == NOTHING | expected | {"avg_tokens_per_iteration": 52_437.8}, scope


def test_without_rows_all_is_zero(chain: Chain) -> None:
    """Zeros, an empty page, and nothing unknown; for a milestone that nothing has, too."""
    for path in (*(path_of(chain, scope) for scope in SCOPES), milestone_path(chain.work, "nothing has it")):
        assert chain.api.ok(chain.api.get(path), 200) == NOTHING | {"sessions": [], "next": None}


def test_what_is_unknown_counts_nothing(chain: Chain) -> None:
    """Nulls are added as zero; one unknown cost makes the cost unknown, and does not make it nothing."""
    first, second = chain.opened(), chain.opened()
    path = path_of(chain, "task")
    assert totals(chain.api, path) == NOTHING | {"num_iterations": 2, "cost_known": False}
    chain.patched(first, usage={"tokens": 10, "cost_usd": 0.1})
    found = totals(chain.api, path)
    assert (found["total_tokens"], found["total_cost"], found["cost_known"]) == (10, 0.1, False)
    assert found["avg_tokens_per_iteration"] == 5
    chain.patched(second, usage={"cost_usd": 0})
    assert totals(chain.api, path)["cost_known"] is True
    chain.patched(first, usage={"cost_usd": None})
    found = totals(chain.api, path)
    assert (found["total_cost"], found["cost_known"]) == (0.0, False)


def test_open_failed_and_abandoned_ones_count(chain: Chain) -> None:
    """What was used was used, however it ended, forks included."""
    chain.patched(chain.opened(), usage={"tokens": 1})
    chain.ended(chain.opened(), usage={"tokens": 10}, is_resumable=False)
    chain.ended(chain.opened(fork=True), usage={"tokens": 100})
    row = chain.opened(lease_s=1)
    chain.patched(row, usage={"tokens": 1000})
    assert chain.closed(row)["state"] == "abandoned"
    found = totals(chain.api, path_of(chain, "task"))
    assert (found["total_tokens"], found["num_iterations"]) == (1111, 4)


def test_cents_add_up(chain: Chain) -> None:
    """Ten times a tenth is one, and a billionth beside a million is not lost."""
    for _ in range(10):
        chain.ended(chain.opened(), usage={"cost_usd": 0.1})
    assert totals(chain.api, path_of(chain, "task"))["total_cost"] == 1.0
    chain.ended(chain.opened(), usage={"cost_usd": 10**6})
    chain.ended(chain.opened(), usage={"cost_usd": 0.000000001})
    assert totals(chain.api, path_of(chain, "task"))["total_cost"] == float(Fraction(1_000_001) + Fraction(1, 10**9))


def test_the_largest_amounts_add_up(chain: Chain) -> None:
    """Sums of what is allowed stay exact whole numbers."""
    for _ in range(12):
        chain.ended(chain.opened(), usage={"tokens": 10**12, "turns": 10**12, "cost_usd": 10**6})
    found = totals(chain.api, path_of(chain, "project"))
    assert (found["total_tokens"], found["total_turns"]) == (12 * 10**12, 12 * 10**12)
    assert (found["total_cost"], found["avg_tokens_per_iteration"]) == (12e6, 1e12)


def test_each_scope_has_its_own(api: Api) -> None:
    """A session's are its own, a task's those of all its sessions, a project's all, also of milestones, and no other
    project's."""
    work = api.work()
    one, two = Chain.begin(api, work=work, phase="plan"), Chain.begin(api, work=work, phase="run")
    task = api.ok(api.post(f"/v1/projects/{work.project}/tasks", {"title": "U"}), 201)["id"]
    other = Chain.begin(api, work=Work(api, work.project, task))
    elsewhere = Chain.begin(api)
    amounts = {one.id: 1, two.id: 10, other.id: 100, elsewhere.id: 1000}
    for chain in (one, two, other, elsewhere):
        chain.ended(chain.opened(), usage={"tokens": amounts[chain.id]})
    one.ended(one.opened(milestone="M"), usage={"tokens": 10_000})

    def tokens(path: str) -> int:
        found: int = totals(api, path)["total_tokens"]
        return found

    assert tokens(path_of(one, "session")) == 10_001
    assert tokens(path_of(two, "session")) == 10
    assert tokens(path_of(one, "task")) == 11
    assert tokens(path_of(other, "task")) == 100
    assert tokens(path_of(one, "project")) == 10_111
    assert tokens(milestone_path(work, "M")) == 10_000
    assert tokens(path_of(elsewhere, "project")) == 1000


def test_a_milestone_is_its_tasks_and_its_own(api: Api) -> None:
    """Its totals are of the tasks that have the label now, and of what was begun for the label itself."""
    work = api.work()
    chain = Chain.begin(api, work=work)
    chain.ended(chain.opened(), usage={"tokens": 1})
    chain.ended(chain.opened(milestone="M"), usage={"tokens": 10})
    assert totals(api, milestone_path(work, "M"))["total_tokens"] == 10
    tag = {"If-None-Match": api.get(milestone_path(work, "M")).headers["etag"]}
    api.ok(api.patch(f"/v1/tasks/{work.task}", {"milestone": "M"}), 200)
    answer = api.get(milestone_path(work, "M"), headers=tag)
    assert api.ok(answer, 200)["total_tokens"] == 11
    assert [row["milestone"] for row in answer.json()["sessions"]] == [None, "M"]
    api.ok(api.patch(f"/v1/tasks/{work.task}", {"milestone": "N"}), 200)
    assert totals(api, milestone_path(work, "M"))["total_tokens"] == 10
    assert totals(api, milestone_path(work, "N"))["total_tokens"] == 1
    chain.ended(chain.opened(milestone="N"), usage={"tokens": 5})
    assert totals(api, milestone_path(work, "N")) == totals(api, path_of(chain, "project")) | {
        "total_tokens": 6,
        "num_iterations": 2,
        "avg_tokens_per_iteration": 3.0,
    }


@pytest.mark.parametrize("label", ["M 1", "ä/ö", "100 %?#&=+", "x" * 200, "' OR 1=1 --", "."])
def test_any_label_can_be_asked_for(api: Api, label: str) -> None:
    """By the project's parameter whatever its characters; by the path unless it has a slash or is all dots."""
    chain = Chain.begin(api)
    chain.ended(chain.opened(milestone=label), usage={"tokens": 3})
    project = path_of(chain, "project")
    assert totals(api, project, milestone=label)["total_tokens"] == 3
    assert totals(api, project, milestone="other")["total_tokens"] == 0
    if "/" not in label and label != ".":
        assert totals(api, milestone_path(chain.work, label))["total_tokens"] == 3


@pytest.mark.parametrize("label", ["%00", "%ff", "x" * 201, "%F0%9F%98%80", "a%00b"])
def test_a_label_that_nothing_can_have_is_no_failure(api: Api, label: str) -> None:
    """Zeros, or a refusal that says what is wrong, never a failure."""
    work = api.work()
    answer = api.get(f"/v1/projects/{work.project}/milestones/{label}/metrics")
    assert answer.status_code in (200, 400, 404, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["num_iterations"] == 0
    answer = api.get(f"/v1/projects/{work.project}/metrics?milestone={label}")
    assert answer.status_code in (200, 400, 422), answer.text


def test_rows_are_pages_by_their_start(chain: Chain) -> None:
    """Each page has the totals of all, and the rows are in the order in which they began, each once."""
    other = Chain.begin(chain.api, work=chain.work, phase="plan")
    rows = [(chain, other)[number % 2].opened(iteration=number) for number in range(7)]
    for scope, expected in (("task", rows), ("project", rows), ("session", rows[::2])):
        path = path_of(chain, scope)
        whole = chain.api.ok(chain.api.get(path), 200)
        assert sorted(whole["sessions"], key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])
        begun = [(row["started_at"], row["id"]) for row in whole["sessions"]]
        assert begun == sorted(begun)
        found: list[Any] = []
        params: dict[str, Any] = {"limit": 2}
        while True:
            page = chain.api.ok(chain.api.get(path, params=params), 200)
            assert {name: page[name] for name in NOTHING} == {name: whole[name] for name in NOTHING}
            found += page["sessions"]
            if page["next"] is None:
                break
            params["after"] = page["next"]
        assert found == whole["sessions"]


def test_a_page_has_200_unless_it_is_told(chain: Chain) -> None:
    """The default is the longest page; the totals are of all in any case."""
    for number in range(205):
        chain.opened(iteration=number)
    page = chain.api.ok(chain.api.get(path_of(chain, "task")), 200)
    assert (len(page["sessions"]), page["num_iterations"]) == (200, 205)
    rest = chain.api.ok(chain.api.get(path_of(chain, "task"), params={"after": page["next"]}), 200)
    assert (len(rest["sessions"]), rest["next"]) == (5, None)


def test_what_did_not_change_is_not_sent_again(chain: Chain) -> None:
    """With its tag it is 304 until something that is in it changes."""
    row = chain.opened()
    other = Chain.begin(chain.api)
    paths = [path_of(chain, scope) for scope in SCOPES]
    tags = {path: {"If-None-Match": chain.api.get(path).headers["etag"]} for path in paths}
    other.opened()
    chain.patched(row)
    assert [chain.api.get(path, headers=tags[path]).status_code for path in paths] == [304, 304, 304]
    chain.patched(row, usage={"tokens": 1})
    assert [chain.api.get(path, headers=tags[path]).status_code for path in paths] == [200, 200, 200]


def test_of_deleted_and_replaced_sessions_too(api: Api) -> None:
    """What a session used before it was replaced or deleted stays in the totals of its task and its own."""
    chain = Chain.begin(api)
    chain.ended(chain.opened(), usage={"tokens": 5})
    wish: dict[str, Any] = {"on_conflict": "replace", "confirm": {"session_id": chain.id}}
    new = Chain(api, chain.work, api.ok(chain.work.start("m-2", **wish), 201)["session"]["id"])
    new.ended(new.opened(), usage={"tokens": 7})
    api.delete(new.path)
    assert totals(api, path_of(chain, "session"))["total_tokens"] == 5
    assert totals(api, path_of(new, "session"))["total_tokens"] == 7
    assert totals(api, path_of(chain, "task"))["total_tokens"] == 12


def test_bad_requests(chain: Chain) -> None:
    """Unknown scopes are 404, bad parameters 422 or 400."""
    api = chain.api
    for path in (f"/v1/tasks/{ANOTHER_ID}", "/v1/tasks/x", f"/v1/sessions/{ANOTHER_ID}", "/v1/sessions/x"):
        problem(api.get(f"{path}/metrics"), 404, "not_found")
    for path in ("/v1/projects/no-such", "/v1/projects/no-such/milestones/m", "/v1/projects/N%20O"):
        problem(api.get(f"{path}/metrics"), 404, "not_found")
    for scope in SCOPES:
        problem(api.get(path_of(chain, scope), params={"limit": "201"}), 422, "invalid")
        problem(api.get(path_of(chain, scope), params={"unknown": "1"}), 422, "invalid")
        problem(api.get(path_of(chain, scope), params={"after": "x"}), 400, "bad_cursor")
    problem(api.get(path_of(chain, "task"), params={"milestone": "m"}), 422, "invalid")


amounts = st.none() | st.integers(0, 10**12)
usages = st.fixed_dictionaries(
    {"tokens": amounts, "cached_tokens": amounts, "turns": amounts},
    optional={"cost_usd": st.none() | st.integers(0, 10**15).map(lambda nano: nano / 10**9)},
)


@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(usages, min_size=1, max_size=8))
def test_totals_are_the_sums_of_the_rows(api: Api, several: list[dict[str, Any]]) -> None:
    """Whatever is told, each scope says the exact sums, means and nearest floats of it."""
    chain = Chain.begin(api)
    for usage in several:
        chain.ended(chain.opened(), usage=usage)

    def total(name: str) -> int:
        return sum(usage.get(name) or 0 for usage in several)

    costs = [usage.get("cost_usd") for usage in several]
    exact = sum((Fraction(round(cost * 10**9), 10**9) for cost in costs if cost is not None), Fraction(0))
    expected = {
        "total_tokens": total("tokens"),
        "total_cached_tokens": total("cached_tokens"),
        "total_turns": total("turns"),
        "total_cost": float(exact),
        "cost_known": None not in costs,
        "num_iterations": len(several),
        "avg_tokens_per_iteration": float(Fraction(total("tokens"), len(several))),
    }
    for scope in SCOPES:
        assert totals(api, path_of(chain, scope)) == expected, scope
