"""What may be resumed, and what it costs, by plain calls."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.providers.rules import (
    NANO,
    Link,
    ResumeTerms,
    Structure,
    Sums,
    Verdict,
    decide,
    digest,
    share_changed,
    stale_at,
    to_nano,
    to_usd,
)
from sessioncast_shared.providers import Decision, FreshReason

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TERMS = ResumeTerms()
QUICK = settings(max_examples=200, derandomize=True, deadline=None, database=None)

hashes = st.sampled_from(["h1", "h2", "h3"])
maps = st.dictionaries(st.sampled_from([f"p{number}" for number in range(8)]), hashes)
structures: st.SearchStrategy[Structure] = maps | st.text(min_size=1, max_size=200)
costs = st.floats(0, 10**6)


def link(**changes: Any) -> Link:
    """A head that is resumed unless something is changed about it."""
    usual: dict[str, Any] = {"provider_session_id": "A", "is_resumable": True, "failures": 0}
    usual |= {"last_used_at": NOW - timedelta(hours=1), "model_name": "m", "agent": "null"}
    return Link(**usual | changes)


def judged(head: Link | None, **changes: Any) -> Verdict:
    """The verdict about a head on the usual terms."""
    usual: dict[str, Any] = {"now": NOW, "enabled": True, "model_name": "m", "agent": "null", "changed": None}
    return decide(head, **usual | {"terms": TERMS} | changes)


def test_the_terms_are_the_promised_ones() -> None:
    """A day, three failures in a row, and three tenths of the paths."""
    assert ResumeTerms(86400, 3, 0.3) == TERMS


def test_a_good_head_is_resumed() -> None:
    """With nothing against it the head is resumed, and its age is told."""
    verdict = judged(link())
    assert (verdict.decision, verdict.reason, verdict.age_s) == (Decision.RESUME, None, 3600)


def test_without_a_head_there_is_nothing_to_resume() -> None:
    """A chain without a head begins afresh: for want of one, or because resuming is off."""
    assert judged(None) == Verdict(FreshReason.NONE)
    assert judged(None, enabled=False) == Verdict(FreshReason.DISABLED)
    assert judged(None).decision is Decision.FRESH


@pytest.mark.parametrize(
    ("head", "now", "reason"),
    [
        (link(), {"enabled": False}, FreshReason.DISABLED),
        (link(is_resumable=False), {}, FreshReason.NOT_RESUMABLE),
        (link(failures=2), {}, None),
        (link(failures=3), {}, FreshReason.TOO_MANY_FAILURES),
        (link(failures=4), {}, FreshReason.TOO_MANY_FAILURES),
        (link(last_used_at=NOW - timedelta(hours=24) + timedelta(microseconds=1)), {}, None),
        (link(last_used_at=NOW - timedelta(hours=24)), {}, FreshReason.STALE),
        (link(model_name="other"), {}, FreshReason.PROVIDER_CHANGED),
        (link(agent='"a"'), {"agent": '"b"'}, FreshReason.PROVIDER_CHANGED),
        (link(agent='"a"'), {"agent": '"a"'}, None),
        (link(agent='"a"'), {"agent": "null"}, None),
        (link(agent="null"), {"agent": '"a"'}, None),
        (link(), {"changed": 0.3}, None),
        (link(), {"changed": 0.31}, FreshReason.STRUCTURE_CHANGED),
        (link(), {"changed": 1.0}, FreshReason.STRUCTURE_CHANGED),
        (link(), {"changed": 0.0}, None),
    ],
)
def test_a_head_is_left_alone_for_a_reason(head: Link, now: dict[str, Any], reason: FreshReason | None) -> None:
    """Each reason holds from its bound on, and not before it."""
    verdict = judged(head, **now)
    assert verdict.reason == reason
    assert verdict.decision is (Decision.RESUME if reason is None else Decision.FRESH)
    assert verdict.age_s == (NOW - head.last_used_at).total_seconds()


def test_a_clock_that_went_back_makes_no_negative_age() -> None:
    """A head that was used later than now is as young as can be."""
    assert judged(link(last_used_at=NOW + timedelta(hours=1))) == Verdict(None, 0.0)


@QUICK
@given(
    st.booleans(),
    st.integers(0, 5),
    st.integers(-(10**6), 10**6),
    st.sampled_from(["m", "n"]),
    st.booleans(),
    st.none() | st.floats(0, 1),
)
def test_it_resumes_only_when_nothing_is_against_it(
    is_resumable: bool, failures: int, age_s: int, model: str, enabled: bool, changed: float | None
) -> None:
    """Resume means: on, resumable, few failures, the same model, young, and little changed; anything else is fresh."""
    head = link(
        is_resumable=is_resumable, failures=failures, last_used_at=NOW - timedelta(seconds=age_s), model_name=model
    )
    good = enabled and is_resumable and failures < 3 and age_s < 86400 and model == "m"
    good = good and (changed is None or changed <= 0.3)
    assert (judged(head, enabled=enabled, changed=changed).decision is Decision.RESUME) is good


def test_an_id_is_stale_when_it_is_said_to_be() -> None:
    """What is told as the moment is the first one at which the decision is `stale`."""
    head = link()
    moment = stale_at(head.last_used_at, TERMS)
    assert judged(head, now=moment).reason is FreshReason.STALE
    assert judged(head, now=moment - timedelta(microseconds=1)).reason is None


@pytest.mark.parametrize(
    ("before", "now", "share"),
    [
        (None, "x", None),
        ("x", None, None),
        ("x", "x", 0.0),
        ("x", "y", 1.0),
        ({}, {}, 0.0),
        ({}, {"a": "1"}, 1.0),
        ({"a": "1", "b": "1"}, {"a": "1", "b": "2"}, 0.5),
        ({"a": "1", "b": "1"}, {"a": "1"}, 0.5),
        ({"a": "1"}, {"a": "1", "b": "1", "c": "1", "d": "1"}, 0.75),
        ({"a": "1"}, {"b": "1"}, 1.0),
        ({"a": "1"}, "x", 1.0),
        ({str(n): "1" for n in range(10)}, {str(n): "2" if n < 3 else "1" for n in range(10)}, 0.3),
    ],
)
def test_the_share_of_changed_paths(before: Structure | None, now: Structure | None, share: float | None) -> None:
    """Added, removed and changed paths count, over the paths that there were or are."""
    assert share_changed(before, now) == share


def test_three_of_ten_are_not_yet_too_many() -> None:
    """The share is compared as it is: with exactly 0.3 the head is still resumed, with a path more it is not."""
    ten = {str(number): "1" for number in range(10)}
    assert judged(link(), changed=share_changed(ten, ten | dict.fromkeys("012", "2"))).reason is None
    changed = share_changed(ten, ten | dict.fromkeys("0123", "2"))
    assert judged(link(), changed=changed).reason is FreshReason.STRUCTURE_CHANGED


@QUICK
@given(maps, maps)
def test_a_share_is_one_both_ways(before: dict[str, str], now: dict[str, str]) -> None:
    """It is from 0 to 1, the same backwards, 0 for what is equal only, and found again by the digest."""
    share = share_changed(before, now)
    assert share is not None
    assert 0 <= share <= 1
    assert share == share_changed(now, before)
    assert (share == 0) is (before == now)
    assert share_changed(before, digest(now)) == (0.0 if before == now else 1.0)


@QUICK
@given(structures, structures)
def test_a_digest_tells_structures_apart(one: Structure, other: Structure) -> None:
    """Equal ones have one digest, maps in any order; others have others; and it fits where it is kept."""
    assert (digest(one) == digest(other)) is (one == other)
    assert 1 <= len(digest(one)) <= 200
    if not isinstance(one, str):
        assert digest(dict(reversed(list(one.items())))) == digest(one)


def test_a_digest_is_the_promised_one() -> None:
    """Of a map it is SHA-256 of its JSON with sorted keys and no spaces, so that it holds over releases."""
    paths = {"b": "2", "ä": "1"}
    canonical = json.dumps(paths, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert digest(paths) == f"sha256:{hashlib.sha256(canonical).hexdigest()}"
    assert digest("opaque") == "opaque"


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        (0, 0),
        (0.0, 0),
        (1, NANO),
        (0.1, 10**8),
        (1e-9, 1),
        (0.5e-9, 0),
        (1.5e-9, 2),
        (2.5e-9, 2),
        (0.123456789, 123456789),
        (10**6, 10**15),
        (4.35, 4_350_000_000),
    ],
)
def test_a_cost_is_what_its_digits_say(usd: float, nano: int) -> None:
    """Nine decimals are kept, halves go to the even one, and no binary digit of the float gets in."""
    assert to_nano(usd) == nano


@QUICK
@given(st.integers(0, 10**15))
def test_no_billionth_is_lost(nano: int) -> None:
    """What was kept comes back the same when it is shown and told again."""
    assert to_nano(to_usd(nano)) == nano


@QUICK
@given(st.lists(costs, max_size=30))
def test_costs_add_up_exactly(several: list[float]) -> None:
    """The sum of what is kept is shown as the nearest float to the exact sum, in any order."""
    kept = [to_nano(cost) for cost in several]
    sums = Sums(len(kept), 0, 0, 0, sum(kept), len(kept))
    assert sums.totals()["total_cost"] == float(sum((Fraction(nano, NANO) for nano in kept), Fraction(0)))


def test_the_seeds_totals() -> None:
    """262,189 tokens in 5 iterations are 52,437.8 each."""
    totals = Sums(count=5, tokens=262_189, cached_tokens=0, turns=10, cost_nano=0, costs_known=5).totals()
    assert totals == {
        "total_tokens": 262_189,
        "total_cached_tokens": 0,
        "total_turns": 10,
        "total_cost": 0.0,
        "cost_known": True,
        "num_iterations": 5,
        "avg_tokens_per_iteration": 52_437.8,
    }


def test_nothing_adds_up_to_nothing() -> None:
    """Without rows all is zero, and nothing about the cost is unknown."""
    totals = Sums(0, 0, 0, 0, 0, 0).totals()
    assert totals["avg_tokens_per_iteration"] == 0
    assert totals["cost_known"] is True
    assert {totals[name] for name in ("total_tokens", "total_turns", "total_cost", "num_iterations")} == {0}


@QUICK
@given(st.integers(1, 10**6), st.integers(0, 10**15), st.integers(0, 10**6))
def test_a_mean_is_exact(count: int, tokens: int, known: int) -> None:
    """The mean is the nearest float to the exact one; one unknown cost makes the whole unknown."""
    totals = Sums(count, tokens, 0, 0, 0, min(known, count)).totals()
    assert totals["avg_tokens_per_iteration"] == float(Fraction(tokens, count))
    assert totals["cost_known"] is (known >= count)
