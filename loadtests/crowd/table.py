"""One table of all rounds: medians, with the least and the most."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from crowd.figures import GENERATOR_MAX, Figure, shown

_COLUMNS = (
    ("deliveries/s", "saturated", "deliveries_s", 1.0),
    ("publishes/s", "saturated", "publishes_s", 1.0),
    ("µs/delivery", "saturated", "server_us", 1.0),
    ("p50 ms", "latency", "p50_ms", 1.0),
    ("p99 ms", "latency", "p99_ms", 1.0),
    ("p99.9 ms", "latency", "p999_ms", 1.0),
    ("last ms", "last", "median_ms", 1.0),
    ("kB/idle", "memory", "bytes", 1e-3),
    ("streams/s", "connect", "streams_s", 1.0),
    ("storm s", "storm", "seconds", 1.0),
)
_FAULTS = ("lost", "doubled", "resyncs", "closed")


def of(figures: Iterable[Figure], side: str, transport: str, column: str, name: str) -> list[float]:
    """A value of all rounds that count."""
    return [
        made.values[name]
        for made in figures
        if (made.side, made.transport, made.column) == (side, transport, column)
        and name in made.values
        and not made.void
    ]


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    """Median, and least and most where there are several."""
    if not values:
        return "–"
    middle = shown(median(values) * scale)
    return middle if len(values) == 1 else f"{middle} ({shown(min(values) * scale)}–{shown(max(values) * scale)})"


def table(figures: Sequence[Figure], absent: dict[str, str]) -> str:
    """Markdown; sides that are not installed have a line that says so."""
    rows = [["side", "", *(title for title, *_ in _COLUMNS), "faults", "generator"]]
    for side, transport in dict.fromkeys((made.side, made.transport) for made in figures):
        own = [made for made in figures if (made.side, made.transport) == (side, transport)]
        cells = [_cell(own, side, transport, column, name, scale) for _, column, name, scale in _COLUMNS]
        faults = {name: sum(made.values.get(name, 0.0) for made in own) for name in _FAULTS}
        busiest = max(made.generator for made in own)
        rows.append(
            [
                side, transport, *cells,
                ", ".join(f"{count:.0f} {name}" for name, count in faults.items() if count) or "none",
                f"{busiest:.0%}{' void' if busiest > GENERATOR_MAX else ''}",
            ]
        )  # fmt: skip
    rows += [[side, "", f"not installed: {missing}", *[""] * (len(rows[0]) - 3)] for side, missing in absent.items()]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(own: list[Figure], side: str, transport: str, column: str, name: str, scale: float) -> str:
    rounds = [made for made in own if made.column == column]
    if rounds and all(made.void for made in rounds):
        return f"void ({spread([made.values[name] for made in rounds if name in made.values], scale)})"
    mark = "*" if any(made.note for made in rounds) else ""
    return spread(of(own, side, transport, column, name), scale) + mark


def ours_alone(figures: Sequence[Figure]) -> str:
    """What only our server has: changes and the loop while it is loaded, groups of one."""
    lines = []
    for side, transport in dict.fromkeys((made.side, made.transport) for made in figures):
        if not side.startswith("sessioncast"):
            continue

        def say(column: str, name: str, s: str = side, t: str = transport) -> str:
            return spread(of(figures, s, t, column, name))

        if of(figures, side, transport, "saturated", "pause_ms"):
            lines.append(
                f"{side} {transport}, saturated: mutations {say('saturated', 'publishes_s')}/s, "
                f"p50 {say('saturated', 'mutation_p50_ms')} ms, p99 {say('saturated', 'mutation_p99_ms')} ms, "
                f"another request waits {say('saturated', 'pause_ms')} ms at worst"
            )
        if of(figures, side, transport, "storm", "snapshots"):
            lines.append(
                f"{side} {transport}, storm: snapshot queries {say('storm', 'snapshots')}, refused first "
                f"{say('storm', 'refused')}, another request waits {say('storm', 'pause_ms')} ms at worst"
            )
        if of(figures, side, transport, "groups", "ratio"):
            lines.append(
                f"{side} {transport}, groups of one: {say('groups', 'many_us')} µs an event, with few groups "
                f"{say('groups', 'few_us')} µs, ratio {say('groups', 'ratio')}; {say('groups', 'bytes')} B a subscriber"
            )
    return "\n".join(lines)


def finite(values: Sequence[float]) -> float | None:
    """The median, if there is one."""
    return median(values) if values and all(map(math.isfinite, values)) else None
