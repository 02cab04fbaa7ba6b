"""The command line on a terminal of its own, as a person sits at one."""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any, Self

from support.waiting import DEADLINE_S, until

# The terminal becomes the controlling one, so that Ctrl-C and the end of a session mean what they mean to a person.
_SEATED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"

CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """A running `sessioncast` command with input, output and errors on a pseudo-terminal; killed at the end.

    Args:
        folder: its working directory.
        errors: a file for stderr instead of the terminal.
    """

    def __init__(self, folder: Path, url: str, *arguments: str, errors: Path | None = None) -> None:
        self._folder = folder
        self._arguments = arguments
        self._errors = errors
        self._env = {"SESSIONCAST_URL": url, "NO_COLOR": "1", "XDG_STATE_HOME": str(folder / "state")}
        self._screen = bytearray()
        self._person, self._seat = os.openpty()
        self.resize(rows=50, columns=300)  # wide enough for every line of ours
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def exec(cls, folder: Path, url: str, *command: str, options: tuple[str, ...] = (), **rest: Any) -> Self:
        """`sessioncast exec` of a command for a task called «T»."""
        return cls(folder, url, "exec", "--task", "T", *options, "--", *command, **rest)

    @property
    def screen(self) -> str:
        """All that was written to it until now, and what was typed."""
        return self._screen.decode(errors="replace").replace("\r\n", "\n")

    @property
    def modes(self) -> list[Any]:
        """How the terminal is set up."""
        return termios.tcgetattr(self._seat)

    def resize(self, *, rows: int, columns: int) -> None:
        """Make it another size; who runs on it is told."""
        fcntl.ioctl(self._seat, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._person, text.encode())

    async def paste(self, text: str) -> None:
        """Press very many keys, as fast as they are taken."""
        left = text.encode()

        def pressed() -> bool:
            nonlocal left
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._person, left) :]
            return not left

        await until(pressed, "the keys to be taken")

    async def shows(self, text: str, *, times: int = 1) -> None:
        """Return when this was written to it so many times."""

        def shown() -> bool:
            return self.screen.count(text) >= times or not self._running

        await until(shown, f"{text!r} on the terminal")
        self._look()
        assert self.screen.count(text) >= times, self.screen

    async def ended(self) -> int:
        """Its exit status, once it ended by itself."""
        assert self._process is not None
        async with asyncio.timeout(DEADLINE_S):
            status = await self._process.wait()
        self._look()
        return status

    @property
    def _running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _look(self) -> None:
        """Take in what the terminal has to show now."""
        while True:
            try:
                self._screen += os.read(self._person, 65536)
            except BlockingIOError:
                return

    async def __aenter__(self) -> Self:
        os.set_blocking(self._person, False)
        asyncio.get_running_loop().add_reader(self._person, self._look)
        errors = self._seat if self._errors is None else os.open(self._errors, os.O_WRONLY | os.O_CREAT)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _SEATED, sys.executable, "-m", "sessioncast", *self._arguments),
                stdin=self._seat,
                stdout=self._seat,
                stderr=errors,
                cwd=self._folder,
                env={**os.environ, **self._env},
                start_new_session=True,
            )
        finally:
            if errors != self._seat:
                os.close(errors)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._person)
        os.close(self._person)
        os.close(self._seat)
