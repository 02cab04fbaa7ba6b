"""What a server's processes use, watched from outside."""

import os
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: Unix time, processor seconds so far, and resident bytes, of a process and its descendants."""

    at: float
    cpu_s: float
    rss: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used in a stretch of time.

    Attributes:
        core: share of one core, above 1 when several are used.
        machine: share of all cores.
        rss: most resident bytes at any look.
    """

    core: float
    machine: float
    rss: int


class Vitals:
    """Looks at a process twice a second while it is open.

    Args:
        pid: of a process of ours; its descendants count with it.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._samples: list[Sample] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vitals", daemon=True)

    def usage(self, began: float, ended: float) -> Usage | None:
        """What was used between two Unix times; None when there were not two looks in between."""
        within = [sample for sample in self._samples if began <= sample.at <= ended]
        if len(within) < 2:
            return None
        first, last = within[0], within[-1]
        core = (last.cpu_s - first.cpu_s) / (last.at - first.at)
        return Usage(core, core / (os.cpu_count() or 1), max(sample.rss for sample in self._samples))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            try:
                members = [self._process, *self._process.children(recursive=True)]
                cpu = sum(sum(member.cpu_times()[:2]) for member in members)
                self._samples.append(Sample(time.time(), cpu, sum(member.memory_info().rss for member in members)))
            except psutil.NoSuchProcess:
                continue  # one of them ended meanwhile
