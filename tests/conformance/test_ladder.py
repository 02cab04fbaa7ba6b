"""The choice of the transport, by the cases that all clients share."""

from copy import deepcopy
from typing import Any

import pytest

from sessioncast.streams.ladder import ORDER, Ladder, Transport
from support.conformance import cases


@pytest.mark.parametrize("case", cases("ladder"))
def test_choices(case: dict[str, Any]) -> None:
    """The best transport that is not known to fail is used, and what failed gets its chances again."""
    ladder = Ladder()
    assert [_after(ladder, step) for step in case["steps"]] == case["use"]


@pytest.mark.parametrize("case", cases("ladder"))
def test_times_to_climb(case: dict[str, Any]) -> None:
    """Whenever a better transport than the present one is set aside, it is known when one is worth trying."""
    ladder = Ladder()
    for step in case["steps"]:
        used = _after(ladder, step)
        at, project = step["at"], step.get("project", "")
        climb = ladder.climb_at(at, project=project)
        if climb is not None:
            later = deepcopy(ladder).best(climb, project=project)
            assert climb > at
            assert ORDER.index(later) < ORDER.index(used)
        else:
            assert used == ORDER[0] or deepcopy(ladder).best(at + 10_000, project=project) == used


def test_who_polls_because_push_is_off_waits_for_the_server() -> None:
    """There is no time at which to try: only an answer tells; and at the top there is nothing to climb to."""
    ladder = Ladder()
    assert ladder.climb_at(0) is None
    ladder.failed("websocket", "push_disabled", 0, project="p")
    assert ladder.climb_at(0, project="p") is None
    ladder.failed("websocket", "refused", 5, project="p")
    assert (ladder.climb_at(6, project="p"), ladder.climb_at(6, project="q")) == (None, 65)
    ladder.push(True, 7, project="p")
    assert ladder.climb_at(8, project="p") == 65


def _after(ladder: Ladder, step: dict[str, Any]) -> Transport:
    at, project = step["at"], step.get("project", "")
    if "failed" in step:
        ladder.failed(step["failed"], step["why"], at, project=project)
    elif "worked" in step:
        ladder.worked(step["worked"], at)
    else:
        ladder.push(step["push"] == "on", at, project=project)
    return ladder.best(at, project=project)
