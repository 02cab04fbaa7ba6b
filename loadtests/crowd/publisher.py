"""Who publishes, over HTTP: as fast as the server answers, or at instants that were settled before."""

from collections import deque
from collections.abc import Callable, Mapping

from crowd.audit import mark
from crowd.link import Link
from crowd.reactor import Reactor, clock

Compose = Callable[[int, bytes], bytes]
"""The request of a connection, with the mark in its event's text."""


_HEARD_S = 0.001
"""Between looks at what a subscriber has heard."""


class Publisher:
    """Keep-alive connections, each with one request at a time and a count of its own.

    Attributes:
        published: per connection, the highest count that was answered by a success.
        latencies: seconds per answer, successes only.
        refusals: answers that were none; the same event is sent again.
        schedule: the instant each event was due, by connection and count; shared with the auditors.
        answer: the last successful one, head and body.
    """

    def __init__(self, reactor: Reactor, port: int, compose: Compose, connections: int = 48) -> None:
        self._reactor = reactor
        self._compose = compose
        self._links = [Link(reactor, port) for _ in range(connections)]
        self._due: deque[float] = deque()
        self._closed_loop = False
        self._heard: Mapping[int, int] | None = None
        self.published = dict.fromkeys(range(connections), 0)
        self.latencies: list[float] = []
        self.refusals = 0
        self.schedule: dict[tuple[int, int], float] = {}
        self.answer = b""

    @property
    def busy(self) -> bool:
        """Whether events are due or unanswered."""
        return bool(self._due) or any(link.busy for link in self._links)

    @property
    def count(self) -> int:
        """Events published so far."""
        return sum(self.published.values())

    def reset(self) -> None:
        """Forget the latencies and refusals."""
        self.latencies.clear()
        self.refusals = 0

    def start(self, heard: Mapping[int, int] | None = None) -> None:
        """Publish on every connection, the next event when the last one was answered.

        Args:
            heard: per connection, the highest count that a subscriber heard: the next event waits for that too.
        """
        self._closed_loop, self._heard = True, heard
        for number in range(len(self._links)):
            self._send(number, clock())

    def stop(self, seconds: float = 30.0) -> None:
        """Publish no more, and wait for the answers.

        Raises:
            TimeoutError: they did not come.
        """
        self._closed_loop = False
        if not self._reactor.run(lambda: not self.busy, seconds):
            raise TimeoutError("publishes were not answered")

    def plan(self, rate: float, seconds: float) -> None:
        """Publish at even intervals from now on, whatever the server does; late ones wait for a free connection."""
        began = clock() + 0.05
        for number in range(int(rate * seconds)):
            self._reactor.at(began + number / rate, lambda due=began + number / rate: self._is_due(due))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults

    def one(self) -> float:
        """Publish one event now; the instant it was sent."""
        now = clock()
        self._is_due(now)
        return now

    def close(self) -> None:
        """Be gone."""
        for link in self._links:
            link.close()

    def _is_due(self, due: float) -> None:
        self._due.append(due)
        self._serve()

    def _serve(self) -> None:
        while self._due:
            free = next((number for number, link in enumerate(self._links) if not link.busy), None)
            if free is None:
                return
            self._send(free, self._due.popleft())

    def _next(self, connection: int) -> None:
        if not self._closed_loop:
            return
        if self._heard is None or self._heard.get(connection, 0) >= self.published[connection]:
            self._send(connection, clock())
        else:
            self._reactor.at(clock() + _HEARD_S, lambda: self._next(connection))

    def _send(self, connection: int, due: float) -> None:
        number = self.published[connection] + 1
        self.schedule.setdefault((connection, number), due)

        def told(status: int, answer: bytes, seconds: float) -> None:
            if 200 <= status < 300:
                self.published[connection] = number
                self.latencies.append(seconds)
                self.answer = answer
            else:
                self.refusals += 1
                self._reactor.at(clock() + 0.01, lambda: self._send(connection, due))
                return
            if self._closed_loop:
                self._next(connection)
            else:
                self._serve()

        self._links[connection].send(self._compose(connection, mark(connection, number)), told)
