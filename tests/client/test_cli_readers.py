"""Commands whose reader leaves, and commands that cannot be run."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from sessioncast import Client
from support.node import NodeProcess
from support.providing import given
from support.waiting import DEADLINE_S


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_who_is_read_by_nobody_ends(node: NodeProcess, more: tuple[str, ...]) -> None:
    """`watch … | head -1` ends though nothing more happens, silently and well."""
    async with Client(node.url) as client:
        project = given("p")
        await client.projects.put(project)
        await client.tasks.create(project, "T")
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast", "watch", project, "--url", node.url, *more),
        stdout=(ends := os.pipe())[1],
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(ends[1])
    try:
        assert await asyncio.to_thread(os.read, ends[0], 1)
        os.close(ends[0])
        async with asyncio.timeout(DEADLINE_S):
            _, told = await watching.communicate()
    finally:
        if watching.returncode is None:
            watching.kill()
            await watching.wait()
    assert (watching.returncode, told) == (0, b"")


async def test_why_a_watch_ended_is_told_to_programs(node: NodeProcess) -> None:
    """In the last object, as well as to the person."""
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast", "watch", given("nope"), "--url", node.url, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await watching.communicate()
    assert watching.returncode == 1
    assert b'"state": "closed", "why": "404' in out.splitlines()[-1]
    assert b"Not found" in told


@pytest.mark.parametrize(("there", "status"), [(True, 126), (False, 127)])
async def test_what_cannot_be_run_is_told_from_what_is_not_there(
    node: NodeProcess, tmp_path: Path, there: bool, status: int
) -> None:
    """As shells do; nothing is started."""
    command = tmp_path / "text"
    if there:
        command.write_text("no program")
    arguments = ("exec", "--task", "T", "--url", node.url, "--", str(command))
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast", *arguments), stderr=asyncio.subprocess.PIPE
    )
    _, told = await run.communicate()
    assert (run.returncode, b"cannot be run" in told) == (status, there)


async def test_what_cannot_be_written_is_one_line(node: NodeProcess) -> None:
    """On a full disk, say."""
    async with Client(node.url) as client:
        project = given("p")
        await client.projects.put(project)
        await client.tasks.create(project, "T")
    full = os.open("/dev/full", os.O_WRONLY)
    listing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sessioncast", "list", "-p", project, "--url", node.url, "--json"),
        stdout=full,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(full)
    _, told = await listing.communicate()
    assert (listing.returncode, told.count(b"\n")) == (1, 1)
    assert told.startswith(b"sessioncast: cannot write: ")
