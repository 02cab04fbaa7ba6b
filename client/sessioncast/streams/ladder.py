"""Which transport to use next. No I/O; time is an argument: seconds of any clock that does not go back."""

from dataclasses import dataclass
from typing import Literal

Transport = Literal["websocket", "sse", "poll"]
Why = Literal["unreachable", "refused", "silent", "cut", "push_disabled"]
"""How a transport failed.

`unreachable`: the server is away, whatever the transport. `refused`: the opening was answered by something that does
not speak it. `silent`: it opened, and no first frame came. `cut`: it had worked. `push_disabled`: the server's flag.
"""

ORDER: tuple[Transport, ...] = ("websocket", "sse", "poll")
"""From the best to the one that gets through everywhere."""

ASIDE_S = 60.0
ASIDE_MAX_S = 900.0
QUICK_S = 10.0
"""A connection that is cut within so long of its opening was cut by somebody who does not want it."""
CUTS_MAX = 3
PROVEN_S = 30.0
"""What has worked for so long is as good as new."""


@dataclass(slots=True)
class _Record:
    """What is known of a transport.

    Attributes:
        aside_until: when it may be tried again.
        times: how often in a row it was set aside.
        cuts: quick ones, in a row.
        opened_at: when its newest connection had its first frame; None: it failed since.
        good_since: when the first of the connections since its last failure had its first frame.
    """

    aside_until: float | None = None
    times: int = 0
    cuts: int = 0
    opened_at: float | None = None
    good_since: float | None = None

    def is_aside(self, now: float) -> bool:
        """Whether it must not be tried yet."""
        return self.aside_until is not None and now < self.aside_until


class Ladder:
    """The transports of one client, best first; what fails is set aside for a while, ever longer.

    One ladder serves all subscriptions of a client: what a proxy does to one it does to all. Only the server's flag
    is one per project.
    """

    def __init__(self) -> None:
        self._records: dict[Transport, _Record] = {transport: _Record() for transport in ORDER[:-1]}
        self._off: set[str] = set()

    def order(self, now: float, *, project: str = "") -> tuple[Transport, ...]:
        """Those that are not set aside, from the best down."""
        self._settle(now)
        if project in self._off:
            return ORDER[-1:]
        return (*(transport for transport, record in self._records.items() if not record.is_aside(now)), ORDER[-1])

    def best(self, now: float, *, project: str = "") -> Transport:
        """The highest that is not set aside."""
        return self.order(now, project=project)[0]

    def climb_at(self, now: float, *, project: str = "") -> float | None:
        """When a better one than the best of now may be tried; None: there is none, or only the server can tell."""
        best = self.best(now, project=project)
        if project in self._off:
            return None
        times = [self._records[better].aside_until for better in ORDER[: ORDER.index(best)]]
        return min((until for until in times if until is not None), default=None)

    def worked(self, transport: Transport, now: float) -> None:
        """A connection had its first frame."""
        self._settle(now)
        record = self._records.get(transport)
        if record is not None:
            record.opened_at = now
            record.good_since = now if record.good_since is None else record.good_since

    def failed(self, transport: Transport, why: Why, now: float, *, project: str = "") -> None:
        """A connection did not come about, or broke.

        What is set aside already is not set aside again: several subscriptions tell of one and the same fault.
        """
        self._settle(now)
        if why == "push_disabled":
            self._off.add(project)
            return
        record = self._records.get(transport)
        if record is None or why == "unreachable" or record.is_aside(now):
            return
        if why == "cut":
            quick = record.opened_at is None or now - record.opened_at <= QUICK_S
            record.cuts = record.cuts + 1 if quick else 0
        record.opened_at = record.good_since = None
        if why != "cut" or record.cuts >= CUTS_MAX:
            # The exponent is bounded so that months of failing do not overflow a float.
            record.aside_until = now + min(ASIDE_S * 2.0 ** min(record.times, 10), ASIDE_MAX_S)
            record.times += 1
            record.cuts = 0

    def push(self, on: bool, now: float, *, project: str = "") -> None:
        """A poll's answer told whether the server pushes."""
        self._settle(now)
        if on:
            self._off.discard(project)
        else:
            self._off.add(project)

    def _settle(self, now: float) -> None:
        """Forget what was held against those that have proven themselves."""
        for record in self._records.values():
            if record.good_since is not None and now - record.good_since >= PROVEN_S:
                record.aside_until, record.times, record.cuts = None, 0, 0
