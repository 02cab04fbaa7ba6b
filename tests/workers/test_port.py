"""The port that workers share."""

import socket
from contextlib import closing

import pytest

from sessioncast_server.workers.port import Port


def test_every_address_of_a_host_has_the_same_port() -> None:
    """Whatever `localhost` means here, any free port is one port, and a worker has a socket on each address."""
    with closing(Port.hold("localhost", 0)) as port:
        number = int(port.url.rpartition(":")[2])
        made = port.sockets()
        addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {one.getsockname()[:2] for one in made} == {(address, number) for address in addresses}
        for one in made:
            one.close()


def test_an_ipv6_address_is_told_in_brackets() -> None:
    """As RFC 3986, section 3.2.2, has it."""
    try:
        port = Port.hold("::1", 0)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with closing(port):
        assert port.url.startswith("http://[::1]:")


def test_only_sockets_that_listen_are_given_connections() -> None:
    """What is held for the workers takes none itself: with nobody listening a connection is refused."""
    with closing(Port.hold("127.0.0.1", 0)) as port:
        address = ("127.0.0.1", int(port.url.rpartition(":")[2]))
        (idle,), (busy,) = port.sockets(), port.sockets()
        with idle, busy:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            busy.listen(64)
            for _ in range(64):
                socket.create_connection(address).close()


def test_a_port_in_use_is_refused() -> None:
    """Also where those who use it share it among themselves."""
    with closing(Port.hold("127.0.0.1", 0)) as port:
        (one,) = port.sockets()
        with one:
            one.listen()
            with pytest.raises(OSError, match="in use"):
                Port.hold("127.0.0.1", int(port.url.rpartition(":")[2]))
