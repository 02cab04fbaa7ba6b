"""The replay of a page that polls works, counts what goes over the wire, and owns up where nothing is saved."""

import math
import os
import shutil
from pathlib import Path

import pytest

from pages.chromium import Looked, browser_verdicts
from pages.happening import Change, Sightings
from pages.verdict import Counted, quantile_ms, table, verdicts
from support.absent import absent
from support.loading import figures_of

_PAGES = ("before", "polling", "pushing")


async def test_a_short_run_counts_every_page(tmp_path: Path) -> None:
    """Who polls asks again and again, who is pushed to asks once; both see what the page of before sees."""
    options = ("--seconds", "6", "--scenes", "ends", "--browser-seconds", "0", "--seed", "1")
    figures, printed = await figures_of("polling_saved.py", tmp_path, *options)
    rows = {row["page"]: row for row in figures["http"]}
    assert tuple(rows) == _PAGES
    assert rows["before"]["calls"] > rows["before"]["git_calls"] > 0
    assert rows["before"]["calls"] > rows["polling"]["calls"] > 1
    assert rows["pushing"]["calls"] == 1
    assert rows["before"]["size"] > rows["pushing"]["size"] > 0
    assert rows["pushing"]["delays_s"]
    assert None not in rows["pushing"]["delays_s"]
    assert {len(row["delays_s"]) for row in rows.values()} == {len(rows["pushing"]["delays_s"])}
    assert "ends session, polling: fewer calls (without git)" in printed


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
async def test_a_short_run_looks_at_pages_in_chromium(tmp_path: Path) -> None:
    """The page of before renders its side bar by the clock; ours shows the same changes, and asks for nothing."""
    if not (os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")):
        absent("no Chromium: install the package chromium, or name one in TEST_CHROMIUM")
    options = ("--seconds", "0", "--browser-seconds", "4", "--browser-scenes", "ends")
    figures, printed = await figures_of("polling_saved.py", tmp_path, *options, "--browser-pages", "before,pushing")
    rows = {row["page"]: row for row in figures["browser"]}
    assert tuple(rows) == ("before", "pushing")
    assert rows["before"]["calls"] > 1
    assert rows["pushing"]["calls"] == 0
    assert rows["before"]["side_bar"] > 0
    assert rows["before"]["task_s"] > 0
    assert rows["pushing"]["delays_s"]
    assert None not in rows["pushing"]["delays_s"]
    assert "ends session, pushing: renders of the side bar" in printed


def counted(page: str, calls: int, delays_s: list[float | None], **more: int) -> Counted:
    """A page of the quiet scene."""
    rest = {"size": 1000, "git_calls": 0, "git_size": 0} | more
    return Counted("quiet", page, calls, delays_s=delays_s, **rest)  # type: ignore[arg-type]  # the names are right


def test_verdicts_take_the_strict_reading() -> None:
    """Calls are held against those of a page without its git section, and what was never seen is infinitely late."""
    rows = [
        counted("before", 200, [0.5, 1.0], git_calls=100),
        counted("polling", 51, [1.0, 4.5]),
        counted("pushing", 2, [0.01, None]),
    ]
    found = verdicts(rows, 2.0)
    assert [verdict.met for verdict in found] == [False, True, True, False, False]
    assert [verdict.measured for verdict in found] == ["49.0%", "98.0%", "10.0 ms", "inf ms", "4,500 ms"]
    assert "MISSED" in found[0].line()
    lines = list(table(rows))
    assert lines[1].split()[:6] == ["quiet", "before,", "with", "git", "section", "200"]
    assert lines[2].split()[:4] == ["quiet", "before,", "without", "100"]


def test_a_change_is_seen_when_it_is_shown() -> None:
    """What shows a later version shows the change; what shows the same twice is one sight; what never does is None."""
    seen = Sightings()
    for at, version, output_seq in ((1.0, 1, 0), (2.0, 1, 0), (3.0, 3, 0), (4.0, 3, 5)):
        seen.note(at, version, output_seq)
    versions = [Change(0.5, 0, version=2), Change(2.5, 0, version=3)]
    changes = [*versions, Change(3.5, 0, output_seq=5), Change(4, 0, version=4)]
    assert len(seen.seen) == 3
    assert seen.delays(changes) == [2.5, 0.5, 0.5, None]


def test_quantiles_of_delays() -> None:
    """The middle and the worst, in milliseconds; of none there is none."""
    assert quantile_ms([0.3, 0.1, 0.2], 0.5) == pytest.approx(200)
    assert quantile_ms([0.3, None], 0.99) == math.inf
    assert math.isnan(quantile_ms([], 0.5))


def test_a_browser_that_saves_too_little_is_told_of() -> None:
    """Each target is judged by the median of what the rounds saved."""

    def looked(number: int, page: str, task_s: float, side_bar: int) -> Looked:
        return Looked(
            "quiet", number, page, 30, 0, 0, side_bar=side_bar, git=0, task_s=task_s, browser_s=1.0, delays_s=[]  # type: ignore[arg-type]  # the names are right
        )  # fmt: skip

    rows = [
        *(looked(1, "before", 1.0, 100), looked(1, "pushing", 0.95, 50)),
        *(looked(2, "before", 1.0, 100), looked(2, "pushing", 0.5, 80)),
        *(looked(3, "before", 1.0, 100), looked(3, "pushing", 0.8, 65)),
    ]
    found = list(browser_verdicts(rows))
    assert [(verdict.measured, verdict.met) for verdict in found] == [
        ("20.0% fewer", True),
        ("0.0% fewer", False),
        ("35.0% fewer", True),
    ]
