"""Paces of polls, by the cases that all clients share."""

from typing import Any

import pytest

from sessioncast.streams.pace import Pace, is_stale
from support.conformance import cases


@pytest.mark.parametrize("case", cases("pace", "steps"))
def test_paces(case: dict[str, Any]) -> None:
    """What works is polled often, what is quiet ever more seldom, what has ended not at all."""
    pace = Pace(only_sessions=case["filter"] == "sessions")
    assert [pace.polled(step["statuses"], changed=step["changed"]) for step in case["steps"]] == case["paces"]


@pytest.mark.parametrize("case", cases("pace", "stale"))
def test_staleness(case: dict[str, Any]) -> None:
    """What was not heard of for twice its pace may be out of date."""
    assert is_stale(case["transport"], case["pace"], case["silent"]) is case["stale"]


@pytest.mark.parametrize("case", cases("pace", "interval"))
def test_intervals(case: dict[str, Any]) -> None:
    """A real interval is the pace give or take a tenth."""
    pace = Pace(only_sessions=True, jitter=lambda: float(case["jitter"]))
    pace.seconds = case["pace"]
    expected = case["interval"]
    assert pace.interval_s() == (expected if expected is None else pytest.approx(expected))


def test_what_is_heard_otherwise_begins_again() -> None:
    """Where polls have slowed down or ended, an event or a person's wish starts them at the first pace."""
    pace = Pace(only_sessions=True)
    assert pace.seconds == 2
    assert pace.polled(["completed"], changed=False) is None
    pace.again()
    assert pace.seconds == 2
    assert [pace.polled(["idle"], changed=False) for _ in range(2)] == [2, 3]
    pace.again()
    assert pace.polled(["idle"], changed=False) == 2
