"""What a run must reach.

The seed speaks of normal load, which is 100 users here: up to there latencies gate. Processor and memory gate from 500
users on, where they mean something. Errors, replacements that fail and lost events gate at every number of users.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from scenarios import HEAVY_USERS, NORMAL_USERS
from swarm.measures import Measures
from vitals import Usage

GENERATOR_MAX = 0.7
"""Share of a core: a busier generator measures itself, and the run is void."""

_NORMAL = ("at most", NORMAL_USERS)
_HEAVY = ("at least", HEAVY_USERS)
_ALWAYS = ("at least", 0)


@dataclass(frozen=True, slots=True)
class Result:
    """A run as it is judged.

    Attributes:
        watched: by kind of stream: `streams`, `events`, `lost`, `faults` by kind.
        usage: of the server; None when it is not ours to watch.
        generator: largest share of a core that a generator used.
    """

    users: int
    seconds: float
    measures: Measures
    watched: dict[str, dict[str, Any]]
    usage: Usage | None
    generator: float


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to reach.

    Attributes:
        whose: `seed`, or `ours`, which is stricter.
        gates: the numbers of users at which missing it fails the run.
        value: of a result; NaN when it was not measured.
        least: whether the limit is a lower one.
        strict: whether the limit itself is missed already.
    """

    name: str
    whose: Literal["seed", "ours"]
    limit: float
    unit: str
    gates: tuple[str, int]
    value: Callable[[Result], float]
    least: bool = False
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Check:
    """A target beside what came of it.

    Attributes:
        verdict: `shown` is for what does not gate at this number of users, or was not measured.
    """

    target: Target
    value: float
    verdict: Literal["met", "MISSED", "shown"]


def _p99(operation: str) -> Callable[[Result], float]:
    def value(result: Result) -> float:
        found = result.measures.operations.get(operation)
        return found.quantile_ms(0.99) if found is not None and found.count else math.nan

    return value


def _replaced(result: Result) -> float:
    """Percent of replacements that succeeded, of those that were not refused by the rule."""
    found = result.measures.operations.get("replace")
    if found is None:
        return math.nan
    tried = found.count - found.outcomes.total()
    return 100 * (1 - min(1.0, found.errors.total() / tried)) if tried else math.nan


def _errors(result: Result) -> float:
    """Percent of all requests; deliveries are no requests."""
    requests = {name: made for name, made in result.measures.operations.items() if not name.startswith("deliver")}
    answered = sum(made.count for made in requests.values())
    wrong = sum(made.errors.total() for made in requests.values())
    return 100 * wrong / answered if answered else 100.0


def _of_usage(read: Callable[[Usage], float]) -> Callable[[Result], float]:
    return lambda result: math.nan if result.usage is None else read(result.usage)


def _watched(name: str) -> Callable[[Result], float]:
    return lambda result: float(sum(kind[name] for kind in result.watched.values()))


def _stream_faults(result: Result) -> float:
    return float(sum(sum(kind["faults"].values()) for kind in result.watched.values()))


def _wrong(result: Result) -> float:
    return float(sum(made.errors["wrong answer"] for made in result.measures.operations.values()))


TARGETS = (
    Target("lookup p99", "seed", 100, "ms", _NORMAL, _p99("lookup")),
    Target("lookup p99", "ours", 20, "ms", _NORMAL, _p99("lookup")),
    Target("replacement p99", "seed", 500, "ms", _NORMAL, _p99("replace")),
    Target("replacement p99", "ours", 100, "ms", _NORMAL, _p99("replace")),
    Target("replacements that succeed", "seed", 99, "%", _ALWAYS, _replaced, least=True),
    Target("errors", "seed", 1, "%", _ALWAYS, _errors),
    Target("answers that contradict", "ours", 0, "", _ALWAYS, _wrong, strict=False),
    Target("events heard", "ours", 1, "", _ALWAYS, _watched("events"), least=True, strict=False),
    Target("events lost", "ours", 0, "", _ALWAYS, _watched("lost"), strict=False),
    Target("stream faults", "ours", 0, "", _ALWAYS, _stream_faults, strict=False),
    Target("server, of one core", "seed", 80, "%", _HEAVY, _of_usage(lambda usage: usage.core * 100), strict=False),
    Target("server memory", "seed", 5, "GB", _HEAVY, _of_usage(lambda usage: usage.rss / 1e9), strict=False),
)


def judge(result: Result) -> Iterator[Check]:
    """Every target beside what came of it. What always gates and was not measured at all is missed."""
    for target in TARGETS:
        value = target.value(result)
        how, users = target.gates
        gates = result.users <= users if how == "at most" else result.users >= users
        if not gates or (math.isnan(value) and target.gates == _HEAVY):
            yield Check(target, value, "shown")
            continue
        yield Check(target, value, "met" if _met(target, value) else "MISSED")


def _met(target: Target, value: float) -> bool:
    if math.isnan(value):
        return False
    over = value - target.limit if target.least else target.limit - value
    return over > 0 if target.strict else over >= 0


def is_void(result: Result) -> bool:
    """Whether the generator was too busy for its figures to say anything about the server."""
    return not result.generator <= GENERATOR_MAX  # NaN too


def status(checks: list[Check], *, void: bool) -> int:
    """The exit status: 0 all met, 1 missed, 3 void. (2 is for arguments that make no sense.)

    A lost event or a contradiction is one however busy the generator was: it counts before the run is void.
    """
    correctness = ("answers that contradict", "events lost", "stream faults")
    if any(check.verdict == "MISSED" and (not void or check.target.name in correctness) for check in checks):
        return 1
    return 3 if void else 0
