"""A real program that a test may stop, kill, freeze and start again."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

from support import processes
from support.waiting import DEADLINE_S, wait_until

_TAIL = 4_000


class DiedError(RuntimeError):
    """A program ended before it was ready; the text has the end of its log."""


class Running(Protocol):
    """What a program that was started is to us: a `subprocess.Popen`, or what does as one."""

    @property
    def pid(self) -> int:
        """Process id; nobody else's until the status was asked for."""
        ...

    def poll(self) -> int | None:
        """Exit status, None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Exit status once it ended; `subprocess.TimeoutExpired` if it did not in time."""
        ...


class Program:
    """Base of what runs as a process of its own; subclasses say how it is started and when it is ready.

    Attributes:
        log: file its output goes to, over all its starts.
    """

    stop_signal = signal.SIGTERM

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: Running | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str | Path]:
        """The command line."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """Its whole environment; None for the test's own."""
        return None

    def user(self) -> str | None:
        """Whom to run it as; None for the test's own user."""
        return None

    def is_ready(self) -> bool:
        """Whether it does its work already."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Process id.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, deadline_s: float = DEADLINE_S) -> None:
        """Start it and return when it is ready.

        Raises:
            DiedError: it ended instead.
            TimeoutError: it did neither in time; it is killed then.
        """
        self.launch()
        try:
            wait_until(self._ready_or_dead, f"{type(self).__name__} to be ready", deadline_s=deadline_s)
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start it and do not wait.

        Raises:
            RuntimeError: it runs already.
        """
        if self._process is not None:
            raise RuntimeError(f"{type(self).__name__} is running already")
        with self.log.open("ab") as log:
            self._process = self.spawn(log.fileno())

    def spawn(self, log: int) -> Running:
        """Start the process; its output goes to this descriptor. However the test run ends, it ends with it."""
        user = self.user()
        process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.log.parent,
            env=self.environment(),
            user=user,
            group=None if user is None else group_of(user),
            extra_groups=None if user is None else [],
            start_new_session=True,  # Ctrl-C is the test's, which then stops it
        )
        # When the test run is killed, nobody is left to stop the program: the guard reads to the end of a pipe that
        # closes with us. (PR_SET_PDEATHSIG will not do: it goes by the thread that started the program.)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -KILL "$0"', str(process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        return process

    def stop(self, *, deadline_s: float = DEADLINE_S) -> int | None:
        """Ask it to end and return its exit status; None if it did not run.

        Raises:
            TimeoutError: it did not end in time; it is killed then.
        """
        if self._process is None:
            return None
        processes.send([self._process.pid], self.stop_signal)
        self.thaw()  # a stopped process would not hear of it
        return self.wait(deadline_s=deadline_s)

    def wait(self, *, deadline_s: float = DEADLINE_S) -> int:
        """Wait for it to end by itself and return its exit status.

        Raises:
            TimeoutError: it did not end in time; it is killed then.
        """
        process = self._process
        if process is None:
            raise RuntimeError(f"{type(self).__name__} is not running")
        try:
            status = process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{type(self).__name__} did not end in {deadline_s:g} s\n{self.tail()}") from None
        self.dismiss()
        return status

    def kill(self) -> None:
        """SIGKILL to it and its descendants; returns when none of them is left."""
        if self._process is None:
            return
        members: list[int] = []
        if self.running:
            members = processes.freeze(self._process.pid)  # or it could start another one while we count
            processes.send(members, signal.SIGKILL)
            self._process.wait()
        self.dismiss()
        wait_until(lambda: not any(map(processes.alive, members)), f"{members} to be gone")

    def freeze(self) -> None:
        """SIGSTOP to it and its descendants: its connections stay, and nothing is answered."""
        processes.freeze(self.pid)

    def thaw(self) -> None:
        """Let it go on."""
        processes.send(processes.family(self.pid)[::-1], signal.SIGCONT)

    def restart(self) -> None:
        """Stop it if it runs, then start it as before."""
        self.stop()
        self.start()

    def tail(self) -> str:
        """The end of its log."""
        with suppress(FileNotFoundError):
            return self.log.read_bytes()[-_TAIL:].decode(errors="replace")
        return ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _ready_or_dead(self) -> bool:
        if not self.running:
            raise DiedError(f"{type(self).__name__} ended before it was ready\n{self.tail()}")
        return self.is_ready()

    def dismiss(self) -> None:
        """Forget the process, which ended."""
        self._process = None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None


def group_of(user: str) -> int:
    """Id of a user's own group."""
    import pwd  # noqa: PLC0415  not on every platform, and needed by root only

    return pwd.getpwnam(user).pw_gid


def is_root() -> bool:
    """Whether the tests run as root, whom PostgreSQL refuses."""
    return os.geteuid() == 0
