"""Kinds of lost connections: what they say of the way that was taken.

Whoever uses the client knows them as `ConnectionLost`; the choice of a transport needs to know more.
"""

from sessioncast.errors import ConnectionLost


class Unreachable(ConnectionLost):
    """Nobody answered there at all: the server is away, whatever the transport."""


class Unfit(ConnectionLost):
    """Something answered, but not as this transport needs it: a proxy in between, most likely."""


class Silent(ConnectionLost):
    """Nothing was heard for too long."""
