"""Which projects a flag is on for."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from sessioncast_server.flags.rules import Flag, FlagState, bucket_of, is_on

_PROJECTS = [f"p-{number}" for number in range(5000)]
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_flags_are_these() -> None:
    """The names are the promised ones."""
    assert {flag.value for flag in Flag} == {
        "single_session_enabled",
        "pessimistic_locking_enabled",
        "session_resume_enabled",
        "push_enabled",
    }


@pytest.mark.parametrize(
    ("flag", "project", "bucket"),
    [
        (Flag.SINGLE_SESSION, "demo", 5214),
        (Flag.SINGLE_SESSION, "default", 4070),
        (Flag.SINGLE_SESSION, "a" * 63, 9156),
        (Flag.PESSIMISTIC_LOCKING, "demo", 1585),
        (Flag.SESSION_RESUME, "demo", 7941),
        (Flag.PUSH, "demo", 6337),
    ],
)
def test_buckets_are_for_ever(flag: Flag, project: str, bucket: int) -> None:
    """A project's place is the same in every release: a roll-out goes on after an upgrade."""
    assert bucket_of(flag, project) == bucket
    assert is_on(flag, (bucket + 1) / 100, project)
    assert not is_on(flag, bucket / 100, project)


def test_another_process_agrees() -> None:
    """The place does not depend on the process's own seed of hashes."""
    code = "from sessioncast_server.flags.rules import *; print([bucket_of(flag, 'demo') for flag in Flag])"
    printed = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == str([bucket_of(flag, "demo") for flag in Flag])


@pytest.mark.parametrize("flag", Flag)
def test_more_is_a_superset(flag: Flag) -> None:
    """Who has it at a percentage has it at every larger one; none at 0, all at 100."""
    steps = [0, 0.01, 0.07, 1, 5, 25, 50, 99.99, 100]
    on = [{project for project in _PROJECTS if is_on(flag, step, project)} for step in steps]
    assert all(less <= more for less, more in pairwise(on))
    assert not on[0]
    assert on[-1] == set(_PROJECTS)


@pytest.mark.parametrize("flag", Flag)
@pytest.mark.parametrize("percentage", [5, 25, 50])
def test_the_share_is_what_it_says(flag: Flag, percentage: float) -> None:
    """Of many projects the share that has it is the percentage, give or take two points."""
    on = sum(is_on(flag, percentage, project) for project in _PROJECTS)
    assert abs(100 * on / len(_PROJECTS) - percentage) < 2


def test_flags_choose_differently() -> None:
    """The projects that are first with one flag are not the first with another."""
    first = [{project for project in _PROJECTS if is_on(flag, 10, project)} for flag in Flag]
    assert len(first[0] & first[1]) < len(first[0]) / 4
    assert len(first[1] & first[2]) < len(first[1]) / 4


@pytest.mark.parametrize(
    ("percentage", "state"), [(0.0, "off"), (100.0, "on"), (0.01, "percentage"), (99.99, "percentage")]
)
def test_the_state_is_named(percentage: float, state: str) -> None:
    """The ends have names of their own."""
    assert FlagState(Flag.SESSION_RESUME, percentage).state == state


def test_the_version_rises_with_the_smallest_step_of_time() -> None:
    """A change a microsecond later is another version; a flag as shipped has version 0."""
    flag = Flag.SINGLE_SESSION
    first, second = (FlagState(flag, 5, _AT + timedelta(microseconds=late), "u").version for late in (0, 1))
    assert FlagState(flag, 100).version == 0
    assert second == first + 1
    assert first == 1767225600 * 10**6
