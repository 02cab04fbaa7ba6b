"""Telling that an id could not be resumed, and being told what to do next."""

from typing import Any

import pytest

from support.api import Api, problem
from support.chains import Chain, fenced, given

COUNTED = ("locked", "timeout", "other")
FINAL = ("not_found", "corrupted")


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session with a head."""
    found = Chain.begin(api)
    found.link("A")
    return found


def head(chain: Chain) -> dict[str, Any]:
    """The chain's head."""
    found: dict[str, Any] = chain.chain()["head"]
    return found


@pytest.mark.parametrize("reason", FINAL)
def test_what_is_lost_is_lost(chain: Chain, reason: str) -> None:
    """The id is not resumable any more, and the same provider session goes on as a fresh start with a made id."""
    lost = head(chain)["provider_session_id"]
    decision, attempt = chain.taken()
    following = chain.failed(attempt, reason)
    assert following == {"decision": "fresh", "reason": "not_resumable", "fence": decision["fence"]}
    link = head(chain)
    assert (link["provider_session_id"], link["is_resumable"], link["resume_failure_count"]) == (lost, False, 1)
    row = chain.patched(attempt)
    assert (row["id"], row["resumed_from"], row["state"]) == (attempt["id"], None, "open")
    assert row["provider_session_id"] not in (lost, attempt["provider_session_id"])
    assert chain.row(attempt) == row
    assert (row["is_resumable"], row["resume_failure_count"]) == (True, 0)
    chain.ended(row, fence=following["fence"], usage={"tokens": 5})
    assert chain.head_id() == row["provider_session_id"]
    assert len(chain.chain()["data"]) == 2


@pytest.mark.parametrize("reason", COUNTED)
def test_three_failures_in_a_row_are_too_many(chain: Chain, reason: str) -> None:
    """Twice the same id is offered again, with the count at its link; the third time it is a fresh start."""
    link = head(chain)
    decision, attempt = chain.taken()
    for count in (1, 2):
        following = chain.failed(attempt, reason)
        assert following.pop("age_s") >= 0
        same = {"provider_session_id": link["provider_session_id"], "id": link["id"], "fence": decision["fence"]}
        assert following == {"decision": "resume", **same}
        assert head(chain)["resume_failure_count"] == count
        assert chain.row(attempt)["resumed_from"] == link["provider_session_id"]
    following = chain.failed(attempt, reason)
    assert (following["decision"], following["reason"]) == ("fresh", "too_many_failures")
    assert (head(chain)["is_resumable"], head(chain)["resume_failure_count"]) == (True, 3)
    row = chain.row(attempt)
    assert row["resumed_from"] is None
    chain.ended(row)
    assert chain.head_id() == row["provider_session_id"]
    assert chain.decided()["provider_session_id"] == row["provider_session_id"]


def test_failures_count_over_updates(chain: Chain) -> None:
    """Failures of several updates in a row are counted together: the third is too many, and so is it for the next."""
    for expected in ("resume", "resume", "fresh"):
        _, attempt = chain.taken()
        assert chain.failed(attempt, "locked")["decision"] == expected
        chain.ended(attempt, is_resumable=False)
    assert chain.decided()["reason"] == "too_many_failures"


def test_a_success_begins_the_count_anew(chain: Chain) -> None:
    """Three in a row are meant: after a resume that worked, with the same id or another, the count is nothing."""
    same = head(chain)["provider_session_id"]
    for new in (same, given("B")):
        _, attempt = chain.taken()
        chain.failed(attempt, "locked")
        chain.failed(attempt, "timeout")
        chain.ended(attempt, new_provider_session_id=new)
        assert (head(chain)["provider_session_id"], head(chain)["resume_failure_count"]) == (new, 0)
        assert chain.decided(fork=True)["decision"] == "resume"


def test_a_fork_that_worked_begins_the_count_anew(chain: Chain) -> None:
    """A branch that resumed the head has shown that it can be resumed."""
    link = head(chain)
    _, attempt = chain.taken()
    chain.failed(attempt, "locked")
    chain.failed(attempt, "locked")
    branch = chain.opened("branch", fork=True, resumed_from=link["provider_session_id"])
    chain.patched(branch, new_provider_session_id=given("F"))
    assert head(chain)["resume_failure_count"] == 0
    assert chain.failed(attempt, "locked")["decision"] == "resume"


def test_a_fork_counts_for_itself(chain: Chain) -> None:
    """That an id is busy is what branches of it must expect: it is counted at the branch, which begins afresh after
    three, and says nothing of the chain."""
    link = head(chain)
    branch = chain.opened("branch", fork=True, resumed_from=link["provider_session_id"])
    for count in (1, 2):
        following = chain.failed(branch, "locked")
        assert (following["decision"], following["provider_session_id"]) == ("resume", link["provider_session_id"])
        assert chain.row(branch)["resume_failure_count"] == count
        assert head(chain) == link
    assert chain.failed(branch, "timeout")["reason"] == "too_many_failures"
    row = chain.row(branch)
    assert (row["resumed_from"], row["resume_failure_count"], row["is_resumable"]) == (None, 0, True)
    assert chain.ended(branch)["provider_session_id"] != link["provider_session_id"]
    assert head(chain) == link
    assert chain.decided()["provider_session_id"] == link["provider_session_id"]


def test_what_is_lost_to_a_fork_is_lost_to_all(chain: Chain) -> None:
    """An id that is gone is gone for the chain too; the branch goes on as a fresh start, and the head stays."""
    link = head(chain)
    branch = chain.opened("branch", fork=True, resumed_from=link["provider_session_id"])
    assert chain.failed(branch, "corrupted")["reason"] == "not_resumable"
    assert chain.row(branch)["resumed_from"] is None
    chain.ended(branch)
    assert (head(chain)["id"], head(chain)["is_resumable"]) == (link["id"], False)
    assert chain.decided()["reason"] == "not_resumable"


def test_a_fork_resumes_what_it_branched_from(chain: Chain) -> None:
    """The chain may have gone on meanwhile: a branch is told its own link again, not the new head."""
    link = head(chain)
    branch = chain.opened("branch", fork=True, resumed_from=link["provider_session_id"])
    chain.link("B")
    following = chain.failed(branch, "locked")
    assert (following["provider_session_id"], following["id"]) == (link["provider_session_id"], link["id"])
    assert chain.row(branch)["resumed_from"] == link["provider_session_id"]


def test_a_fresh_start_has_nothing_to_fail(chain: Chain) -> None:
    """One that begins afresh already is told to do so once more, and nothing is counted, told or written."""
    _, attempt = chain.taken()
    following = chain.failed(attempt, "not_found")
    before = (chain.chain(), chain.audit(), chain.events())
    for reason in ("not_found", "locked"):
        again = chain.failed(attempt, reason)
        assert (again["decision"], again["fence"]) == ("fresh", following["fence"])
    assert (chain.chain(), chain.audit(), chain.events()) == before


def test_an_older_link_is_never_the_answer(chain: Chain) -> None:
    """When the newest id is lost the next start is fresh, though an older one may still be there."""
    newest = chain.link("B")
    _, attempt = chain.taken()
    assert attempt["resumed_from"] == newest["provider_session_id"]
    assert chain.failed(attempt, "not_found")["decision"] == "fresh"


def test_who_wanted_an_older_link_is_told_the_head(chain: Chain) -> None:
    """A failure with an id that is the head no more is counted there; the answer is the head, which the attempt has."""
    old = head(chain)
    newest = chain.link("B")
    attempt = chain.opened(resumed_from=old["provider_session_id"])
    following = chain.failed(attempt, "not_found")
    assert following["provider_session_id"] == newest["provider_session_id"]
    assert chain.row(old)["is_resumable"] is False
    assert head(chain)["is_resumable"] is True
    row = chain.row(attempt)
    assert row["resumed_from"] == row["provider_session_id"] == newest["provider_session_id"]


def test_the_link_itself_may_be_named(chain: Chain) -> None:
    """Who has not opened anything yet names the provider session that has the id: that is counted there."""
    link = head(chain)
    assert chain.failed(link, "locked")["decision"] == "resume"
    assert head(chain)["resume_failure_count"] == 1
    assert chain.failed(link, "corrupted")["reason"] == "not_resumable"
    assert head(chain)["is_resumable"] is False


def test_what_is_lost_stays_lost(chain: Chain) -> None:
    """A link that was lost is not resumable again because of a later failure of another kind."""
    link = head(chain)
    chain.failed(link, "not_found")
    assert chain.failed(link, "locked")["reason"] == "not_resumable"
    assert head(chain)["resume_failure_count"] == 2


def test_after_a_fresh_start_the_provider_gives_an_id(chain: Chain) -> None:
    """The id that it gives out is the head, with a clean record; the fallback is one row in the chain."""
    _, attempt = chain.taken()
    chain.failed(attempt, "not_found")
    new = given("B")
    chain.ended(attempt, new_provider_session_id=new)
    assert (head(chain)["provider_session_id"], head(chain)["id"]) == (new, attempt["id"])
    assert (head(chain)["is_resumable"], head(chain)["resume_failure_count"]) == (True, 0)
    assert len(chain.chain()["data"]) == 2


def test_a_made_id_of_a_fresh_start_that_failed_is_not_offered(chain: Chain) -> None:
    """When the fresh start ends in an error its made id was never told by a provider: the head stays the lost link."""
    link = head(chain)
    _, attempt = chain.taken()
    chain.failed(attempt, "not_found")
    chain.ended(attempt, is_resumable=False)
    assert head(chain)["id"] == link["id"]
    assert chain.decided()["reason"] == "not_resumable"


def test_an_old_fence_is_refused(chain: Chain) -> None:
    """Who has lost the session counts nothing and is told nothing: 409 `fenced`, with a fence named or not."""
    decision, attempt = chain.taken()
    chain.ended(attempt, is_resumable=False)
    lost = chain.opened(resumed_from=decision["provider_session_id"])
    chain.decided()
    problem(chain.fail(lost, "not_found", headers=fenced(decision["fence"])), 409, "fenced")
    problem(chain.fail(lost, "not_found"), 409, "fenced")
    problem(chain.fail(lost, "not_found", headers=fenced(99)), 422, "invalid")
    problem(chain.fail(lost, "not_found", headers={"X-Session-Fence": "x"}), 422, "invalid")
    assert (head(chain)["is_resumable"], head(chain)["resume_failure_count"]) == (True, 0)


@pytest.mark.parametrize("reason", ["", "x", "NOT_FOUND", None, 1, True, [], {}, "locked\0", "l" * 300])
def test_a_reason_is_one_of_five(chain: Chain, reason: Any) -> None:
    """Anything else is 422 that names the field and what it may be, and counts nothing."""
    found = problem(chain.fail(head(chain), reason), 422, "invalid")
    assert found["errors"][0]["field"] == "reason"
    assert head(chain)["resume_failure_count"] == 0


def test_nothing_else_may_be_told(chain: Chain) -> None:
    """A missing reason and unknown fields are 422."""
    path = f"/v1/provider-sessions/{head(chain)['id']}/resume-failed"
    problem(chain.api.post(path, {}), 422, "invalid")
    problem(chain.api.post(path, {"reason": "locked", "more": 1}), 422, "invalid")


def test_a_key_counts_once(chain: Chain) -> None:
    """A repeated report is one failure, and gets the same decision."""
    link = head(chain)
    first, again = (chain.fail(link, "locked", headers=fenced(key="k")) for _ in range(2))
    assert (first.status_code, first.content) == (200, again.content)
    assert head(chain)["resume_failure_count"] == 1
