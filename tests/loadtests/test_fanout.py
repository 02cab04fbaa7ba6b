"""The benchmark of fan-out works, and its verdicts follow from what was measured."""

import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from crowd.budgets import budgets
from crowd.figures import Figure
from crowd.rivals import NotInstalledError, python_rival
from crowd.table import table

ROOT = Path(__file__).parents[2]
_TINY = [
    "--rounds", "1", "--seconds", "0.3", "--few", "20", "--many", "20", "--groups", "12", "--singles", "2",
    "--missed", "3", "--settle", "0.1", "--sides", "sessioncast fast,starlette-queue",
]  # fmt: skip


def figure(side: str, column: str, *, generator: float = 0.1, **values: float) -> Figure:
    return Figure(side, "sse", column, 1, values, generator)


@pytest.mark.timeout(300)  # ten servers are started one after another
async def test_a_tiny_run_measures_us_and_a_rival(tmp_path: Path) -> None:
    """A round with twenty subscribers measures every column of both by both transports, and nobody misses an event."""
    report = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "loadtests" / "fanout.py", *_TINY, "--json", str(report),
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    result = json.loads(report.read_text())
    figures: list[dict[str, Any]] = result["figures"]
    both = {"saturated", "latency", "connect", "memory", "last", "storm"}
    for side, columns in (("sessioncast fast", both | {"groups"}), ("starlette-queue", both)):
        for transport in ("sse", "ws"):
            own = [made for made in figures if (made["side"], made["transport"]) == (side, transport)]
            assert {made["column"] for made in own} == columns, printed.decode()
            assert all(value is not None for made in own for value in made["values"].values()), own
            assert not any(made["values"].get(fault) for made in own for fault in ("lost", "doubled", "closed")), own
    assert "| sessioncast fast | sse" in printed.decode()
    assert "| starlette-queue" in printed.decode()


def test_a_busy_generator_voids_its_figure() -> None:
    """Above 70 % of a core a figure is marked, and no budget is met or missed by it."""
    made = [
        figure("sessioncast fast", "saturated", deliveries_s=900.0, generator=0.71),
        figure("nchan", "saturated", deliveries_s=100.0),
    ]
    assert "VOID" in made[0].line()
    assert "71% void" in table(made, {})
    assert next(each for each in budgets(made) if "3 × nchan" in each.text).met is None


@pytest.mark.parametrize(("own", "met"), [(300.0, True), (299.0, False)])
def test_a_ratio_is_of_the_medians(own: float, met: bool) -> None:
    """Three times nchan's rate is met, a little less is missed."""
    made = [figure("sessioncast fast", "saturated", deliveries_s=own)]
    made += [figure("nchan", "saturated", deliveries_s=rate) for rate in (1.0, 100.0, 900.0)]
    assert next(each for each in budgets(made) if "3 × nchan" in each.text).met is met


def test_a_storm_that_nobody_survives_misses() -> None:
    """What was not done in time is infinite, which is a miss and no gap in the table."""
    made = [figure("sessioncast fast", "storm", seconds=math.inf, snapshots=0.0)]
    assert next(each for each in budgets(made) if "storm caught up" in each.text).met is False
    assert "∞" in table(made, {})


def test_what_is_not_installed_is_said(tmp_path: Path) -> None:
    """A rival whose packages are missing is a line of the table, and no failure."""
    with (
        pytest.raises(NotInstalledError, match="no_such_rival"),
        python_rival("x", "x.py", "no_such_rival", tmp_path, size=1, pythons=[sys.executable]),
    ):
        pass
    assert "not installed: no_such_rival" in table([], {"x": "no_such_rival"})
