"""What a client stands on: a real server, or a double of one (`sessioncast.testing`)."""

from collections.abc import Mapping
from typing import Protocol

from sessioncast.answer import Answer, Query
from sessioncast.limits import Limits
from sessioncast.stats import Counters
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.ways import TransportWish, Ways
from sessioncast_shared.filters import Filter


class Backend(Protocol):
    """Answers requests, and has ways to its streams.

    Attributes:
        url: base URL, without a slash at its end.
        limits: the client's.
        counters: the client's numbers.
    """

    url: str
    limits: Limits
    counters: Counters

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """One request and its answer, whatever its status; raises ConnectionLost when there is none."""

    def ways(self, project: str, wanted: Filter, wish: TransportWish, statuses: Statuses) -> Ways:
        """The ways of one subscription."""

    async def aclose(self) -> None:
        """Close all connections."""
