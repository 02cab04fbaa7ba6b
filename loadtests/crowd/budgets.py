"""The budgets of fan-out: ratios to rivals of the same run, and bounds."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crowd.figures import Figure, shown
from crowd.table import finite, of


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of the closing block; `met` is None when it was not measured."""

    text: str
    value: float | None
    met: bool | None

    def line(self) -> str:
        """For the reader."""
        verdict = {True: "met", False: "MISSED", None: "not measured"}[self.met]
        return f"{verdict:<12}  {self.text}{'' if self.value is None else f': {shown(self.value)}'}"


@dataclass(frozen=True, slots=True)
class _Ratio:
    """Ours to a rival's."""

    text: str
    column: str
    name: str
    rival: str
    limit: float
    holds: Callable[[float, float], bool]


_RATIOS = (
    _Ratio("deliveries/s saturated ≥ 3 × nchan", "saturated", "deliveries_s", "nchan", 3.0, operator.ge),
    _Ratio("deliveries/s saturated ≥ 5 × queues'", "saturated", "deliveries_s", "starlette-queue", 5.0, operator.ge),
    _Ratio("p99 at an open-loop rate ≤ nchan's, ratio", "latency", "p99_ms", "nchan", 1.0, operator.le),
    _Ratio("last delivery ≤ 0.9 × nchan's, ratio", "last", "median_ms", "nchan", 0.9, operator.le),
)
_MEMORY = {"sse": 4000.0, "ws": 6000.0}
_STORM_S = 10.0
_GROUPS = 1.25
"""What an event may cost with many groups, of what it costs with few."""


def budgets(figures: Sequence[Figure], side: str = "sessioncast fast") -> list[Budget]:
    """The verdicts on one of our lanes."""
    made: list[Budget] = []
    for transport in ("sse", "ws"):

        def value(column: str, name: str, whose: str = side, t: str = transport) -> float | None:
            return finite(of(figures, whose, t, column, name))

        for ratio in _RATIOS:
            own, rival = value(ratio.column, ratio.name), value(ratio.column, ratio.name, ratio.rival)
            share = own / rival if own is not None and rival else None
            text = f"{transport}: {ratio.text}"
            made.append(Budget(text, share, None if share is None else ratio.holds(share, ratio.limit)))
        for text, column, name, limit in (
            (f"bytes an idle subscriber ≤ {_MEMORY[transport]:,.0f}", "memory", "bytes", _MEMORY[transport]),
            (f"bytes alone in a group ≤ {_MEMORY[transport]:,.0f}", "groups", "bytes", _MEMORY[transport]),
            (f"an event with many groups ≤ {_GROUPS:g} × with few", "groups", "ratio", _GROUPS),
            (f"storm caught up < {_STORM_S:g} s", "storm", "seconds", _STORM_S),
            ("snapshot queries in the storm ≤ 1", "storm", "snapshots", 1.0),
            ("mutations while saturated, p99 ≤ 50 ms", "saturated", "mutation_p99_ms", 50.0),
        ):
            found = _measured(figures, side, transport, column, name)
            made.append(Budget(f"{transport}: {text}", found, None if found is None else found <= limit))
        rate = value("saturated", "publishes_s")
        text = f"{transport}: mutations while saturated ≥ 500/s"
        made.append(Budget(text, rate, None if rate is None else rate >= 500))
    return made


def _measured(figures: Sequence[Figure], side: str, transport: str, column: str, name: str) -> float | None:
    """The median, infinite too: what was not done in time is a miss and not a gap."""
    values = sorted(of(figures, side, transport, column, name))
    return values[len(values) // 2] if values else None
