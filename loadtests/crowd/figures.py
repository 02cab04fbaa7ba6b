"""What was measured, and what of it counts."""

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from crowd.tree import Tree

GENERATOR_MAX = 0.7
"""Share of a core; a busier generator measured itself."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        column: what was measured.
        round: from 1.
        values: by name; infinite where something was lost or not done in time.
        generator: share of a core that the generator used meanwhile.
        note: what a reader must know; empty mostly.
    """

    side: str
    transport: str
    column: str
    round: int
    values: dict[str, float]
    generator: float
    note: str = ""

    @property
    def void(self) -> bool:
        """Whether the generator was the bound."""
        return self.generator > GENERATOR_MAX

    def line(self) -> str:
        """For the reader who waits."""
        values = "  ".join(f"{name} {shown(value)}" for name, value in self.values.items())
        flags = f"{'  VOID' if self.void else ''}{'  ' + self.note if self.note else ''}"
        head = f"round {self.round}  {self.side:<20} {self.transport:<4} {self.column:<10}"
        return f"{head} {values}  generator {self.generator:.0%}{flags}"

    def plain(self) -> dict[str, Any]:
        """As JSON, which knows no infinity."""
        values = {name: value if math.isfinite(value) else None for name, value in self.values.items()}
        return asdict(self) | {"values": values, "void": self.void}


def shown(value: float) -> str:
    """Three significant digits or so."""
    if not math.isfinite(value):
        return "∞"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass(slots=True)
class Meter:
    """Wall time, the generator's and the server's processor time from `start` to `stop`, summed over several."""

    tree: Tree
    seconds: float = 0.0
    own: float = 0.0
    server: float = 0.0
    _at: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    def start(self) -> None:
        """From here."""
        self._at = self._now()

    def stop(self) -> None:
        """To here."""
        began, own, server = self._at
        now = self._now()
        self.seconds += now[0] - began
        self.own += now[1] - own
        self.server += now[2] - server

    @property
    def generator(self) -> float:
        """Share of a core."""
        return self.own / self.seconds if self.seconds else 0.0

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), time.process_time(), self.tree.cpu()
