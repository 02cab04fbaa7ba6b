"""The gate: what fails a run, what does not, and at how many users."""

import pytest

from gate import Check, Result, is_void, judge, status
from report import table
from swarm.measures import Measures
from vitals import Usage

_LITTLE = Usage(0.2, 0.1, 10**8)


def result(
    *, users: int = 100, lost: int = 0, faults: dict[str, int] | None = None, generator: float = 0.3,
    usage: Usage = _LITTLE, lookup_ms: float = 5, replace_ms: float = 20,
) -> Result:  # fmt: skip
    measures = Measures()
    for _ in range(1000):
        measures["lookup"].record(lookup_ms / 1000)
        measures["replace"].record(replace_ms / 1000)
    watched = {"sse": {"streams": 1, "events": 9, "lost": lost, "faults": faults or {}}}
    return Result(users, 60.0, measures, watched, usage, generator)


def outcome(run: Result) -> tuple[int, set[str]]:
    checks = list(judge(run))
    missed = {f"{check.target.name} {check.target.whose}" for check in checks if check.verdict == "MISSED"}
    return status(checks, void=is_void(run)), missed


def test_a_good_run_passes() -> None:
    """Nothing is missed when every figure is within its limit."""
    assert outcome(result()) == (0, set())


def test_a_lost_event_fails_the_run() -> None:
    """One event lost is one too many."""
    assert outcome(result(lost=1, faults={"hole": 1})) == (1, {"events lost ours", "stream faults ours"})


def test_a_contradiction_fails_the_run() -> None:
    """One wrong answer fails the run, however few they are in percent."""
    run = result()
    run.measures.fail("lookup", "wrong answer", "another session")
    assert outcome(run) == (1, {"answers that contradict ours"})


def test_streams_that_hear_nothing_fail_the_run() -> None:
    """A run in which nobody heard an event shows nothing about events."""
    run = result()
    run.watched["sse"]["events"] = 0
    assert outcome(run) == (1, {"events heard ours"})


def test_a_busy_generator_voids_the_run() -> None:
    """Above 70 % of a core the figures are the generator's: neither good nor bad, and not zero."""
    assert outcome(result(generator=0.71))[0] == 3
    assert outcome(result(generator=float("nan")))[0] == 3
    assert outcome(result(generator=0.71, lookup_ms=500))[0] == 3


def test_a_loss_counts_in_a_void_run_too() -> None:
    """A lost event is not excused by a busy generator."""
    assert outcome(result(generator=0.9, lost=1))[0] == 1


@pytest.mark.parametrize(
    ("lookup_ms", "replace_ms", "missed"),
    [
        (20.5, 20, {"lookup p99 ours"}),
        (101, 20, {"lookup p99 ours", "lookup p99 seed"}),
        (5, 101, {"replacement p99 ours"}),
        (5, 501, {"replacement p99 ours", "replacement p99 seed"}),
    ],
)
def test_latencies_gate_at_normal_load_only(lookup_ms: float, replace_ms: float, missed: set[str]) -> None:
    """Slow answers fail a run of 100 users and are only shown at 500."""
    assert outcome(result(lookup_ms=lookup_ms, replace_ms=replace_ms)) == (1, missed)
    assert outcome(result(users=500, lookup_ms=lookup_ms, replace_ms=replace_ms)) == (0, set())


@pytest.mark.parametrize(
    ("usage", "missed"),
    [
        (Usage(0.81, 0.4, 10**8), {"server, of one core seed"}),
        (Usage(0.5, 0.3, 5_100_000_000), {"server memory seed"}),
    ],
)
def test_processor_and_memory_gate_at_heavy_load_only(usage: Usage, missed: set[str]) -> None:
    """A busy or large server fails a run of 500 users and is only shown at 100."""
    assert outcome(result(users=500, usage=usage)) == (1, missed)
    assert outcome(result(usage=usage)) == (0, set())


def test_refusals_of_the_rule_are_no_failures() -> None:
    """A 409 that the rule demands lowers neither the share of good replacements nor that of good answers."""
    run = result()
    run.measures["replace"].outcomes["409 session_changed"] = 900
    assert outcome(run) == (0, set())


def test_replacements_that_fail_are_measured_against_those_that_might_have_succeeded() -> None:
    """Two failures in a hundred that were not refused are below 99 %, though few of all answers."""
    run = result()
    run.measures["replace"].outcomes["409 session_changed"] = 900
    for _ in range(2):
        run.measures.fail("replace", "409 session_being_modified", "too slow")
    assert outcome(run) == (1, {"replacements that succeed seed"})


def test_what_was_not_measured_is_not_met() -> None:
    """A run without a single replacement misses what is asked of replacements."""
    run = result()
    del run.measures.operations["replace"]
    assert "replacements that succeed seed" in outcome(run)[1]


def test_the_table_names_every_miss() -> None:
    """Whoever reads the table sees the lost events, the faults and that the run is void."""
    run = result(lost=2, faults={"hole": 1}, generator=0.8)
    checks: list[Check] = list(judge(run))
    text = table(run, checks)
    assert "2 lost; faults: 1 × hole" in text
    assert "THE RUN IS VOID" in text
    assert text.count("MISSED") == 2
