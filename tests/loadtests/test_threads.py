"""The benchmark of threads works, and both servers answer every message of a chat in its turn."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = {"long", "full", "short", "full ×2", "read", "chat", "chat ×8"}
RIVALS = {"sqlite": "agents+threads", "postgresql": "sqlmodel+threads"}
SHORT = ("--past", "450", "--batch", "250", "--clients", "2", "--together", "8", "--rounds", "1", "--seconds", "0.02")


async def run(tmp_path: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Figures, and what was printed."""
    report = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "loadtests" / "threads.py",
        *options,
        "--json",
        str(report),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return json.loads(report.read_text()), printed.decode()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_short_run_measures_both_servers(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """Every operation is measured on both servers; the long thread held its newest alone, answers kept their turns."""
    options = [*SHORT, "--database", database]
    if database == "postgresql":
        options += ["--postgres-url", request.getfixturevalue("postgres").url]
    figures, printed = await run(tmp_path, *options)
    sides = {"sessioncast", RIVALS[database]}
    measured = {(row["side"], row["operation"]) for row in figures[database]["figures"] if row["count"] > 0}
    assert measured == {(side, name) for side in sides for name in OPERATIONS}
    assert set(figures[database]["found"]) == OPERATIONS
    assert set(figures[database]["found"]["long"]["to_full"]) == sides
    assert f"{database}, sessioncast: 450 messages in batches of 250 took " in printed
