"""The command line, run as a person runs it."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from support.waiting import DEADLINE_S, until


class Command:
    """A running `sessioncast` command; `async with` kills it at the end if it still runs."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        stem = f"{arguments[0]}-{os.urandom(3).hex()}"
        self._out, self._err = folder / f"{stem}.out", folder / f"{stem}.err"
        self._arguments = arguments
        # What it leaves for later is the test's, not the user's.
        self._env = {"SESSIONCAST_URL": url, "NO_COLOR": "1", "COLUMNS": "200", "XDG_STATE_HOME": str(folder / "state")}
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def exec(cls, folder: Path, url: str, *command: str, options: Sequence[str] = ()) -> Self:
        """`sessioncast exec` of a command for a task called «T»."""
        return cls(folder, url, "exec", "--task", "T", *options, "--", *command)

    @property
    def raw(self) -> bytes:
        """What it wrote to stdout until now."""
        return self._out.read_bytes()

    @property
    def out(self) -> str:
        """The same as text."""
        return self.raw.decode()

    @property
    def err(self) -> str:
        """What it wrote to stderr until now."""
        return self._err.read_bytes().decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process is not None and self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def wrote(self, text: str) -> None:
        """Return when this is in its stdout."""
        await until(lambda: text in self.out or not self.running, f"{text!r} in the output")
        assert text in self.out, self.err

    async def told(self, text: str) -> None:
        """Return when this is in its stderr."""
        await until(lambda: text in self.err or not self.running, f"{text!r} in the errors")
        assert text in self.err

    async def ended(self) -> int:
        """Its exit status, once it ended by itself."""
        assert self._process is not None
        async with asyncio.timeout(DEADLINE_S):
            return await self._process.wait()

    async def __aenter__(self) -> Self:
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sessioncast", *self._arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **self._env},
                start_new_session=True,  # no terminal: signals are ours alone
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
