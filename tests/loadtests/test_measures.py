"""Histograms and counts of several generators are one."""

import json

import pytest

from swarm.measures import Measures


def measured(*milliseconds: float) -> Measures:
    measures = Measures()
    for value in milliseconds:
        measures["lookup"].record(value / 1000)
    return measures


def test_generators_merge_into_one() -> None:
    """Counts, latencies, refusals and errors of two generators add up over JSON."""
    one, other = measured(*[1] * 98), measured(200, 300)
    other.fail("lookup", "500", "text")
    other["replace"].outcomes["409 session_changed"] = 3
    other["replace"].resent = 2
    total = Measures()
    for part in (one, other):
        total.merge(json.loads(json.dumps(part.to_json())))
    assert total["lookup"].count == 100
    assert total["lookup"].quantile_ms(0.5) == pytest.approx(1, rel=0.01)
    assert total["lookup"].quantile_ms(0.99) == pytest.approx(200, rel=0.01)
    assert total["lookup"].quantile_ms(0.999) == pytest.approx(300, rel=0.01)
    assert total["lookup"].errors["500"] == 1
    assert total["replace"].outcomes["409 session_changed"] == 3
    assert total["replace"].resent == 2
    assert total.faults == ["lookup: 500: text"]


def test_restarting_the_clocks_keeps_errors() -> None:
    """What went wrong while users arrived still counts; how long things took then does not."""
    measures = measured(900)
    measures.fail("lookup", "500", "text")
    measures.restart_clocks()
    assert measures["lookup"].count == 0
    assert measures["lookup"].errors["500"] == 1
