"""Thousands of streams that are held open, and what each of them is told when the server ends."""

import json
import os
import select
import socket
from dataclasses import dataclass
from typing import Any

from crowd.frames import masked
from crowd.link import ask, request
from crowd.reactor import Reactor, clock
from crowd.side import SSE, get, upgrade

_PARALLEL = 200
_CONNECT_S = 120.0
_PER_ADDRESS = 5_000
"""Streams that come from one source address: ports would run out."""
_TINY = 2_304
"""Receive buffer of who never reads: so little is in flight before the server's side is full (socket(7))."""
_TAIL = 1_024
_LAST_CHUNK = b"0\r\n\r\n"
_CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe9"  # 1001, masked with zeros (RFC 6455, section 5.5.1)


_FILL = 10
"""Outputs of 48 kB: more than a socket holds for who never reads."""


def fill(reactor: Reactor, port: int, project: str) -> None:
    """Give those who follow a project and do not read more than they can leave unread."""
    task = _made(ask(reactor, port, request("POST", f"/v1/projects/{project}/tasks", b'{"title":"T"}')))
    wish = b'{"phase":"run","model":{"name":"m"}}'
    session = _made(ask(reactor, port, request("POST", f"/v1/tasks/{task['id']}/sessions", wish)))["session"]
    text = json.dumps({"chunks": [{"stream": "log", "text": "x" * 48_000}]}).encode()
    for _ in range(_FILL):
        ask(reactor, port, request("POST", f"/v1/sessions/{session['id']}/output", text))


def _made(answer: bytes) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return made


@dataclass(slots=True)
class Stream:
    """One of them.

    Attributes:
        deaf: it reads its greeting and nothing after it.
        tail: the last of what it read.
        over: its connection was closed.
    """

    transport: str
    project: str
    deaf: bool = False
    tail: bytes = b""
    over: bool = False
    greeted: bool = False
    upgraded: bool = False
    answered: bool = False

    @property
    def told(self) -> bool:
        """Whether it was told goodbye and its stream was ended as its protocol has it."""
        if self.transport == SSE:
            return b"event: goodbye\ndata: {" in self.tail and self.tail.endswith(_LAST_CHUNK)
        return self.closes

    @property
    def closes(self) -> bool:
        """Whether a goodbye and after it a close frame with 1001 have come."""
        goodbye, found, rest = self.tail.rpartition(b'"reason":"draining"}')
        return bool(found) and b'"op":"goodbye"' in goodbye and rest[:1] == b"\x88" and rest[2:4] == b"\x03\xe9"

    def request(self) -> bytes:
        """Its first words."""
        if self.transport == SSE:
            return get(f"/v1/projects/{self.project}/events?snapshot=never")
        return upgrade("/v1/ws")

    def wish(self) -> bytes:
        """A WebSocket's second ones."""
        return masked(b'{"op":"subscribe","project":"%s","snapshot":"never"}' % self.project.encode())


class Audience:
    """Streams of one server, by plain sockets.

    Attributes:
        streams: all of them.
    """

    def __init__(self, reactor: Reactor, port: int, streams: list[Stream]) -> None:
        self.streams = streams
        self._reactor = reactor
        self._port = port
        self._sockets: dict[int, socket.socket] = {}
        self._greeted = 0

    def connect(self) -> None:
        """Open all of them.

        Raises:
            TimeoutError: not all were greeted in time.
            ConnectionError: one was refused.
        """
        begun, began = 0, clock()
        while self._greeted < len(self.streams):
            while begun < len(self.streams) and begun - self._greeted < _PARALLEL:
                self._open(begun, self.streams[begun])
                begun += 1
            before = self._greeted
            self._reactor.run(lambda so_far=before: self._greeted > so_far, 1)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            if clock() - began > _CONNECT_S:
                raise TimeoutError(f"{self._greeted} of {len(self.streams)} streams were greeted")

    def listen(self, pid: int, seconds: float) -> float:
        """Read on until the process has ended and every stream that reads is over; seconds until the process ended.

        Returns:
            Infinite when it did not end in time.
        """
        ended: list[float] = []
        descriptor = os.pidfd_open(pid)
        began = clock()

        def gone(_mask: int) -> None:
            ended.append(clock() - began)
            self._reactor.remove(descriptor)

        self._reactor.add(descriptor, gone)
        hearing = [stream for stream in self.streams if not stream.deaf]
        self._reactor.run(lambda: bool(ended), seconds)
        self._reactor.run(lambda: all(stream.over for stream in hearing), 5)
        self._reactor.remove(descriptor)
        os.close(descriptor)
        return ended[0] if ended else float("inf")

    def close(self) -> None:
        """Be gone."""
        for fd, one in self._sockets.items():
            self._reactor.remove(fd)
            one.close()
        self._sockets.clear()

    def _open(self, index: int, stream: Stream) -> None:
        one = socket.socket()
        one.setblocking(False)
        one.bind((f"127.0.0.{2 + index // _PER_ADDRESS}", 0))
        if stream.deaf:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TINY)
        one.connect_ex(("127.0.0.1", self._port))  # how it went is seen when it is writable
        self._sockets[one.fileno()] = one
        self._reactor.add(one.fileno(), lambda mask: self._ready(one, stream, mask), select.EPOLLOUT)

    def _ready(self, one: socket.socket, stream: Stream, mask: int) -> None:
        if mask == select.EPOLLOUT:
            self._reactor.change(one.fileno(), select.EPOLLIN)
            one.sendall(stream.request())
            return
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        stream.tail = (stream.tail + data)[-_TAIL:]
        if not data:
            if not stream.greeted:
                raise ConnectionError(f"a stream was refused: {stream.tail!r}")
            stream.over = True
            self._reactor.remove(one.fileno())
            del self._sockets[one.fileno()]
            one.close()
        elif not stream.greeted:
            self._greet(one, stream)
        elif stream.transport != SSE and not stream.answered and stream.closes:
            stream.answered = True
            one.send(_CLOSE)

    def _greet(self, one: socket.socket, stream: Stream) -> None:
        if stream.transport != SSE and not stream.upgraded and b"\r\n\r\n" in stream.tail:
            stream.upgraded = True
            one.sendall(stream.wish())
        if (b"event: ready" if stream.transport == SSE else b'"subscribed"') in stream.tail:
            stream.greeted = True
            self._greeted += 1
            if stream.deaf:
                self._reactor.remove(one.fileno())
