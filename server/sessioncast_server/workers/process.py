"""A worker's process, as its parent sees it."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sessioncast_server.settings import Settings, to_json


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process.

    Attributes:
        why: what it said itself, or how it ended.
        refused: whether it did not begin, and said why.
    """

    why: str
    refused: bool = False


class WorkerProcess:
    """One process, from its start to its end; made by `start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._failure: Death | None = None

    @classmethod
    async def start(cls, number: int, settings: Settings, sockets: Sequence[socket.socket]) -> Self:
        """Start it with sockets to listen on, which are its own from then on.

        Raises:
            OSError: there is nothing left to start it with.
        """
        with contextlib.ExitStack() as stack:
            for one in sockets:
                stack.enter_context(one)
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            with contextlib.ExitStack() as failing:
                failing.enter_context(ours)
                ours.sendall(f"{to_json(settings)}\n".encode())  # a few kilobytes, which the pair holds for it
                descriptors = [theirs.fileno(), *(one.fileno() for one in sockets)]
                process = await asyncio.create_subprocess_exec(
                    # -P: unlike a script, `-m` would look for modules in the current folder first.
                    *(sys.executable, "-P", "-m", "sessioncast_server.workers.worker"),
                    *map(str, (number, *descriptors)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=descriptors,
                    start_new_session=True,  # Ctrl-C is the parent's, which tells each worker once
                )
                failing.pop_all()
        return cls(process, *await asyncio.open_connection(sock=ours))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def is_ready(self, within_s: float) -> bool:
        """Whether it takes requests, once that is known. If not, it ends; one that takes too long is killed."""
        said = b""
        try:
            async with asyncio.timeout(within_s):
                with contextlib.suppress(OSError):  # it ended without reading all that it was told
                    said = await self._reader.readline()
        except TimeoutError:
            self._failure = Death(f"was not ready within {within_s:g} s")
            self.send(signal.SIGKILL)
            return False
        if not said.endswith(b"\n"):
            return False
        why = json.loads(said)["failure"]
        if why is not None:
            self._failure = Death(why, refused=True)
        return why is None

    async def death(self) -> Death:
        """Why it ended, once it did."""
        status = await self._process.wait()
        self._writer.close()
        if self._failure is not None:
            return self._failure
        return Death(f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}")
