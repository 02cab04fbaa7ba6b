"""One server process, as an operator runs it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from support import processes, warm
from support.ports import free_port
from support.program import Program, Running
from support.waiting import DEADLINE_S

PATIENT = {
    "SESSIONCAST_LOCK_TIMEOUT_S": "60",
    "SESSIONCAST_WRITE_DEADLINE_S": "60",
    "SESSIONCAST_POOL_WAIT_S": "60",
}
"""Settings of every node that is told nothing else: a machine that stalls for some seconds makes no right node answer
that it is busy. Tests of what happens when a wait is over set it themselves."""
_READY = re.compile(rb"ready at (https?://[^\s\"]+)")


class NodeProcess(Program):
    """The process itself."""

    def __init__(self, folder: Path, *, port: int, env: Mapping[str, str], arguments: Sequence[str]) -> None:
        super().__init__(folder / f"node-{port}.log")
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._env = env
        self._arguments = arguments
        self._log_from = 0
        self._fork: warm.WarmProcess | None = None

    def command(self) -> list[str | Path]:
        """What `scripts/serve` runs."""
        return [sys.executable, "-m", "sessioncast", "serve", "--port", str(self.port), *self._arguments]

    def environment(self) -> dict[str, str]:
        """The test's environment without its settings, patience, and the given ones."""
        theirs = ("SESSIONCAST_", "AGENT_SESSION_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        return {**kept, **PATIENT, "PYTHONUNBUFFERED": "1", **self._env}

    def launch(self) -> None:
        """Start it; the line of an earlier start says nothing about this one."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        super().launch()

    def spawn(self, log: int) -> Running:
        """As a fork of a program that has loaded the server, where that makes no difference."""
        if not warm.may_be_warm(self._arguments, self._env):
            return super().spawn(log)
        arguments = [str(part) for part in self.command()[3:]]
        self._fork = warm.fork(arguments, env=self.environment(), folder=self.log.parent, log=log)
        return self._fork

    def dismiss(self) -> None:
        """The same; a fork's pid is free then."""
        super().dismiss()
        if self._fork is not None:
            self._fork.release()
            self._fork = None

    def is_ready(self) -> bool:
        """Whether it printed its address."""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            found = _READY.search(log.read())
        if found is None:
            return False
        self.url = found[1].decode().rstrip("/.")
        return True


class Node:
    """A node on a port of its own, kept over restarts. Its folder is where `data/` and its log land.

    `async with Node(folder) as node:` starts it, and kills it at the end if it still runs. What waits is a coroutine,
    so that clients on the same loop go on meanwhile; signals are sent at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        self._server = NodeProcess(
            folder, port=free_port() if port is None else port, env=env or {}, arguments=arguments
        )

    @property
    def url(self) -> str:
        """Its address, as it printed it."""
        return self._server.url

    @property
    def port(self) -> int:
        """The port it was told to listen on."""
        return self._server.port

    @property
    def pid(self) -> int:
        """Process id."""
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended by itself."""
        return self._server.running

    def log(self) -> str:
        """What it printed, over all its starts."""
        return self._server.log.read_text(errors="replace") if self._server.log.exists() else ""

    async def start(self, *, deadline_s: float = DEADLINE_S) -> None:
        """Start it and return when it has printed its address.

        Raises:
            DiedError: it ended instead; the text has the end of its log.
            TimeoutError: it did neither in time.
        """
        await asyncio.to_thread(self._server.start, deadline_s=deadline_s)

    async def stop(self, *, deadline_s: float = DEADLINE_S) -> int | None:
        """SIGTERM, and its exit status once it ended; None if it did not run.

        Raises:
            TimeoutError: it did not end in time; it is killed then.
        """
        return await asyncio.to_thread(self._server.stop, deadline_s=deadline_s)

    async def wait(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Its exit status once it ended by itself.

        Raises:
            TimeoutError: it did not end in time; it is killed then.
        """
        return await asyncio.to_thread(self._server.wait, deadline_s=deadline_s)

    async def restart(self) -> None:
        """SIGTERM if it runs, then start on the same port and folder."""
        await self.stop()
        await self.start()

    def term(self) -> None:
        """SIGTERM, without waiting."""
        processes.send([self.pid], signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; returns when nothing of it is left."""
        self._server.kill()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay, and nothing is answered."""
        self._server.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self._server.thaw()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()


class NodeFactory(Protocol):
    """What the fixture `node_factory` is: all of a test's nodes share its folder, and so the default SQLite file."""

    def __call__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
    ) -> Awaitable[Node]: ...
