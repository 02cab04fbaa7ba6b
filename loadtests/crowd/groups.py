"""Our server with many groups of one subscriber in one project: what an event and a subscriber cost."""

import math
from pathlib import Path

from crowd.figures import Figure, Meter
from crowd.ours import Ours, ours
from crowd.publisher import Publisher
from crowd.reactor import Reactor
from crowd.receivers import Crowd

_SWEEP_S = 0.05
_PARALLEL = 256


def groups(
    folder: Path,
    *,
    lane: str,
    transport: str,
    round_number: int,
    many: int,
    few: int,
    seconds: float,
    settle_s: float,
    text: int,
) -> Figure:
    """Processor time of the server per event when publishers saturate it, with many groups and few; memory of many."""
    measured: dict[int, tuple[float, float, float]] = {}
    name = ""
    for count in sorted({few, many}):
        place = folder / f"groups-{count}"
        place.mkdir()
        # The store has as much to do in both: as many sessions, and the same few of them change.
        with ours(place, lane=lane, sessions=many, active=few, grouped=True, text=text) as side:
            name = side.name
            measured[count] = _measure(side, transport, count, seconds, settle_s)
    few_us, many_us = measured[few][0], measured[many][0]
    values = {
        "few_us": few_us,
        "many_us": many_us,
        "ratio": many_us / few_us if few_us else math.inf,
        "bytes": measured[many][1],
    }
    generator = max(busy for *_, busy in measured.values())
    return Figure(name, transport, "groups", round_number, values, round(generator, 3))


def _measure(side: Ours, transport: str, count: int, seconds: float, settle_s: float) -> tuple[float, float, float]:
    """µs an event, bytes a subscriber, share of a core of the generator; infinite when not all events came."""
    reactor = Reactor()
    crowd = Crowd(reactor, side.port, {})
    publisher = Publisher(reactor, side.publish_port, side.compose)
    try:
        reactor.rest(1.0)
        empty = side.tree.memory()
        crowd.connect(count, lambda index: side.steps(transport, index), parallel=_PARALLEL)
        reactor.rest(settle_s)
        each = (side.tree.memory() - empty) / count
        crowd.sweep_every(_SWEEP_S)
        publisher.start()
        reactor.rest(min(1.0, seconds))
        before, meter = publisher.count, Meter(side.tree)
        meter.start()
        reactor.rest(seconds)
        meter.stop()
        made = publisher.count - before
        publisher.stop()
        crowd.drain(10)
        heard = crowd.bytes >= publisher.count * 200 and not crowd.closed
        return (meter.server / made * 1e6 if made and heard else math.inf), each, meter.generator
    finally:
        publisher.close()
        crowd.close()
        reactor.close()
