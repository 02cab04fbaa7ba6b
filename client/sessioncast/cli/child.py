"""The command that `exec` runs: its pipes, its signals, its end."""

import asyncio
import os
import signal
from collections.abc import Sequence

_READ = 64 * 1024


class Pipe:
    """The reading end of one of the command's outputs.

    Not asyncio's own pipe: with that, waiting for the command would wait for whoever inherited the other end, too.

    Attributes:
        reads: rises with each piece; tells silence from a reader that is held back.
    """

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        self.reads = 0
        self.waiting = False
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
        stdout, stderr: its outputs. Its input is ours.
    """

    def __init__(self, process: asyncio.subprocess.Process, stdout: Pipe, stderr: Pipe) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._process = process

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> "Child":
        """Start it.

        Raises:
            OSError: it cannot be run.
        """
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
        return cls(process, out, err)

    def forward(self, number: signal.Signals) -> None:
        """Pass a signal on, unless the terminal has sent it to the command already."""
        if self._process.returncode is None and not (number is signal.SIGINT and _in_foreground()):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Exit code; 128 + the signal's number when one ended it, as shells count."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """Read no more."""
        self.stdout.close()
        self.stderr.close()


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
