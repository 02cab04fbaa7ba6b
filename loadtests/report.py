"""A run as one table."""

import math
import os
from collections.abc import Iterator

from gate import GENERATOR_MAX, Check, Result, is_void
from swarm.measures import Operation

_ORDER = ("lookup", "start", "delete", "append", "patch", "ask", "replace", "deliver sse", "deliver ws")
_RULE = "-" * 108


def table(result: Result, checks: list[Check]) -> str:
    """What was measured, then what had to be reached."""
    return "\n".join([*_operations(result), _RULE, *_streams(result), _RULE, *_targets(result, checks)])


def _operations(result: Result) -> Iterator[str]:
    yield (
        f"{'operation':<12} {'count':>8} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'p99.9 ms':>9} {'errors':>7}  "
        "refused as the rule demands"
    )
    found = result.measures.operations
    for name in [*(name for name in _ORDER if name in found), *sorted(set(found) - set(_ORDER))]:
        yield _line(name, found[name], result.seconds)


def _line(name: str, made: Operation, seconds: float) -> str:
    quantiles = f"{made.quantile_ms(0.5):>8.2f} {made.quantile_ms(0.99):>8.2f} {made.quantile_ms(0.999):>9.2f}"
    refused = ", ".join(f"{count} × {code}" for code, count in sorted(made.outcomes.items()))
    wrong = ", ".join(f"{count} × {code}" for code, count in sorted(made.errors.items()))
    notes = [refused, f"{made.resent} × sent again" if made.resent else "", f"ERRORS: {wrong}" if wrong else ""]
    return (
        f"{name:<12} {made.count:>8,} {made.count / seconds:>8.1f} {quantiles} {made.errors.total():>7}  "
        f"{'  '.join(filter(None, notes))}"
    ).rstrip()


def _streams(result: Result) -> Iterator[str]:
    for kind, watched in sorted(result.watched.items()):
        faults = ", ".join(f"{count} × {what}" for what, count in sorted(watched["faults"].items())) or "none"
        yield (
            f"{kind:<12} {watched['streams']:>8,} streams, {watched['events']:,} events, {watched['lost']:,} lost; "
            f"faults: {faults}"
        )
    if result.usage is not None:
        usage = result.usage
        yield (
            f"{'server':<12} {usage.core:>8.0%} of a core, {usage.machine:.0%} of {os.cpu_count()} cores; "
            f"{usage.rss / 1e6:,.0f} MB at most"
        )
    busy = f": above {GENERATOR_MAX:.0%}, THE RUN IS VOID" if is_void(result) else ""
    yield f"{'generator':<12} {result.generator:>8.0%} of a core{busy}"


def _targets(result: Result, checks: list[Check]) -> Iterator[str]:
    yield f"{'target, ' + str(result.users) + ' users':<28} {'whose':<6} {'limit':>12} {'measured':>12}  verdict"
    for check in checks:
        target = check.target
        sign = (">" if target.strict else "≥") if target.least else ("<" if target.strict else "≤")
        measured = "not measured" if math.isnan(check.value) else f"{check.value:,.2f} {target.unit}".strip()
        note = f" (gates with {' '.join(map(str, target.gates))} users)" if check.verdict == "shown" else ""
        limit = f"{sign} {target.limit:g} {target.unit}".strip()
        yield f"{target.name:<28} {target.whose:<6} {limit:>12} {measured:>12}  {check.verdict}{note}"
