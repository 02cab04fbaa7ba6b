"""The page about flags says what happens: its blocks are run."""

import asyncio
import os
import re
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from sessioncast_server.observe.metrics import Metrics
from support.node import NodeFactory
from support.waiting import DEADLINE_S

PAGE = Path(__file__).parents[2] / "docs" / "flags.md"
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))


async def _run(*command: str, **env: str) -> str:
    """What a program printed, once it ended well."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONCAST_")}
    process = await asyncio.create_subprocess_exec(
        *command, env={**theirs, **env}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_switching_works_as_written(node_factory: NodeFactory) -> None:
    """In open mode, without any settings, each line is answered with what it asks for."""
    node = await node_factory()
    text = BLOCKS["sh"].replace("http://127.0.0.1:8080", node.url)
    printed = await _run("bash", "-eu", "-c", text)
    assert re.findall(r'"state":"(\w+)"', printed) == ["on", "on", "on", "on", "on", "off", "percentage", "on"]
    assert '"updated_by":"local"' in printed


async def test_embedding_works_as_written(sqlite_url: str) -> None:
    """The program starts a node, asks for a flag by the SDK, and ends."""
    printed = await _run(sys.executable, "-W", "error", "-c", BLOCKS["python"], SESSIONCAST_DATABASE_URL=sqlite_url)
    assert printed.splitlines()[-1] == "True"


def test_gates_name_what_is_measured() -> None:
    """Each metric of the page is one that nodes have."""
    families = {family.name for family in text_string_to_metric_families(Metrics().render().decode())}
    found = re.findall(r"(?:sessioncast|process)_\w+_(?:total|seconds)", PAGE.read_text())
    named = {name.removesuffix("_total") for name in found}
    assert len(named) == 8
    assert named <= families
