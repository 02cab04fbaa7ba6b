"""What a delivery costs our server by the number of subscribers and of channels, at a rate that it can bear."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from crowd.figures import Figure, Meter
from crowd.ours import Ours, ours
from crowd.publisher import Publisher
from crowd.reactor import Reactor
from crowd.receivers import Crowd

FLAT = 0.25
"""The dearest may cost so much more than the cheapest."""
_SWEEP_S = 0.01
_PARALLEL = 256
_RATE_MAX = 600.0
"""Events per second, for a change costs as much as hundreds of deliveries."""


def curve(
    folder: Path, *, lane: str, transport: str, round_number: int, subscribers: Sequence[int], channels: Sequence[int],
    each: int, deliveries: float, seconds: float,
) -> Iterator[Figure]:  # fmt: skip
    """A figure for each number of subscribers of one channel, and of channels with `each` subscribers.

    Args:
        each: subscribers of a channel where there are several: what an event costs is shared by as many deliveries.
        deliveries: per second, where that asks for no more than 600 events per second.
        seconds: of each of two loads: without subscribers, which is what a change costs, and with them.
    """
    points = [("subscribers", count, count, 1) for count in subscribers]
    points += [("channels", count, each * count, count) for count in channels]
    for kind, label, people, projects in points:
        place = folder / f"curve-{kind}-{label}"
        place.mkdir()
        rate = min(_RATE_MAX, deliveries / (people / projects))
        with ours(place, lane=lane, projects=projects, sessions=6) as side:
            net, gross, generator = _point(side, transport, people, rate, seconds)
        yield Figure(
            side.name, transport, kind, round_number,
            {"count": label, "events_s": rate, "net_us": net, "gross_us": gross}, round(generator, 3),
        )  # fmt: skip


def _point(side: Ours, transport: str, people: int, rate: float, seconds: float) -> tuple[float, float, float]:
    """µs of the server per delivery without and with the changes' own, share of a core of the generator."""
    reactor = Reactor()
    publisher = Publisher(reactor, side.publish_port, side.compose)
    crowd = Crowd(reactor, side.port, {})
    try:
        _load(reactor, publisher, rate, min(1.0, seconds), Meter(side.tree))
        alone, with_all = Meter(side.tree), Meter(side.tree)
        changes = _load(reactor, publisher, rate, seconds, alone)
        crowd.connect(people, lambda index: side.steps(transport, index), parallel=_PARALLEL)
        crowd.sweep_every(_SWEEP_S)
        _load(reactor, publisher, rate, min(1.0, seconds), Meter(side.tree))
        crowd.reset()
        made = _load(reactor, publisher, rate, seconds, with_all)
        crowd.drain(10)
        each = people / len(side.projects)
        if crowd.closed or crowd.bytes < made * each * 200:
            return math.inf, math.inf, with_all.generator
        extra = with_all.server - alone.server * made / changes
        return extra / (made * each) * 1e6, with_all.server / (made * each) * 1e6, with_all.generator
    finally:
        publisher.close()
        crowd.close()
        reactor.close()


def _load(reactor: Reactor, publisher: Publisher, rate: float, seconds: float, meter: Meter) -> int:
    before = publisher.count
    meter.start()
    publisher.plan(rate, seconds)
    reactor.rest(seconds + 0.1)
    publisher.stop()
    meter.stop()
    return max(1, publisher.count - before)


def flat(figures: Sequence[Figure], kind: str) -> float | None:
    """The dearest by the cheapest delivery of one kind, the changes' own cost taken off; None: nothing was measured."""
    counts = {made.values["count"] for made in figures if made.column == kind and not made.void}
    costs = [
        median(made.values["net_us"] for made in figures if made.column == kind and made.values["count"] == count)
        for count in counts
    ]
    if not costs:
        return None
    return max(costs) / min(costs) if min(costs) > 0 else math.inf
