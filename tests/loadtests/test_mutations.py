"""The benchmark of mutations works, and compares two servers that keep the same rule."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_short_run_measures_both_servers(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """A short round checks the rule on both servers and measures starts and replacements, on each database."""
    report = tmp_path / "figures.json"
    options = ["--rounds", "1", "--seconds", "0.4", "--clients", "8", "--json", str(report), "--database", database]
    if database == "postgresql":
        options += ["--postgres-url", request.getfixturevalue("postgres").url]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "loadtests" / "mutations.py",
        *options,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    result = json.loads(report.read_text())
    measured = {(row["database"], row["side"], row["operation"]) for row in result["figures"] if row["count"] > 0}
    assert measured == {
        (database, side, operation)
        for side in ("sessioncast", "fastapi+sqlmodel")
        for operation in ("start", "replace")
    }
    assert set(result["ratios"]) == {database}
    assert all(result["ratios"][database][operation] > 0 for operation in ("start", "replace"))
    assert f"{database}, replace: " in printed.decode()
