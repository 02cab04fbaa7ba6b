"""When a lease has run out, whatever clocks say."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was found.

    Attributes:
        id: whose it is.
        renewals: rises with each renewal.
        lease_s: seconds that a renewal is good for.
    """

    id: str
    renewals: int
    lease_s: float


class Lapses:
    """Finds leases that were not renewed in time, by watching them.

    Times of renewals are not compared with anybody's clock: clocks of nodes differ, jump, and stand still. A lease has
    run out once the same number of renewals was seen for `lease_s` seconds of this process' own monotonic time. That
    is never before `lease_s` after the renewal, for it was first seen after it; a process that was stopped meanwhile
    errs on the same side as long as who acts on it makes sure that `renewals` still is what was seen.

    Args:
        clock: monotonic seconds.
        limit: leases that are watched at once; others wait until some of these are gone.
    """

    def __init__(self, clock: Callable[[], float], *, limit: int = 100_000) -> None:
        self._clock = clock
        self._limit = limit
        self._seen: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def look(self, leases: Iterable[Lease]) -> list[Lease]:
        """Those of all present leases that have run out. What is not among them any more is forgotten."""
        now = self._clock()
        seen: dict[str, tuple[int, float]] = {}
        lapsed = []
        for lease in leases:
            known = self._seen.get(lease.id)
            if known is None or known[0] != lease.renewals:
                known = (lease.renewals, now)
            elif now - known[1] >= lease.lease_s:
                lapsed.append(lease)
            if len(seen) < self._limit:
                seen[lease.id] = known
        self._seen = seen
        return lapsed
