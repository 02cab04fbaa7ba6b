"""One worker: a node in a process of its own, which a parent watches over.

The arguments are its number and descriptors: of the line to the parent, then of the sockets to listen on. The parent
says the settings first; the worker says `{"failure": null}` when it takes requests, or why it does not. After that the
line is silent, and its end is the end of the parent: then the worker ends too, so that nobody is left on the port.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Sequence

import structlog
from prometheus_client import Gauge

from sessioncast_server import settings
from sessioncast_server.app import Application
from sessioncast_server.observe import logs
from sessioncast_server.server import make_server

_log = structlog.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Serve until told to end; the exit status: 2 if it could not begin."""
    number, line, *sockets = map(int, arguments)
    with socket.socket(fileno=line) as parent:
        return _serve(number, parent, [socket.socket(fileno=descriptor) for descriptor in sockets])


def _serve(number: int, parent: socket.socket, sockets: list[socket.socket]) -> int:
    with parent.makefile("rb") as told:
        chosen = settings.from_json(told.readline())
    logs.configure(chosen.log, chosen.log_level, worker=number)
    try:
        application = Application(chosen)
    except settings.SettingsError as error:
        _say(parent, str(error))
        return 2
    Gauge("sessioncast_worker", "Number of the worker.", registry=application.metrics.registry).set(number)

    def ready(_: str) -> None:
        _say(parent, None)
        asyncio.get_running_loop().add_reader(parent, orphaned)

    def orphaned() -> None:
        asyncio.get_running_loop().remove_reader(parent)
        _log.error("the parent is gone: ending")
        server.handle_exit(signal.SIGTERM, None)

    server = make_server(chosen, ready=ready, application=application)
    server.run(sockets)
    if server.failure is None:
        return 0
    _say(parent, server.failure)
    return 2


def _say(parent: socket.socket, failure: str | None) -> None:
    with contextlib.suppress(OSError):  # it is gone, which the line's end tells
        parent.sendall(json.dumps({"failure": failure}).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
