"""What a pool of connections tells of itself. The metrics of the server implement it; by itself it tells nobody."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

PoolName = Literal["write", "read", "observe"]

Failure = Literal["connection", "io", "pool", "deadline", "queue"]
"""Why a call got nothing from its pool: no connection could be had or kept (`connection`, `io`), no thread was free in
time (`pool`), the time for the whole call was up (`deadline`), or too many waited already (`queue`)."""


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """Connections of a pool, now.

    Attributes:
        active: in use, or being opened for a call.
        idle: open and not in use; one that the server closed meanwhile is noticed at its next use.
        maximum: as many as there are threads.
    """

    active: int
    idle: int
    maximum: int


class PoolMeter(Protocol):
    """Told of one pool; by its threads and by the loop."""

    def watch(self, figures: Callable[[], PoolFigures]) -> None:
        """The pool was made; `figures` may be called at any time from any thread."""

    def waited(self, seconds: float) -> None:
        """A call was taken by a thread, or given up, so long after it came."""

    def failed(self, reason: Failure) -> None:
        """A call failed for a reason of the pool's."""


class Unmetered:
    """Tells nobody."""

    def watch(self, figures: Callable[[], PoolFigures]) -> None:
        """Not asked."""

    def waited(self, seconds: float) -> None:
        """Not told."""

    def failed(self, reason: Failure) -> None:
        """Not told."""


def unmetered(name: PoolName) -> PoolMeter:  # noqa: ARG001  the shape of what makes meters
    """A meter that tells nobody."""
    return Unmetered()


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of a pool.

    Attributes:
        size: threads, and connections.
        queue_max: calls that may wait; one more is refused with UnavailableError("queue").
        wait_s: longest wait for a thread, then UnavailableError("pool").
        deadline_s: seconds a call may take from submission, then its connection is aborted.
        idle_s: a connection that was not used for so long is closed, and opened again when it is needed; None: never.
    """

    size: int
    queue_max: int
    deadline_s: float
    wait_s: float
    idle_s: float | None = None
