"""Clients in processes of their own, which ask at the same moment."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Self

import httpx2

from support.waiting import DEADLINE_S

_start: Any = None
"""The line that all processes of a race wait at; set where a process begins."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A request; `url` is the node's."""

    url: str
    token: str
    method: str
    path: str
    body: Any = None


@dataclass(frozen=True, slots=True)
class Hit:
    """What it was answered."""

    status: int
    body: Any


class Racers:
    """The processes, for as many races as there are to be: to start them takes longer than a race."""

    def __init__(self, processes: int = 4) -> None:
        context = get_context("spawn")
        self._processes = processes
        self._pool = ProcessPoolExecutor(
            processes, mp_context=context, initializer=_ready, initargs=(context.Barrier(processes),)
        )

    def race(self, shots: Sequence[Shot]) -> list[Hit]:
        """The answers, in order. Each process has a thread and a connection for each of its requests."""
        shares = [list(shots[number :: self._processes]) for number in range(self._processes)]
        # Who has a share waits for the others, so that each process has one.
        answers = [iter(share) for share in self._pool.map(_fire, shares)]
        return list(_dealt(answers, len(shots)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def _dealt(answers: list[Iterator[Hit]], count: int) -> Iterator[Hit]:
    for number in range(count):
        yield next(answers[number % len(answers)])


def _ready(barrier: Any) -> None:
    global _start  # noqa: PLW0603  how a process of the pool is told what it shares
    _start = barrier


def _fire(shots: list[Shot]) -> list[Hit]:
    aim = threading.Barrier(len(shots))

    def fire(shot: Shot) -> Hit:
        headers = {"Authorization": shot.token, "Content-Type": "application/json"}
        with httpx2.Client(timeout=60, headers=headers) as http:
            http.get(f"{shot.url}/health/live")  # connected before the start
            aim.wait(DEADLINE_S)
            answer = http.request(shot.method, f"{shot.url}{shot.path}", json=shot.body or {})
            return Hit(answer.status_code, answer.json() if answer.content else None)

    _start.wait(DEADLINE_S)
    with ThreadPoolExecutor(len(shots)) as pool:
        return list(pool.map(fire, shots))
