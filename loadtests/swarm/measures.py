"""What operations took and how they ended: HdrHistograms, because Locust rounds its percentiles."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hdrh.histogram import HdrHistogram

_LONGEST_US = 600_000_000
_DIGITS = 3
_TOLD = 20
"""Faults whose text is kept; all are counted."""


def _histogram() -> Any:
    return HdrHistogram(1, _LONGEST_US, _DIGITS)


@dataclass(slots=True)
class Operation:
    """One kind of request, or of delivery.

    Attributes:
        histogram: microseconds of every answer, refused and failed ones included.
        outcomes: refusals that the rule demands, by code.
        errors: everything else that is not what was asked for, by code.
        resent: requests that met the close of an idle connection and were sent again.
    """

    histogram: Any = field(default_factory=_histogram)
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    resent: int = 0

    @property
    def count(self) -> int:
        """Answers and deliveries."""
        return int(self.histogram.get_total_count())

    def record(self, seconds: float) -> None:
        """Count one that took this long; beyond ten minutes it counts as ten."""
        self.histogram.record_value(min(_LONGEST_US, max(1, int(seconds * 1e6))))

    def quantile_ms(self, share: float) -> float:
        """Milliseconds that this share stayed within; 0 when there was none."""
        return float(self.histogram.get_value_at_percentile(share * 100)) / 1000 if self.count else 0.0


class Measures:
    """All that a generator measured.

    Attributes:
        faults: texts of the first errors.
    """

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        self.faults: list[str] = []

    def __getitem__(self, name: str) -> Operation:
        return self.operations.setdefault(name, Operation())

    def fail(self, name: str, code: str, text: str) -> None:
        """Count an error of an operation."""
        self[name].errors[code] += 1
        if len(self.faults) < _TOLD:
            self.faults.append(f"{name}: {code}: {text[:300]}")

    def restart_clocks(self) -> None:
        """Forget how long things took and how they ended, but no error: what goes wrong while users arrive counts."""
        for operation in self.operations.values():
            operation.histogram.reset()
            operation.outcomes.clear()

    def to_json(self) -> dict[str, Any]:
        """As `merge` takes it."""
        return {
            "operations": {
                name: {
                    "histogram": operation.histogram.encode().decode(),
                    "outcomes": dict(operation.outcomes),
                    "errors": dict(operation.errors),
                    "resent": operation.resent,
                }
                for name, operation in self.operations.items()
            },
            "faults": self.faults,
        }

    def merge(self, document: dict[str, Any]) -> None:
        """Add what another generator measured."""
        for name, found in document["operations"].items():
            operation = self[name]
            operation.histogram.decode_and_add(found["histogram"])
            operation.outcomes.update(found["outcomes"])
            operation.errors.update(found["errors"])
            operation.resent += found["resent"]
        self.faults += document["faults"][: _TOLD - len(self.faults)]
