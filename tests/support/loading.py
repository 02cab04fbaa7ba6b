"""Benchmarks of `loadtests/`, run as users run them."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

_LOADTESTS = Path(__file__).parents[2] / "loadtests"


async def figures_of(script: str, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The figures that a script wrote as JSON, and what it printed.

    Args:
        script: name of its file.
        folder: where it runs, and writes.

    Raises:
        AssertionError: it failed; the text is what it printed.
    """
    report = folder / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _LOADTESTS / script,
        *options,
        "--json",
        str(report),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    figures: dict[str, Any] = json.loads(report.read_text())
    return figures, printed.decode()
