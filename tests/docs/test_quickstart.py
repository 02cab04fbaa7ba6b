"""The quickstart says what happens: every block of it is run."""

import asyncio
import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.node import NodeFactory
from support.waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, how it is meant, its text."""

    language: str
    manner: str
    text: str


def _blocks(page: str) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall((ROOT / page).read_text())]


BLOCKS = _blocks("docs/quickstart.md")


class Reader:
    """Runs blocks one after another in one shell, as somebody would who reads the page."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._variables = folder / "variables"
        self._variables.touch()
        bin_ = folder / ".venv"
        bin_.mkdir()
        (bin_ / "bin").symlink_to(Path(sys.executable).parent)

    async def _start(self, *command: str) -> asyncio.subprocess.Process:
        theirs = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONCAST_")}
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self._folder,
            env={**theirs, "SESSIONCAST_URL": self._url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    def _here(self, text: str) -> str:
        return text.replace("http://127.0.0.1:8080", self._url)

    async def run(self, block: Block) -> str:
        """Run a block to its end; what it printed."""
        if block.language == "python":
            process = await self._start(sys.executable, "-c", self._here(block.text))
        else:
            kept = self._variables
            recall = f"set -eu -o pipefail; set -a; . {kept}\n"
            keep = f"\nset > {kept}.new; grep -E '^(TASK|SEEN)=' {kept}.new > {kept} || true\n"
            process = await self._start("bash", "-c", recall + self._here(block.text) + keep)
        async with asyncio.timeout(DEADLINE_S):
            printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        return printed.decode()

    async def look(self, block: Block, wanted: str) -> str:
        """Run an endless block until it prints something, then stop it."""
        process = await self._start("bash", "-c", f"exec {self._here(block.text)}")
        assert process.stdout is not None
        printed = ""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while wanted not in printed:
                    chunk = await process.stdout.read(65536)
                    assert chunk, f"ended before it printed {wanted!r}: {printed}"
                    printed += chunk.decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
        return printed


async def test_every_block_of_the_quickstart_runs(node_factory: NodeFactory, tmp_path: Path) -> None:
    """Each block does what the text around it says, one after another (the browser's has a test of its own)."""
    node = await node_factory()
    reader = Reader(tmp_path, node.url)
    serve, make, replace, stream, _, poll, python, execute, watch, tokens = BLOCKS
    assert serve.manner == "serve"
    assert '"outcome":"created"' in await reader.run(make)
    assert '"outcome":"replaced"' in await reader.run(replace)
    assert '"kind":"session"' in await reader.look(stream, "event: snapshot")
    assert '"events":[]' in await reader.run(poll)
    assert "completed" in await reader.run(python)
    assert "line 1\nline 2\nline 3\n" in await reader.run(execute)
    assert await reader.look(watch, "completed")
    assert (await reader.run(tokens)).count(".") == 2


@pytest.mark.parametrize("page", ["docs/quickstart.md", "README.md"])
def test_pages_share_their_first_lines(page: str) -> None:
    """The serve command and the browser's line are the same on both pages, so one test of them is enough."""
    blocks = _blocks(page)
    assert any("scripts/serve" in block.text for block in blocks)
    assert [block.text for block in blocks if block.language == "js"] == [
        block.text for block in BLOCKS if block.language == "js"
    ]


def test_the_serve_block_is_a_script_of_this_house() -> None:
    """What the page says to run is there and may be run."""
    assert os.access(ROOT / BLOCKS[0].text.strip(), os.X_OK)
