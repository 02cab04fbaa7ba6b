"""Figures of two servers that were loaded in turns."""

import statistics
from dataclasses import dataclass

from driver import Measure
from sides import Side

_GENERATOR_MAX = 0.7


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured load.

    Attributes:
        database: `sqlite` or `postgresql`.
        round: from 1; 0 for the median of all.
        rate: operations per second.
        p50_ms, p99_ms: latencies.
        server_us: processor time of the server per operation.
        generator: share of a core that the generator used.
    """

    database: str
    round: int
    side: str
    operation: str
    count: int
    rate: float
    p50_ms: float
    p99_ms: float
    server_us: float
    generator: float


def figure(number: int, side: Side, operation: str, measure: Measure, cpu: float) -> Figure:
    """A measure as it is shown; `cpu` in seconds, of the server."""
    return Figure(
        side.database,
        number,
        side.name,
        operation,
        measure.count,
        round(measure.rate, 1),
        round(measure.quantile(0.5) * 1000, 2),
        round(measure.quantile(0.99) * 1000, 2),
        round(cpu / measure.count * 1e6, 1),
        round(measure.generator, 3),
    )


def show_head() -> None:
    """The head of the table."""
    print(
        f"{'database':<10} {'round':>5}  {'server':<17} {'operation':<9} {'ops/s':>9} "
        f"{'p50 ms':>8} {'p99 ms':>8} {'cpu µs/op':>9} {'gen':>5}"
    )


def show(made: Figure) -> None:
    """A line of it."""
    late = "  the generator was busy: too low a figure" if made.generator > _GENERATOR_MAX else ""
    print(
        f"{made.database:<10} {made.round or 'med':>5}  {made.side:<17} {made.operation:<9} {made.rate:>9,.0f} "
        f"{made.p50_ms:>8.2f} {made.p99_ms:>8.2f} {made.server_us:>9.0f} {made.generator:>5.0%}{late}",
        flush=True,
    )


def median(figures: list[Figure], side: str, operation: str) -> Figure:
    """The median of each column over the rounds, of figures of one database."""
    rows = [made for made in figures if (made.side, made.operation) == (side, operation)]

    def middle(name: str) -> float:
        return float(statistics.median(getattr(row, name) for row in rows))

    return Figure(
        rows[0].database, 0, side, operation, int(middle("count")),
        *(round(middle(name), 3) for name in ("rate", "p50_ms", "p99_ms", "server_us", "generator")),
    )  # fmt: skip


def ratios(figures: list[Figure], names: tuple[str, str], operation: str) -> list[float]:
    """Ours to the rival's rate, round by round, of figures of one database."""
    rates = {(made.round, made.side): made.rate for made in figures if made.operation == operation}
    rounds = sorted({number for number, _ in rates})
    return [round(rates[number, names[0]] / rates[number, names[1]], 2) for number in rounds]
