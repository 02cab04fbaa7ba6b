"""A program that has loaded the server once and makes a process of it for each node that is asked for.

To load the server takes longer than most tests; a fork of who has done so serves at once, and is a process of its own
in all else: session, folder, environment, output, signals, coverage. It is run by `support.warm`, which also says when
a node is started the long way.

Its only argument is the descriptor of a `SOCK_SEQPACKET` socket. Each packet on it is a request: JSON, with two
descriptors beside it, where the node's output goes and a stream socket. On that socket it tells the pid in a line and,
once the node has ended, its exit status as `subprocess.Popen.returncode` has it in another. The node is killed when the
other end of its socket is closed, all are when that of the requests is, however that came about.
"""

import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NoReturn

_LOADED = (
    "coverage",
    "psycopg",
    "sessioncast.__main__",
    "sessioncast_server.__main__",
    "sessioncast_server.broker.redis",
    "sessioncast_server.cache.redis",
    "sessioncast_server.db.current",
    "sessioncast_server.db.postgres",
    "sessioncast_server.server",
    "uvloop",
)
REQUEST_MAX = 1 << 17
"""Bytes of a request: a command and a whole environment."""


class _Born(BaseException):
    """Raised in the new process, to leave everything of the nursery behind."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__()
        self.request = request


class _Nursery:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, socket.socket] = {}
        self._bell, self._ringer = socket.socketpair()
        self._ringer.setblocking(False)
        self._bell.setblocking(False)

    def serve(self) -> None:
        """Until nobody can ask for more.

        Raises:
            _Born: in each new process.
        """
        signal.signal(signal.SIGCHLD, lambda *_: None)  # what is ignored rings no bell
        signal.set_wakeup_fd(self._ringer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._requests, selectors.EVENT_READ, None)
        self._selector.register(self._bell, selectors.EVENT_READ, 0)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    if not self._take():
                        return
                elif key.data == 0:
                    with suppress(BlockingIOError):
                        self._bell.recv(4096)
                    self._look()
                elif key.data in self._children:
                    self._dismiss(key.data)

    def close(self) -> None:
        """Kill all that run."""
        for pid in list(self._children):
            self._dismiss(pid)

    def _take(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._requests, REQUEST_MAX, 2)
        if not packet:
            return False
        log, line = descriptors
        pid = os.fork()
        if pid == 0:
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            os.close(line)
            self._leave()
            raise _Born(json.loads(packet))
        os.close(log)
        told = socket.socket(fileno=line)
        self._children[pid] = told
        self._selector.register(told, selectors.EVENT_READ, pid)
        with suppress(OSError):  # gone already: the selector will say so
            told.sendall(b"%d\n" % pid)
        return True

    def _look(self) -> None:
        """Tell of those that have ended. Their pids stay theirs until who asked for them has heard of it."""
        for pid, told in self._children.items():
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                with suppress(OSError):
                    told.sendall(b"%d\n" % status)
                    told.shutdown(socket.SHUT_WR)

    def _dismiss(self, pid: int) -> None:
        told = self._children.pop(pid)
        self._selector.unregister(told)
        told.close()
        os.kill(pid, signal.SIGKILL)  # not waited for: it is there, be it as a zombie
        os.waitpid(pid, 0)

    def _leave(self) -> None:
        """In a new process: keep nothing of the nursery."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for inherited in (self._requests, self._bell, self._ringer, *self._children.values()):
            inherited.close()


def _live(request: dict[str, Any]) -> None:
    """Be what `python -m sessioncast` would be with this environment and these arguments, in this folder."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["folder"])
    sys.path.insert(0, request["folder"])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(write_through=True)  # as PYTHONUNBUFFERED would have it
    program = sys.modules["sessioncast.__main__"]
    sys.argv = [str(program.__file__), *request["arguments"]]
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        sys.modules["coverage"].process_startup()
    program.main()


def _load() -> None:
    sys.path.pop(0)  # this folder: a node does not see it
    gc.disable()
    for name in _LOADED:
        importlib.import_module(name)
    gc.enable()
    gc.freeze()  # who looks for garbage would touch, and so copy, every page
    if threading.active_count() > 1:
        raise RuntimeError("a module started a thread when it was loaded: no process can be made of this one")


def main() -> NoReturn:
    """The program."""
    _load()
    nursery = _Nursery(socket.socket(fileno=int(sys.argv[1])))
    try:
        nursery.serve()
    except _Born as born:
        request = born.request
    else:
        nursery.close()
        sys.exit()
    del nursery
    _live(request)
    sys.exit()


if __name__ == "__main__":
    main()
