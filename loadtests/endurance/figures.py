"""What a server holds, from outside and by its own account, and whether it has let go of what it took."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from endurance.process import Server

Figures = dict[str, float]
RSS_MARGIN = 0.15
_CENSUS_S = 20.0
_TIMERS = ("uvloop.loop.TimerHandle", "asyncio.events.TimerHandle")


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a figure may be above its baseline: a share of it, and so many."""

    share: float = 0.0
    count: float = 0.0


BOUNDS: dict[str, Bound] = {
    "resident bytes": Bound(RSS_MARGIN),
    "descriptors": Bound(),
    "threads": Bound(),
    "tasks": Bound(count=1),  # the page of metrics may be asked for at that moment
    "timers": Bound(count=4),  # keep-alives of those who ask
    "objects": Bound(0.02, 1000),  # what modules and libraries keep the first time that they meet something
    "subscribers": Bound(),
    "channels": Bound(),
    "ring bytes": Bound(),
    "streams opening": Bound(),
    "writes waiting": Bound(),
}
"""What is to return. SQLite's own caches (64 MiB a connection at most) are not in the resident bytes."""

_METRICS = {
    "channels": "sessioncast_channels",
    "ring bytes": "sessioncast_ring_bytes",
    "streams opening": "sessioncast_streams_opening",
    "writes waiting": "sessioncast_write_queue",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A figure before, at its highest, and after."""

    name: str
    baseline: float
    peak: float
    after: float
    allowed: float

    @property
    def returned(self) -> bool:
        """Whether it is back."""
        return self.after <= self.allowed

    def line(self) -> str:
        """For people."""
        numbers = "".join(f"{value:>14,.0f}" for value in (self.baseline, self.peak, self.after, self.allowed))
        return f"{self.name:<16}{numbers}  {'ok' if self.returned else 'NOT BACK'}"


def judge(baseline: Figures, peak: Figures, after: Figures) -> list[Row]:
    """A row for each figure that has a bound."""
    return [
        Row(
            name, baseline[name], max(peak.get(name, 0.0), baseline[name]), after[name],
            baseline[name] * (1 + bound.share) + bound.count,
        )
        for name, bound in BOUNDS.items()
    ]  # fmt: skip


def table(rows: list[Row]) -> str:
    """All of them."""
    head = f"{'':<16}{'baseline':>14}{'peak':>14}{'after':>14}{'allowed':>14}"
    return "\n".join([head, *(row.line() for row in rows)])


def from_outside(server: Server, samples: Mapping[str, float]) -> Figures:
    """What the kernel says of it, and what it says on its page of metrics."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if ":" in line
    )
    streams = sum(value for name, value in samples.items() if name.startswith("sessioncast_subscribers{"))
    return {
        "resident bytes": float(status["VmRSS"].split()[0]) * 1024,
        "threads": float(status["Threads"]),
        "descriptors": descriptors(server),
        "subscribers": streams,
        **{name: samples[metric] for name, metric in _METRICS.items()},
    }


def descriptors(server: Server) -> float:
    """How many it has open."""
    return float(len(os.listdir(f"/proc/{server.pid}/fd")))


def from_inside(census: Mapping[str, int], outside: Figures) -> Figures:
    """The same with what a census found."""
    figures = {**outside, "tasks": float(census["tasks"]), "objects": float(census["objects"])}
    figures["timers"] = float(sum(census.get(name, 0) for name in _TIMERS))
    figures["resident bytes"] -= census["sqlite"]
    return figures


def take_census(server: Server, path: Path) -> dict[str, int]:
    """Objects of the server by type.

    Raises:
        TimeoutError: it did not write them down.
    """
    path.unlink(missing_ok=True)
    os.kill(server.pid, signal.SIGUSR1)
    deadline = time.monotonic() + _CENSUS_S
    while time.monotonic() < deadline:
        if path.exists():
            found: dict[str, int] = json.loads(path.read_text())
            return found
        time.sleep(0.02)
    raise TimeoutError(f"no census came in {_CENSUS_S:g} s")


def grown(before: Mapping[str, int], after: Mapping[str, int], most: int = 15) -> list[str]:
    """Types of which there are most more than before."""
    more = {name: count - before.get(name, 0) for name, count in after.items()}
    ordered = sorted(more.items(), key=lambda item: -item[1])[:most]
    return [f"{count:+10,} {name}" for name, count in ordered if count > 0]
