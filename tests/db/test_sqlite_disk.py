"""A disk whose fsync fails under a commit."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from support.absent import absent
from support.store import add, opened

_TESTS = Path(__file__).parents[1]


async def _line(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    async with asyncio.timeout(30):
        return await stream.readline()


async def _step(program: asyncio.subprocess.Process) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await _line(program.stdout))
    return found


def _go_on(program: asyncio.subprocess.Process) -> None:
    assert program.stdin is not None
    program.stdin.write(b"\n")


async def _failing_fsync(pid: int, trace: Path) -> asyncio.subprocess.Process:
    """strace, attached to a process whose every fsync fails from now on."""
    try:
        tracer = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-p", str(pid), "-o", str(trace), "-e", "inject=fsync,fdatasync:error=EIO"),
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        absent("no strace")
    said = await _line(tracer.stderr)
    if b"attached" not in said:
        absent(f"no ptrace: {said.decode().strip()}")
    return tracer


@pytest.mark.root
async def test_an_fsync_that_fails_leaves_the_outcome_unknown(sqlite_url: str, tmp_path: Path) -> None:
    """When COMMIT fails on the disk all of its group are told so, the heads are doubted, and the store goes on."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.eio", sqlite_url),
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert (await _step(program))["outcomes"] == ["Written"]
        tracer = await _failing_fsync(program.pid, tmp_path / "trace")
        _go_on(program)
        failed = await _step(program)
        tracer.send_signal(signal.SIGINT)  # it detaches
        await tracer.communicate()
        assert failed["outcomes"] == ["CommitUnknownError"] * 2
        assert failed["doubts"] > 0
        _go_on(program)
        healed = await _step(program)
        assert healed["outcomes"] == ["Written"]
        for found in (failed, healed):
            assert found["head"] == len(found["titles"])  # rows and events: in full or not at all
        assert {"before", "after"} <= set(healed["titles"]) <= {"before", "a", "b", "after"}
        _go_on(program)
        assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    async with opened(sqlite_url) as store:
        assert not store.database.log_went_back
        assert await store.titles() == healed["titles"]
        await store.database.write(add, "reopened")
