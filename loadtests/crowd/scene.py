"""The measurements of one server and transport."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from crowd.audit import Auditor, MarkParser, mark, quantile
from crowd.figures import Figure, Meter
from crowd.ours import metrics
from crowd.probe import Probe
from crowd.publisher import Publisher
from crowd.reactor import Reactor
from crowd.receivers import Crowd, Step
from crowd.side import PARSERS, Side

_AUDITORS = 4
_SWEEP_S = 0.025
_GENTLE_S, _GENTLE_MOST = 0.001, 20
"""Where arrivals are timed, the others are read a few at a time, lest they hold the timed ones up."""
_PARALLEL = 256
"""Greetings under way while subscribers connect, but for the storm's."""
_DRAIN_S = 60.0
_STORM_S = 60.0
_DELIVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes:
        few, many: subscribers, of the loads and of the rest.
        seconds: of a saturated load; an open-loop one takes twice as long.
        rate: events per second of the open-loop load.
        singles: events whose last delivery is timed.
        missed: events published while everybody is cut.
        settle_s: before memory is read.
        size: bytes of an event's JSON.
    """

    few: int
    many: int
    seconds: float
    rate: float
    singles: int
    missed: int
    settle_s: float
    size: int


class Scene:
    """Measures one server by one transport; every measurement connects its own subscribers."""

    def __init__(self, side: Side, transport: str, extent: Extent, round_number: int) -> None:
        self._side = side
        self._transport = transport
        self._extent = extent
        self._round = round_number
        self._reactor = Reactor()
        self._publisher = Publisher(self._reactor, side.publish_port, side.compose)

    def close(self) -> None:
        """Be gone."""
        self._publisher.close()
        self._reactor.close()

    def saturated(self) -> Figure:
        """Deliveries per second when publishers are answered as fast as the server can."""
        extent, publisher = self._extent, self._publisher
        with self._crowd(extent.few, _AUDITORS) as (crowd, auditors):
            crowd.connect(extent.few, self._steps, parallel=_PARALLEL)
            crowd.sweep_every(_SWEEP_S)
            probe = Probe(self._reactor, self._side.port) if self._side.ours else None
            publisher.start(auditors[0].last if self._side.answers_early else None)
            self._reactor.rest(min(1.0, extent.seconds))
            crowd.reset()
            publisher.reset()
            meter = Meter(self._side.tree)
            meter.start()
            before = publisher.count
            self._reactor.rest(extent.seconds)
            meter.stop()
            made = publisher.count - before
            heard, audited = sum(each.events for each in auditors), sum(each.bytes for each in auditors)
            deliveries = heard + (crowd.bytes * heard / audited if audited else 0.0)
            latencies = sorted(publisher.latencies)
            lag = probe.close() if probe else math.nan
            publisher.stop(_DRAIN_S)
            crowd.drain(_DRAIN_S)
            values = {
                "deliveries_s": deliveries / meter.seconds,
                "publishes_s": made / meter.seconds,
                "server_us": meter.server / deliveries * 1e6 if deliveries else math.inf,
                "event_bytes": audited / heard if heard else math.inf,
                "mutation_p50_ms": quantile(latencies, 0.5) * 1000,
                "mutation_p99_ms": quantile(latencies, 0.99) * 1000,
                "refused": float(publisher.refusals),
                **self._faults(crowd, auditors),
            }
            if probe:
                values["pause_ms"] = lag * 1000
            return self._figure("saturated", values, meter.generator)

    def latency(self, sample: int = 100) -> Figure:
        """From the instant an event was due to its arrival at a socket, at a rate that the server does not choose."""
        extent, publisher = self._extent, self._publisher
        with self._crowd(extent.few, sample, timed=True) as (crowd, auditors):
            for auditor in auditors:
                auditor.schedule = publisher.schedule
            crowd.connect(extent.few, self._steps, parallel=_PARALLEL)
            crowd.sweep_every(_GENTLE_S, most=_GENTLE_MOST)
            publisher.plan(extent.rate, 1.0)
            self._reactor.rest(1.2)
            crowd.reset()
            before = publisher.count
            meter = Meter(self._side.tree)
            meter.start()
            publisher.plan(extent.rate, extent.seconds * 2)
            self._reactor.rest(extent.seconds * 2 + 0.1)
            meter.stop()
            publisher.stop(_DRAIN_S)
            crowd.drain(_DRAIN_S)
            due = (publisher.count - before) * len(auditors)
            times = sorted(time for auditor in auditors for time in auditor.latencies)
            times += [math.inf] * (due - len(times))
            values = {
                "p50_ms": quantile(times, 0.5) * 1000,
                "p99_ms": quantile(times, 0.99) * 1000,
                "p999_ms": quantile(times, 0.999) * 1000,
                **self._faults(crowd, auditors),
            }
            return self._figure("latency", values, meter.generator)

    def many(self) -> Iterator[Figure]:
        """With many subscribers: how fast they connect, what they take, when the last one hears, and the storm."""
        extent = self._extent
        with self._crowd(min(100, extent.many), 0) as (crowd, _):
            crowd.connect(min(100, extent.many), self._steps, parallel=_PARALLEL)
            for _ in range(20):
                self._publish()
            crowd.drain(5)
        self._reactor.rest(1.0)
        with self._crowd(extent.many, _AUDITORS) as (crowd, auditors):
            empty = self._side.tree.memory()
            meter = Meter(self._side.tree)
            meter.start()
            took = crowd.connect(extent.many, self._steps, parallel=_PARALLEL)
            meter.stop()
            yield self._figure("connect", {"streams_s": extent.many / took}, meter.generator)
            self._reactor.rest(extent.settle_s)
            each = (self._side.tree.memory() - empty) / extent.many
            yield self._figure("memory", {"bytes": each}, 0.0)
            yield self._last(crowd, auditors)
            yield self._storm(crowd, auditors)

    def _last(self, crowd: Crowd, auditors: list[Auditor]) -> Figure:
        meter, times = Meter(self._side.tree), []
        for _ in range(self._extent.singles):
            meter.start()
            times.append(crowd.await_each(self._extent.size, self._publisher.one, _DELIVERY_S))
            meter.stop()
            self._publisher.stop()
            crowd.drain(5)
        values = {"median_ms": median(times) * 1000, "worst_ms": max(times) * 1000, **self._faults(crowd, auditors)}
        return self._figure("last", values, meter.generator)

    def _storm(self, crowd: Crowd, auditors: list[Auditor]) -> Figure:
        """All are cut, miss some events, and come back at once with the position that they were at."""
        side, extent = self._side, self._extent
        self._publish()
        crowd.drain(10)
        position = side.position(self._publisher.answer) if side.resumes else None
        crowd.cut()
        for _ in range(extent.missed):
            self._publish()
        expected = [Step(b"", mark(0, self._publisher.published[0]))] if side.resumes else []
        before = metrics(self._reactor, side.port) if side.ours else {}
        probe = Probe(self._reactor, side.port) if side.ours else None
        meter = Meter(side.tree)
        meter.start()
        crowd.refused = 0
        known = {"": [*side.steps(self._transport, 0, position), *expected]}
        try:
            took = crowd.connect(extent.many, lambda _index: known[""], seconds=_STORM_S)
        except TimeoutError:
            took = math.inf
        meter.stop()
        values = {"seconds": took, "refused": float(crowd.refused)}
        if probe:
            values["pause_ms"] = probe.close() * 1000
            after = metrics(self._reactor, side.port)
            name = "sessioncast_snapshots_total"
            values["snapshots"] = after[name] - before[name]
        if side.resumes:
            crowd.drain(5)
            values |= self._faults(crowd, auditors)
        return self._figure("storm", values, meter.generator, "" if side.resumes else "connected, nothing caught up")

    @contextmanager
    def _crowd(self, count: int, audited: int, *, timed: bool = False) -> Iterator[tuple[Crowd, list[Auditor]]]:
        """Subscribers of whom some, evenly spread, are auditors."""
        parser = MarkParser if timed else PARSERS[self._transport]
        number = min(audited, max(1, count // 2)) if audited else 0
        auditors = {index * count // number: Auditor(parser, thorough=not timed) for index in range(number)}
        for auditor in auditors.values():
            auditor.last = dict(self._publisher.published)
        crowd = Crowd(self._reactor, self._side.port, auditors)
        try:
            yield crowd, list(auditors.values())
        finally:
            crowd.close()

    def _steps(self, index: int) -> list[Step]:
        return list(self._side.steps(self._transport, index))

    def _publish(self) -> None:
        """One event, answered."""
        self._publisher.one()
        self._publisher.stop()

    def _faults(self, crowd: Crowd, auditors: list[Auditor]) -> dict[str, float]:
        return {
            "lost": float(sum(auditor.missing(self._publisher.published) for auditor in auditors)),
            "doubled": float(sum(auditor.doubled for auditor in auditors)),
            "resyncs": float(sum(auditor.resyncs for auditor in auditors)),
            "closed": float(crowd.closed),
        }

    def _figure(self, column: str, values: dict[str, float], generator: float, note: str = "") -> Figure:
        return Figure(self._side.name, self._transport, column, self._round, values, round(generator, 3), note)
