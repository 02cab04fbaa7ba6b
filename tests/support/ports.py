"""Ports of 127.0.0.1 that a server can have, and have again after it was killed."""

import random
import socket

# Below the range the kernel gives to outgoing connections (32768 up on Linux): one of those must not be sitting
# on the port when a killed server is to come back to it.
_RANGE = range(20_000, 32_000)
_TRIES = 200
_choice = random.SystemRandom()  # pytest-xdist's workers share a seed, and would all choose the same port


def free_port() -> int:
    """A port nobody listens on at this moment.

    Raises:
        OSError: none was found.
    """
    for _ in range(_TRIES):
        port = _choice.choice(_RANGE)
        if is_free(port):
            return port
    raise OSError(f"no free port between {_RANGE.start} and {_RANGE.stop}")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now, as servers do it: over connections that are closing."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
