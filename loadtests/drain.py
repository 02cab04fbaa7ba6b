"""SIGTERM with thousands of open streams: how long until the process has ended, and who was told goodbye.

Usage: python loadtests/drain.py [--streams 10000] [--deaf 100] [--rounds 3] [--lane auto] [--loads sse,ws,mixed]
"""

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from crowd.link import ask, request
from crowd.reactor import Reactor
from crowd.side import SSE, WEBSOCKET
from crowd.tree import GENERATOR_CORE, pin
from endurance.audience import Audience, Stream, fill
from endurance.process import serving

_TARGET_S = 2.0
_BOUND_S = 30.0
_LOADS = {"sse": (SSE,), "ws": (WEBSOCKET,), "mixed": (SSE, WEBSOCKET)}


@dataclass(frozen=True, slots=True)
class Drain:
    """One measurement: seconds from SIGTERM to the exit, the server's processor time in it, and what was heard."""

    load: str
    streams: int
    deaf: int
    exit_s: float
    cpu_s: float
    status: int | None
    goodbyes: int

    @property
    def good(self) -> bool:
        """Whether all who read were told, and the process ended by itself in time."""
        return self.status == 0 and self.goodbyes == self.streams - self.deaf and self.exit_s < _TARGET_S

    def line(self) -> str:
        """For people."""
        return (
            f"{self.load:<6} {self.streams:>6,} streams, {self.deaf} never read: exit {self.status} after "
            f"{self.exit_s:.2f} s ({self.cpu_s:.2f} s of processor), goodbyes {self.goodbyes:,} of "
            f"{self.streams - self.deaf:,}  {'met' if self.good else 'MISSED'}"
        )


def measure(load: str, streams: int, deaf: int, lane: str) -> Drain:
    """Open the streams on a fresh server, end it, listen to the end."""
    transports = _LOADS[load]
    settings = {
        "SESSIONCAST_LANE": lane,
        "SESSIONCAST_LOG_LEVEL": "warning",
        "SESSIONCAST_WS_PING_S": "3600",  # who waits for the end answers no ping
    }
    with tempfile.TemporaryDirectory() as name, serving(Path(name), environment=settings) as server:
        reactor = Reactor()
        for project in ("load", "deaf"):
            ask(reactor, server.port, request("PUT", f"/v1/projects/{project}", b"{}"))
        quiet = [Stream(transports[index % len(transports)], "deaf", deaf=True) for index in range(deaf)]
        hearing = [Stream(transports[index % len(transports)], "load") for index in range(streams - deaf)]
        audience = Audience(reactor, server.port, quiet + hearing)
        try:
            audience.connect()
            if deaf:
                fill(reactor, server.port, "deaf")
            reactor.rest(1)
            process = psutil.Process(server.pid)
            before = sum(process.cpu_times()[:2])
            os.kill(server.pid, signal.SIGTERM)
            took = audience.listen(server.pid, _BOUND_S)
            cpu = sum(process.cpu_times()[:2]) - before  # of a process that ended and was not yet collected
            status = server.process.wait(1) if took < _BOUND_S else None
            return Drain(load, streams, deaf, took, cpu, status, sum(stream.told for stream in hearing))
        finally:
            audience.close()
            reactor.close()


def main() -> int:
    """All loads in turns; 0 when every one met the target, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--deaf", type=int, default=100, help="of the mixed load, how many never read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lane", choices=["auto", "portable"], default="auto")
    parser.add_argument("--loads", default="sse,ws,mixed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pinned = pin(GENERATOR_CORE)
    where = "server on core 0, generator on core 1" if pinned else "one core for both: figures mean little"
    print(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load average {os.getloadavg()[0]:.1f}; {where}")
    gc.disable()  # the generator's pauses would be counted as the server's
    drains = []
    for _ in range(options.rounds):
        for load in options.loads.split(","):
            drains.append(measure(load, options.streams, options.deaf if load == "mixed" else 0, options.lane))
            print(drains[-1].line(), flush=True)
            gc.collect()
    if options.json:
        options.json.write_text(json.dumps([asdict(drain) for drain in drains], indent=1))
    return 0 if all(drain.good for drain in drains) else 1


if __name__ == "__main__":
    sys.exit(main())
