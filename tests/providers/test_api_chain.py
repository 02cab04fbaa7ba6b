"""A session's chain over HTTP."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.api import Api, problem
from support.chains import ANOTHER_ID, Chain, figures, given


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


def test_an_empty_chain_has_no_head(chain: Chain) -> None:
    """Before the first provider session there is nothing to page, to resume, or to go stale."""
    assert chain.chain() == {"data": [], "next": None, "head": None, "stale_at": None}


def test_the_seeds_story(chain: Chain) -> None:
    """Build gives A; metadata resumes A and gets B; compact resumes B and gets C; the next update is told C."""
    ids: list[str] = []
    for operation, name in (("build", "A"), ("metadata", "B"), ("compact", "C")):
        decision = chain.decided()
        assert decision["decision"] == ("resume" if ids else "fresh")
        assert decision.get("provider_session_id") == (ids[-1] if ids else None)
        row = chain.opened(operation, fence=decision["fence"], **({"resumed_from": ids[-1]} if ids else {}))
        ids.append(given(name))
        assert chain.ended(row, new_provider_session_id=ids[-1])["provider_session_id"] == ids[-1]
        assert chain.head_id() == ids[-1]
    assert chain.decided()["provider_session_id"] == ids[2]
    data = chain.chain()["data"]
    assert [(row["operation"], row["resumed_from"], row["provider_session_id"]) for row in data] == [
        ("build", None, ids[0]),
        ("metadata", ids[0], ids[1]),
        ("compact", ids[1], ids[2]),
    ]


def test_the_seeds_story_with_one_id(chain: Chain) -> None:
    """A provider that keeps its id is resumed with it each time; each use is a row, and the newest is the head."""
    only = given("A")
    rows: list[dict[str, Any]] = []
    for operation in ("build", "metadata", "compact"):
        decision = chain.decided()
        row = chain.opened(operation, fence=decision["fence"], **({"resumed_from": only} if rows else {}))
        rows.append(chain.ended(row, new_provider_session_id=only))
        assert chain.chain()["head"] == rows[-1]
    decision = chain.decided()
    assert (decision["provider_session_id"], decision["id"]) == (only, rows[-1]["id"])


def test_pages_are_oldest_first(chain: Chain) -> None:
    """Pages of any size show each once, newest last, with the same head on each."""
    rows = [chain.opened(iteration=number) for number in range(7)]
    head = chain.link("A")
    assert chain.chain()["data"] == [*rows, head]
    for limit in (1, 3, 8):
        found: list[Any] = []
        params: dict[str, Any] = {"limit": limit}
        while True:
            page = chain.chain(**params)
            assert page["head"] == head
            found += page["data"]
            if page["next"] is None:
                break
            assert len(page["data"]) == limit
            params["after"] = page["next"]
        assert found == [*rows, head]
    times = [datetime.fromisoformat(row["started_at"]) for row in rows]
    assert times == sorted(set(times))


def test_it_says_when_its_head_is_too_old(chain: Chain) -> None:
    """A day after the last use, which every step is that is told."""
    row = chain.link("A")
    first = chain.chain()
    last_used = datetime.fromisoformat(row["last_used_at"])
    assert datetime.fromisoformat(first["stale_at"]) == last_used + timedelta(days=1)
    chain.ended(chain.opened(resumed_from=row["provider_session_id"]))
    assert chain.chain()["stale_at"] > first["stale_at"]


def test_what_did_not_change_is_not_sent_again(chain: Chain) -> None:
    """With its tag it is 304 until something of the chain changes; signs of life, other sessions and output are not."""
    row = chain.opened()
    tag = {"If-None-Match": chain.api.get(f"{chain.path}/chain").headers["etag"]}
    chain.patched(row)
    Chain.begin(chain.api, work=chain.work, phase="plan").link("B")
    chain.api.ok(chain.api.post(f"{chain.path}/output", {"chunks": [{"stream": "log", "text": "x"}]}), 200)
    unchanged = chain.api.get(f"{chain.path}/chain", headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    chain.patched(row, usage={"tokens": 1})
    changed = chain.api.get(f"{chain.path}/chain", headers=tag)
    assert changed.json()["data"][0]["usage"]["tokens"] == 1


def test_min_position_is_obeyed(chain: Chain) -> None:
    """A read that names the position of a change sees it."""
    answer = chain.open()
    page = chain.chain(min_position=answer.headers["X-Position"])
    assert page["data"] == [answer.json()]


def test_the_head_is_shown_wherever_the_session_is(chain: Chain) -> None:
    """The session, its task, its lookup and its export show the newest id at once, also to who has their tags."""
    api, task = chain.api, f"/v1/tasks/{chain.work.task}"
    shown: dict[str, Callable[[Any], Any]] = {
        chain.path: lambda body: body,
        task: lambda body: body["sessions"]["run"],
        f"{task}/sessions": lambda body: body["data"][0],
        f"{chain.path}/export": lambda body: body["session"],
    }
    tags: dict[str, str] = {}
    for name in "AB":
        new = given(name)
        chain.patched(chain.opened(), new_provider_session_id=new)
        for path, session in shown.items():
            answer = api.get(path, headers={"If-None-Match": tags.get(path, '"none"')})
            assert session(api.ok(answer, 200))["head_provider_session_id"] == new, path
            tags[path] = answer.headers.get("etag", '"none"')
    for path in (chain.path, task, f"{task}/sessions"):
        assert api.get(path, headers={"If-None-Match": tags[path]}).status_code == 304


def test_it_is_exported(chain: Chain) -> None:
    """The session's download has the chain and what it used, also when the session was deleted."""
    rows = [chain.link("A", usage={"tokens": 3, "cost_usd": 0.5}), chain.opened()]
    chain.api.delete(chain.path)
    found = chain.api.ok(chain.api.get(f"{chain.path}/export"), 200)
    assert found["chain"] == rows
    assert found["usage"]["total_tokens"] == 3
    assert (found["usage"]["total_cost"], found["usage"]["cost_known"]) == (0.5, False)


def test_a_deleted_sessions_chain_still_reads(chain: Chain) -> None:
    """Soft-deleted is not forgotten: chain and head are as they were."""
    row = chain.link("A")
    before = chain.chain()
    chain.api.delete(chain.path)
    assert chain.chain() == before
    assert before["head"] == row


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"limit": "0"}, 422, "invalid"),
        ({"limit": "201"}, 422, "invalid"),
        ({"limit": "x"}, 422, "invalid"),
        ({"after": "x"}, 400, "bad_cursor"),
        ({"after": ""}, 400, "bad_cursor"),
        ({"min_position": "x"}, 400, "bad_cursor"),
        ({"unknown": "1"}, 422, "invalid"),
    ],
)
def test_bad_parameters_are_refused(chain: Chain, params: dict[str, str], status: int, code: str) -> None:
    """Each with the code of its mistake."""
    problem(chain.api.get(f"{chain.path}/chain", params=params), status, code)


def test_an_unknown_session_has_none(api: Api) -> None:
    """404."""
    for wanted in (ANOTHER_ID, "x"):
        problem(api.get(f"/v1/sessions/{wanted}/chain"), 404, "not_found")


def test_the_length_of_a_chain_costs_no_statements(chain: Chain) -> None:
    """Each request about a chain of sixty takes as many statements as with one of two."""

    def step() -> dict[str, float]:
        """What each kind of request takes, with a head to decide about and a failure to count."""
        costs = {}

        def cost(name: str, fn: Any) -> Any:
            before = sum(value for key, value in figures(chain.api).items() if key[0] == "request_statements_sum")
            value = fn()
            after = sum(value for key, value in figures(chain.api).items() if key[0] == "request_statements_sum")
            costs[name] = after - before
            return value

        decision = cost("resume", chain.decided)
        row = cost("open", lambda: chain.opened(resumed_from=decision["provider_session_id"], fence=decision["fence"]))
        cost("failed", lambda: chain.failed(row, "locked"))
        cost("usage", lambda: chain.patched(row, usage={"tokens": 1}))
        cost("end", lambda: chain.ended(row, new_provider_session_id=given("N"), structure_fingerprint={"a": "b"}))
        cost("chain", chain.chain)
        cost("audit", chain.audit)
        cost("metrics", lambda: chain.api.ok(chain.api.get(f"{chain.path}/metrics"), 200))
        return costs

    chain.link("A", structure_fingerprint={"a": "b"})
    step()
    few = step()
    for _ in range(58):
        chain.link("B", structure_fingerprint={"a": "b"})
    assert step() == few
    assert 0 not in few.values()
    assert max(few.values()) <= 24, few
