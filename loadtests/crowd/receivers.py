"""Thousands of subscribers on raw sockets: most only count bytes, a few are auditors who parse everything.

Linux discards what a TCP socket received without copying it when it is read with MSG_TRUNC (tcp(7)), so that counting
costs the generator one call per readable socket and sweep. A second call has the kernel confirm at once (TCP_QUICKACK
does not last): a server that leaves Nagle's algorithm on would else wait for 40 ms, and that is not its fan-out.
"""

import random
import re
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crowd.audit import Auditor
from crowd.reactor import Reactor, clock

_IP_BIND_ADDRESS_NO_PORT = 24
_PER_ADDRESS = 5_000
"""Subscribers that come from one source address: ports would run out."""
_LOOK_S = 0.0005
"""Between looks while the last delivery is awaited: how exact its time is."""
_BUFFER = bytearray(1 << 20)
_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER: on, 0 s; close() resets, as a network does that is gone
_TAIL = 1024
"""Bytes kept of what was read while something is awaited, so that it may come in parts."""
_AGAIN_S = 1.0
"""Pause before a refused subscriber comes again when the server names none; up to half of it more."""
_RETRY = re.compile(rb"\nretry: ?(\d+)|\nretry-after: ?(\d+)|\"retry_ms\":(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Step:
    """Of a greeting: what is sent (perhaps nothing), and the bytes that must come before the next step."""

    send: bytes
    expect: bytes


@dataclass(slots=True)
class _Greeting:
    index: int
    steps: Sequence[Step]
    at: int = 0
    tail: bytes = b""


class Crowd:
    """Subscribers of one server and transport.

    Args:
        auditors: by index of the subscriber; they are given all bytes from the first on.

    Attributes:
        bytes: that the others received since `reset`.
        closed: subscribers that the server closed after their greeting.
        refused: greetings that ended too early and were begun again, after the pause that the server asked for.
    """

    def __init__(self, reactor: Reactor, port: int, auditors: dict[int, Auditor]) -> None:
        self._reactor = reactor
        self._port = port
        self._auditors = auditors
        self._sockets: dict[int, socket.socket] = {}
        self._greetings: dict[int, _Greeting] = {}
        self._cold = select.epoll()
        self._counting: set[int] = set()
        self._sweep_s: float | None = None
        self._most = -1
        self._greeted = 0
        self.bytes = self.closed = self.refused = 0

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def counting(self) -> int:
        """Subscribers that are no auditors."""
        return len(self._counting)

    def connect(
        self, count: int, steps: Callable[[int], Sequence[Step]], *, parallel: int | None = None, seconds: float = 60.0
    ) -> float:
        """Let so many subscribe, this number at a time or all at once; seconds until the last was greeted.

        Args:
            steps: of the greeting of the subscriber with this index.

        Raises:
            TimeoutError: not all were greeted in time.
        """
        window = parallel or count
        self._greeted = begun = 0
        began = clock()
        while clock() - began < seconds:
            while begun < count and begun - self._greeted < window:
                self._begin(begun, steps(begun))
                begun += 1
            before = self._greeted
            self._reactor.run(lambda so_far=before: self._greeted > so_far, 0.05)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            if self._greeted >= count:
                return clock() - began
        raise TimeoutError(f"{self._greeted} of {count} subscribers were greeted in {seconds:g} s")

    def reset(self) -> None:
        """Count from nothing, what has arrived apart."""
        self._sweep(-1)
        self.bytes = 0
        for auditor in self._auditors.values():
            auditor.reset()

    def sweep_every(self, seconds: float, *, most: int = -1) -> None:
        """Read what has arrived at the counting subscribers so often, of at most so many of them at a time."""
        started = self._sweep_s is not None
        self._sweep_s, self._most = seconds, most
        if not started:
            self._reactor.at(clock() + seconds, self._on_time)

    def pause(self) -> None:
        """Sweep no more."""
        self._sweep_s = None

    def await_each(self, size: int, publish: Callable[[], float], seconds: float) -> float:
        """Publish, and read at once until every counting subscriber had so many bytes; seconds until the last had.

        Args:
            publish: begins it, and says at which instant it did.

        Returns:
            Infinite when not all had it in time.
        """
        self._sweep(-1)
        counts = dict.fromkeys(self._counting, 0)
        left, last = len(counts), 0.0
        began = publish()
        while left and clock() - began < seconds:
            self._reactor.rest(_LOOK_S)  # each look takes many at a time, or the generator would be the bound
            for fd, _ in self._cold.poll(0, len(counts)):
                had = counts[fd]
                counts[fd] = had + self._discard(fd)
                left -= had < size <= counts[fd]
            last = clock()
        return last - began if not left else float("inf")

    def cut(self) -> None:
        """Reset every connection."""
        for fd, one in self._sockets.items():
            if fd in self._counting:
                self._cold.unregister(fd)
            else:
                self._reactor.remove(fd)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            one.close()
        self._sockets.clear()
        self._counting.clear()
        self._greetings.clear()
        for auditor in self._auditors.values():
            auditor.reconnect()

    def close(self) -> None:
        """Be gone."""
        self.pause()
        self.cut()
        self._cold.close()

    def drain(self, seconds: float) -> None:
        """Read on until nothing has come for 0.3 s, or for so long."""
        deadline = clock() + seconds
        while clock() < deadline:
            before = self._seen()
            self._reactor.rest(0.3)
            self._sweep(-1)
            if self._seen() == before:
                return

    def _seen(self) -> int:
        return self.bytes + sum(auditor.bytes for auditor in self._auditors.values())

    def _begin(self, index: int, steps: Sequence[Step]) -> None:
        one = socket.socket()
        one.setblocking(False)
        one.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        one.bind((f"127.0.0.{2 + index // _PER_ADDRESS}", 0))
        one.connect_ex(("127.0.0.1", self._port))  # how it went is seen when it is writable
        fd = one.fileno()
        self._sockets[fd] = one
        self._greetings[fd] = _Greeting(index, steps)
        self._reactor.add(fd, lambda mask: self._greet(fd, mask), select.EPOLLOUT)

    def _greet(self, fd: int, mask: int) -> None:
        one, greeting = self._sockets[fd], self._greetings[fd]
        try:
            if mask == select.EPOLLOUT:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._reactor.change(fd, select.EPOLLIN)
                one.sendall(greeting.steps[0].send)
                return
            data = one.recv(65536)
        except OSError:
            data = b""
        if not greeting.tail and data[9:12] not in {b"200", b"101"}:
            self._refuse(fd, data)
            return
        auditor = self._auditors.get(greeting.index)
        if auditor is not None:
            auditor.feed(data)
        greeting.tail = tail = greeting.tail + data
        while (found := tail.find(greeting.steps[greeting.at].expect)) >= 0:
            tail = tail[found + len(greeting.steps[greeting.at].expect) :] or b" "
            greeting.at += 1
            if greeting.at == len(greeting.steps):
                self._join(fd, auditor)
                return
            one.sendall(greeting.steps[greeting.at].send)
        greeting.tail = tail[-_TAIL:]
        if not data:
            self._refuse(fd, tail)

    def _join(self, fd: int, auditor: Auditor | None) -> None:
        del self._greetings[fd]
        self._reactor.remove(fd)
        self._greeted += 1
        if auditor is None:
            self._cold.register(fd, select.EPOLLIN)
            self._counting.add(fd)
        else:
            self._reactor.add(fd, lambda _mask: self._hear(fd, auditor))

    def _refuse(self, fd: int, said: bytes) -> None:
        greeting = self._greetings.pop(fd)
        self._reactor.remove(fd)
        self._sockets.pop(fd).close()
        self.refused += 1
        if (auditor := self._auditors.get(greeting.index)) is not None:
            auditor.reconnect()
        pause = _AGAIN_S
        if found := _RETRY.search(said):
            seconds = found[2]
            pause = float(seconds) if seconds else int(found[1] or found[3]) / 1000
        again = clock() + pause * random.uniform(1, 1.5)
        self._reactor.at(again, lambda: self._begin(greeting.index, greeting.steps))

    def _hear(self, fd: int, auditor: Auditor) -> None:
        try:
            data = self._sockets[fd].recv(1 << 18)
            self._sockets[fd].setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            data = b""
        if data:
            auditor.feed(data)
            return
        self.closed += 1
        self._reactor.remove(fd)
        self._sockets.pop(fd).close()

    def _on_time(self) -> None:
        if self._sweep_s is not None:
            self._reactor.at(clock() + self._sweep_s, self._on_time)
            self._sweep(self._most)

    def _sweep(self, most: int) -> None:
        for fd, _ in self._cold.poll(0, most if most > 0 else max(1, len(self._counting))):
            self._discard(fd)

    def _discard(self, fd: int) -> int:
        try:
            one = self._sockets[fd]
            read = one.recv_into(_BUFFER, 0, socket.MSG_TRUNC)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            read = 0
        if read:
            self.bytes += read
            return read
        self.closed += 1
        self._cold.unregister(fd)
        self._counting.discard(fd)
        self._sockets.pop(fd).close()
        return 0
