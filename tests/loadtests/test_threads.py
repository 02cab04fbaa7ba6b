"""The benchmark of threads works, and both servers answer every message of a chat in its turn."""

from pathlib import Path

import pytest

from support.loading import figures_of

OPERATIONS = {"long", "full", "short", "full ×2", "read", "chat", "chat ×8"}
RIVALS = {"sqlite": "agents+threads", "postgresql": "sqlmodel+threads"}
SHORT = ("--past", "450", "--batch", "250", "--clients", "2", "--together", "8", "--rounds", "1", "--seconds", "0.02")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_short_run_measures_both_servers(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """Every operation is measured on both servers; the long thread held its newest alone, answers kept their turns."""
    options = [*SHORT, "--database", database]
    if database == "postgresql":
        options += ["--postgres-url", request.getfixturevalue("postgres").url]
    figures, printed = await figures_of("threads.py", tmp_path, *options)
    sides = {"sessioncast", RIVALS[database]}
    measured = {(row["side"], row["operation"]) for row in figures[database]["figures"] if row["count"] > 0}
    assert measured == {(side, name) for side in sides for name in OPERATIONS}
    assert set(figures[database]["found"]) == OPERATIONS
    assert set(figures[database]["found"]["long"]["to_full"]) == sides
    assert f"{database}, sessioncast: 450 messages in batches of 250 took " in printed
