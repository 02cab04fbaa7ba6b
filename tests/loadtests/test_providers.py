"""The benchmark of provider sessions works, and both servers add up the same."""

from pathlib import Path

import pytest

from providers import totals
from support.loading import figures_of

OPERATIONS = {"end", "open", "open ×4", "task", "session", "milestone", "project"}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_short_run_measures_both_servers(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """With few provider sessions every operation is measured on both servers, and each level's sums were right."""
    options = ["--count", "250", "--clients", "4", "--rounds", "1", "--seconds", "0.2", "--database", database]
    if database == "postgresql":
        options += ["--postgres-url", request.getfixturevalue("postgres").url]
    figures, printed = await figures_of("providers.py", tmp_path, *options)
    measured = {(row["side"], row["operation"]) for row in figures[database]["figures"] if row["count"] > 0}
    assert measured == {(side, name) for side in ("sessioncast", "fastapi+sqlmodel") for name in OPERATIONS}
    assert set(figures[database]["found"]) == OPERATIONS
    assert f"{database}, task over 250: p50 " in printed
    assert {name: found["limit_ms"] for name, found in figures[database]["found"].items()} == {
        "end": None,
        "open": 100,
        "open ×4": 100,
        **dict.fromkeys(("task", "session", "milestone", "project"), 50),
    }


def test_the_expected_sums_count_what_is_unknown_as_nothing() -> None:
    """What every answer is checked by: unknown tokens and costs add nothing, and one unknown cost is told."""
    assert totals(21) == {
        "total_tokens": 1_050_210,
        "total_cached_tokens": 18 * 40_000,
        "total_turns": 42,
        "total_cost": 19 * 0.25,
        "cost_known": False,
        "num_iterations": 21,
        "avg_tokens_per_iteration": 50_010,
    }
