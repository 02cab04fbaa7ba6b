"""The benchmark of mutations works, and compares two servers that keep the same rule."""

import asyncio
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_a_short_run_measures_both_servers(tmp_path: Path) -> None:
    """A round of a second checks the rule on both servers and measures starts and replacements."""
    report = tmp_path / "figures.json"
    options = ["--rounds", "1", "--seconds", "1", "--clients", "8", "--json", str(report)]
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
    measured = {(row["side"], row["operation"]) for row in result["figures"] if row["count"] > 0}
    assert measured == {
        (side, operation) for side in ("sessioncast", "fastapi+sqlmodel") for operation in ("start", "replace")
    }
    assert result["start_ratio"] > 0
    assert result["replace_ratio"] > 0
