"""Waits before trying again, by the cases that all clients share."""

from typing import Any

import pytest

from sessioncast import Limits
from sessioncast.backoff import Backoff
from support.conformance import cases


@pytest.mark.parametrize("case", cases("backoff"))
def test_waits(case: dict[str, Any]) -> None:
    """Waits double up to a bound, are spread, and never fall below what the server asked for."""
    steps = case["steps"]
    jitters = iter(step["jitter"] for step in steps)
    limits = Limits(backoff_base_s=case["base"], backoff_cap_s=case["cap"])
    backoff = Backoff(limits, jitter=lambda: float(next(jitters)))
    waits = []
    for step in steps:
        if step.get("reset"):
            backoff.reset()
        waits.append(backoff.next_s(step["asked"]))
    assert waits == pytest.approx(case["waits"])
