"""A connection of the fast lane: bytes go straight to the transport, which says when it has enough."""

import asyncio
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class OutletTerms:
    """What all connections of a node have in common.

    Attributes:
        retry_ms: base of the pause before a client comes back.
        deadline_s: how long a client may take to read what it was sent last; then it is cut off.
        high_water, low_water: bytes waiting in the process above which a sink is full, and at which it no longer is.
    """

    retry_ms: int = 1000
    deadline_s: float = 30.0
    high_water: int = 1 << 15
    low_water: int = 1 << 13


class Outlet(asyncio.Protocol):
    """The protocol of a detached transport.

    Attributes:
        full: the transport holds more than it should; it says when it no longer does.
        ended: its last bytes were written.
    """

    __slots__ = ("_connections", "_cutting", "_held", "_moved_at", "ended", "full", "terms", "transport")

    def __init__(self, transport: asyncio.Transport, connections: set[Any], terms: OutletTerms) -> None:
        self.transport = transport
        self.terms = terms
        self.full = False
        self.ended = False
        self._connections = connections
        self._cutting: asyncio.TimerHandle | None = None
        self._held = 0
        self._moved_at = 0.0
        transport.set_write_buffer_limits(terms.high_water, terms.low_water)

    def drained(self) -> None:
        """The transport can take more."""

    def gone(self) -> None:
        """The connection is over; called once."""

    def cut_after(self, seconds: float) -> None:
        """Abort the connection if it is still there then; close() alone would wait for a full socket for ever."""
        if self._cutting is None:
            self._cutting = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    def finish(self) -> None:
        """Close once what was written is sent, or at the deadline."""
        if self.transport.get_write_buffer_size():
            self.cut_after(self.terms.deadline_s)
        self.transport.close()

    def pause_writing(self) -> None:
        """The transport has enough."""
        self.full = True
        self._held = self.transport.get_write_buffer_size()
        self._moved_at = asyncio.get_running_loop().time()

    def stalled_since(self) -> float:
        """Loop time when the client of a full transport was last seen to take something: slow is not silent."""
        held = self.transport.get_write_buffer_size()
        if held < self._held:
            self._held = held
            self._moved_at = asyncio.get_running_loop().time()
        return self._moved_at

    def resume_writing(self) -> None:
        """The transport can take more."""
        self.full = False
        if not self.ended:
            self.drained()

    def eof_received(self) -> bool | None:
        """The client will say no more. What it has not read by now it need not be waited for."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        return None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  a protocol's signature
        """The connection is over."""
        self.ended = True
        self._connections.discard(self)
        if self._cutting is not None:
            self._cutting.cancel()
            self._cutting = None
        self.gone()
