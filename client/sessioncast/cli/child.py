"""The command that `exec` runs: its outputs, its signals, its end."""

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sessioncast.cli.pumps import Source

if TYPE_CHECKING:  # it is loaded where there is a terminal
    from sessioncast.cli.pseudoterminal import PseudoTerminal

_READ = 64 * 1024
_STDOUT = 1


class Pipe:
    """The reading end of one of the command's outputs.

    Not asyncio's own pipe: with that, waiting for the command would wait for whoever inherited the other end, too.

    Attributes:
        reads, waiting, terminal: see `Source`.
    """

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        self.reads = 0
        self.waiting = False
        self.terminal = False
        self._reader = reader
        self._transport = transport

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        self.waiting = True
        try:
            data = await self._reader.read(_READ)
        finally:
            self.waiting = False
        self.reads += 1
        return data

    def close(self) -> None:
        """Read no more."""
        self._transport.close()


class Child:
    """A running command.

    Attributes:
        stdout, stderr: its outputs; None: its errors go where its output goes. Its input is ours.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdout: Source,
        stderr: Source | None,
        terminal: "PseudoTerminal | None" = None,
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._process = process
        self._terminal = terminal

    @classmethod
    async def spawn(cls, command: Sequence[str], *, pty: bool = False) -> "Child":
        """Start it.

        Args:
            pty: on a terminal of its own, which shows on ours.

        Raises:
            OSError: it cannot be run.
        """
        return await (_seat(command) if pty else _pipe_up(command))

    @property
    def interrupted(self) -> bool:
        """Whether somebody typed what stops a command at its terminal; nobody else is told of that."""
        return self._terminal is not None and self._terminal.interrupted

    def forward(self, number: signal.Signals) -> None:
        """Pass a signal on, unless the terminal has sent it to the command already."""
        if self._process.returncode is not None:
            return
        if number is not signal.SIGINT:
            self._process.send_signal(number)
        elif self._terminal is not None:
            self._terminal.interrupt(number)
        elif not _in_foreground():
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Exit code; 128 + the signal's number when one ended it, as shells count."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Read no more."""
        self.stdout.close()
        if self.stderr is not None:
            self.stderr.close()


def on_terminal() -> bool:
    """Whether our output is a terminal, and a command can be given one: not on Windows."""
    return os.name == "posix" and os.isatty(_STDOUT)


async def _pipe_up(command: Sequence[str]) -> Child:
    (out, out_end), (err, err_end) = await _pipe(), await _pipe()
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=None, stdout=out_end, stderr=err_end)
    except BaseException:
        out.close()
        err.close()
        raise
    finally:
        os.close(out_end)
        os.close(err_end)
    return Child(process, out, err)


async def _seat(command: Sequence[str]) -> Child:
    from sessioncast.cli.pseudoterminal import PseudoTerminal, seated

    terminal = PseudoTerminal()
    err, err_end = (None, terminal.seat) if terminal.errors else await _pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=terminal.seat if terminal.typing else None,
            stdout=terminal.seat,
            stderr=err_end,
            start_new_session=True,
            preexec_fn=seated,
        )
    except BaseException:
        terminal.close()
        if err is not None:
            err.close()
        raise
    finally:
        os.close(terminal.seat)
        if err is not None:
            os.close(err_end)
    return Child(process, terminal.take_over(), err, terminal)


async def _pipe() -> tuple[Pipe, int]:
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader(limit=_READ)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    return Pipe(reader, transport), write_end


def _in_foreground() -> bool:
    """Whether Ctrl-C of a terminal goes to our process group, and so to the command as well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
