"""A terminal for a command that runs on ours: what it shows goes through us, and so does what is typed. POSIX only."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import termios
import tty
from typing import Any, Self

_READ = 64 * 1024
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class PseudoTerminal:
    """Our end of it.

    Attributes:
        seat: the command's end; to be closed once it has it.
        typing: whether what is typed at our terminal is the command's; else its input is ours.
        errors: whether its errors go to the terminal as well; else they have a way of their own, as ours have.
        interrupted: whether somebody typed what stops a command.
        reads, waiting, terminal: see `Source`.
    """

    def __init__(self) -> None:
        self.reads = 0
        self.waiting = False
        self.terminal = True
        self.typing = _in_front()
        self.errors = os.isatty(_STDERR)
        self.interrupted = False
        self._ours, self.seat = os.openpty()
        os.set_blocking(self._ours, False)
        self._loop = asyncio.get_running_loop()
        self._before: list[Any] | None = None
        self._typed = bytearray()
        self._resize()

    async def read(self) -> bytes:
        """The next bytes, empty at the end: nobody has the other end any more."""
        self.waiting = True
        try:
            while True:
                try:
                    data = os.read(self._ours, _READ)
                except BlockingIOError:
                    await self._readable()
                    continue
                except OSError as error:
                    if error.errno != errno.EIO:  # Linux's way to tell the end; others read nothing
                        raise
                    data = b""
                self.reads += 1
                return data
        finally:
            self.waiting = False

    def take_over(self) -> Self:
        """Hand our terminal to the command: changes of its size, and what is typed. Undone by `close`."""
        self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        if self.typing:
            self._before = termios.tcgetattr(_STDIN)
            # Stopped and gone on with, the terminal may have been set up by somebody else.
            self._loop.add_signal_handler(signal.SIGCONT, self._set_raw)
            self._set_raw()
            self._loop.add_reader(_STDIN, self._pass_on)
        return self

    def interrupt(self, number: signal.Signals) -> None:
        """What a key that sends a signal would do."""
        with contextlib.suppress(OSError):
            os.killpg(os.tcgetpgrp(self._ours), number)

    def close(self) -> None:
        """Read no more, and give our terminal back as it was."""
        if self._ours < 0:
            return
        self._loop.remove_signal_handler(signal.SIGWINCH)
        for number in (_STDIN,) if self.typing else ():
            self._loop.remove_reader(number)
        self._loop.remove_reader(self._ours)
        self._loop.remove_writer(self._ours)
        if self._before is not None:
            self._loop.remove_signal_handler(signal.SIGCONT)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._before)
        os.close(self._ours)
        self._ours = -1

    async def _readable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def look() -> None:
            # At once: it would be called again and again until the waiting task runs.
            self._loop.remove_reader(self._ours)
            if not ready.done():
                ready.set_result(None)

        self._loop.add_reader(self._ours, look)
        try:
            await ready
        finally:
            self._loop.remove_reader(self._ours)

    def _resize(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, fcntl.ioctl(_STDOUT, termios.TIOCGWINSZ, bytes(8)))

    def _set_raw(self) -> None:
        with contextlib.suppress(termios.error):
            # Not flushed: what was typed ahead is the command's.
            tty.setraw(_STDIN, termios.TCSADRAIN)

    def _pass_on(self) -> None:
        try:
            data = os.read(_STDIN, _READ)
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(_STDIN)
            return
        self._notice(data)
        self._typed += data
        self._feed()

    def _feed(self) -> None:
        """Hand over what was typed; while the command does not take it, no more is read."""
        try:
            del self._typed[: os.write(self._ours, self._typed)]
        except BlockingIOError:
            pass
        except OSError:
            self._typed.clear()
        if self._typed:
            self._loop.remove_reader(_STDIN)
            self._loop.add_writer(self._ours, self._feed)
        else:
            self._loop.remove_writer(self._ours)
            self._loop.add_reader(_STDIN, self._pass_on)

    def _notice(self, data: bytes) -> None:
        with contextlib.suppress(termios.error):
            *_, local, _, _, keys = termios.tcgetattr(self._ours)
            stops = (keys[termios.VINTR], keys[termios.VQUIT])
            self.interrupted |= bool(local & termios.ISIG) and any(key in data for key in stops)


def seated() -> None:
    """In the new process: make its output, which is the terminal, the one that its signals come from."""
    fcntl.ioctl(_STDOUT, termios.TIOCSCTTY, 0)


def _in_front() -> bool:
    """Whether our input is a terminal that is ours to read: not while we run in its background."""
    try:
        return os.isatty(_STDIN) and os.tcgetpgrp(_STDIN) == os.getpgrp()
    except OSError:
        return False
