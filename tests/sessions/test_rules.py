"""The single-session rule by plain calls, row by row."""

from itertools import product
from typing import get_args

import pytest

from sessioncast_server.models.rules import Difference
from sessioncast_server.sessions.rules import Decision, OnConflict, decide, reason_of, status_when_replaced
from sessioncast_shared.phases import parse_phase
from sessioncast_shared.statuses import TERMINAL, Status, may_move

SAME, MINOR, CHANGED = Difference("same"), Difference("minor", ("version",)), Difference("changed", ("name",))

TITLES = {
    "plan": ["plan", "planning", "design"],
    "run": ["run", "implement", "implementation", "execute"],
    "verify": ["verify", "verification", "review", "test"],
}

# on_conflict, difference, confirmed id (the live one is "live") -> decision
TABLE = [
    ("ask", SAME, None, Decision.EXISTING),
    ("ask", SAME, "live", Decision.EXISTING),
    ("ask", SAME, "other", Decision.EXISTING),
    ("ask", CHANGED, None, Decision.CONFIRM),
    ("ask", CHANGED, "live", Decision.CONFIRM),
    ("ask", CHANGED, "other", Decision.CONFIRM),
    ("replace", SAME, None, Decision.EXISTING),
    ("replace", SAME, "live", Decision.EXISTING),
    ("replace", SAME, "other", Decision.EXISTING),
    ("replace", CHANGED, None, Decision.CONFIRM),
    ("replace", CHANGED, "live", Decision.REPLACE),
    ("replace", CHANGED, "other", Decision.CHANGED),
    ("restart", SAME, None, Decision.CONFIRM),
    ("restart", SAME, "live", Decision.REPLACE),
    ("restart", SAME, "other", Decision.CHANGED),
    ("restart", CHANGED, None, Decision.CONFIRM),
    ("restart", CHANGED, "live", Decision.REPLACE),
    ("restart", CHANGED, "other", Decision.CHANGED),
    *(
        ("reject", difference, confirmed, Decision.REJECT)
        for difference in (SAME, CHANGED)
        for confirmed in (None, "live", "other")
    ),
]


@pytest.mark.parametrize(("on_conflict", "difference", "confirmed", "expected"), TABLE)
def test_a_live_session_is_met_by_the_table(
    on_conflict: OnConflict, difference: Difference, confirmed: str | None, expected: Decision
) -> None:
    """With a live session the decision is that of the table's first fitting row."""
    assert decide(live_id="live", difference=difference, on_conflict=on_conflict, confirmed_id=confirmed) is expected


def test_the_table_is_whole() -> None:
    """Every combination of wish, difference and confirmation stands in the table once."""
    rows = [(on_conflict, difference.result, confirmed) for on_conflict, difference, confirmed, _ in TABLE]
    assert sorted(rows, key=str) == sorted(
        product(get_args(OnConflict), ("same", "changed"), (None, "live", "other")), key=str
    )


@pytest.mark.parametrize("on_conflict", list(get_args(OnConflict)))
@pytest.mark.parametrize("confirmed", [None, "gone"])
def test_nothing_live_is_created(on_conflict: OnConflict, confirmed: str | None) -> None:
    """An empty slot takes the new session whatever was wished or confirmed."""
    decision = decide(live_id=None, difference=None, on_conflict=on_conflict, confirmed_id=confirmed)
    assert decision is Decision.CREATE


@pytest.mark.parametrize(("on_conflict", "difference", "confirmed", "expected"), TABLE)
@pytest.mark.parametrize("treat_minor_as_change", [False, True])
def test_a_minor_difference_counts_as_the_caller_says(
    on_conflict: OnConflict,
    difference: Difference,
    confirmed: str | None,
    expected: Decision,
    treat_minor_as_change: bool,
) -> None:
    """A minor difference is decided like «same», or like «changed» when it is to be treated so; no other is touched."""
    counts_as = {True: CHANGED, False: SAME}[treat_minor_as_change]
    given = MINOR if difference is counts_as else difference
    decision = decide(
        live_id="live",
        difference=given,
        on_conflict=on_conflict,
        confirmed_id=confirmed,
        treat_minor_as_change=treat_minor_as_change,
    )
    assert decision is expected


def test_a_replacement_names_its_reason() -> None:
    """A replacement's reason is the difference that was found; without one it was a restart."""
    assert [reason_of(difference) for difference in (CHANGED, MINOR, SAME)] == [
        "model_changed",
        "model_minor_change",
        "restart",
    ]


@pytest.mark.parametrize(("old", "new"), list(product(Status, Status)))
def test_statuses_move_as_promised(old: Status, new: Status) -> None:
    """Active ones move to all but `pending`, terminal ones nowhere, and staying is always allowed."""
    active = {"pending", "running", "working", "waiting", "idle"}
    assert may_move(old, new) is (old == new or (old in active and new != "pending"))


def test_only_the_active_are_cancelled_by_replacement() -> None:
    """A replaced session is cancelled when it was active, and keeps its status when it had ended."""
    assert {status: status_when_replaced(status) for status in Status} == {
        status: status if status in TERMINAL else Status.CANCELLED for status in Status
    }


@pytest.mark.parametrize(("phase", "title"), [(phase, title) for phase, titles in TITLES.items() for title in titles])
def test_every_title_names_its_phase(phase: str, title: str) -> None:
    """Titles are taken in any case and with space around them."""
    for form in (title, title.upper(), title.title(), f"  {title}\t"):
        assert parse_phase(form) == phase


@pytest.mark.parametrize("title", ["", " ", "runs", "ru n", "plan\0", "ｐｌａｎ", "PLAN!", "tests"])
def test_other_titles_are_no_phase(title: str) -> None:
    """What is not in the table of titles is refused, and the titles are told."""
    with pytest.raises(ValueError, match="one of plan, planning, design, run"):
        parse_phase(title)
