"""A closed-loop HTTP/1.1 generator that leaves the processor to the servers: sockets, keep-alive, no HTTP library."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

_LENGTH = b"\r\ncontent-length:"
_ANSWER_S = 60.0
"""An answer that takes longer is a failure of the run, not a slow answer."""

Answered = Callable[[int, bytes], None]
"""Told status and body of an answer."""
Wish = tuple[bytes, Answered]
"""A request as bytes, and who is told of its answer."""


def request(method: str, path: str, body: Any = None) -> bytes:
    """A request with an optional JSON body."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@dataclass(frozen=True, slots=True)
class Measure:
    """What a load was answered with.

    Attributes:
        count: answers.
        seconds: from the first request to the last answer.
        latencies: seconds, sorted.
        generator: share of a core that this process used meanwhile.
    """

    count: int
    seconds: float
    latencies: tuple[float, ...]
    generator: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.count / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds that this share of the answers stayed within."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


@dataclass(slots=True)
class _Run:
    """What the connections of one load share."""

    until: float
    latencies: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One client: the next request is sent when the last one was answered."""

    def __init__(self, wishes: Iterator[Wish], run: _Run, done: "asyncio.Future[None]") -> None:
        self._wishes = wishes
        self._run = run
        self._done = done
        self._buffer = b""
        self._missing = -1  # of the body; -1: the head is not there yet
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        if self._missing < 0:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = buffer[:end].lower()
            at = head.find(_LENGTH)
            length = 0 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])
            self._status = int(head[9:12])
            self._missing = end + 4 + length
        if len(buffer) < self._missing:
            return
        body = buffer[buffer.find(b"\r\n\r\n") + 4 :]
        self._buffer, self._missing = b"", -1
        now = time.perf_counter()
        self._run.latencies.append(now - self._sent)
        try:
            self._told(self._status, body)
        except Exception as error:  # noqa: BLE001  whatever it was ends the run
            self._end(error)
            return
        if now < self._run.until:
            self._next()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        wish = next(self._wishes, None)
        if wish is None:
            self._end(None)
            return
        content, self._told = wish
        self._sent = time.perf_counter()
        self._transport.write(content)

    def _end(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)
        self._transport.close()


async def drive(port: int, clients: list[Iterator[Wish]], seconds: float) -> Measure:
    """Let every client go through its requests, one at a time, until they are spent or the time is over.

    Raises:
        ConnectionError, TimeoutError: the server went away or fell silent; whatever an `Answered` raised.
    """
    loop = asyncio.get_running_loop()
    began, used = time.perf_counter(), time.process_time()
    run = _Run(began + seconds)
    finished = [loop.create_future() for _ in clients]
    for wishes, done in zip(clients, finished, strict=True):
        await loop.create_connection(lambda w=wishes, d=done: _Connection(w, run, d), "127.0.0.1", port)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
    async with asyncio.timeout(seconds + _ANSWER_S):
        await asyncio.gather(*finished)
    elapsed = time.perf_counter() - began
    used = time.process_time() - used
    return Measure(len(run.latencies), elapsed, tuple(sorted(run.latencies)), used / elapsed)


async def ask(port: int, content: bytes) -> tuple[int, Any]:
    """Status and JSON of one answer."""
    answers: list[tuple[int, bytes]] = []
    await drive(port, [iter([(content, lambda status, body: answers.append((status, body)))])], 0.0)
    status, body = answers[0]
    return status, json.loads(body) if body else None
