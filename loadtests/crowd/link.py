"""A keep-alive HTTP/1.1 connection: one request at a time."""

import socket
from collections.abc import Callable, Sequence

from crowd.reactor import Reactor, clock

_LENGTH = b"\r\ncontent-length:"
_ALL_S = 600.0
Told = Callable[[int, bytes, float], None]
"""Status, head and body as one, and seconds since the request was sent."""


def request(method: str, path: str, body: bytes = b"", *, content_type: str = "application/json") -> bytes:
    """A request; the content may be empty."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Link:
    """A connection that says what each request was answered with.

    Raises, out of the reactor's `run`:
        ConnectionError: the server closed it while an answer was missing.
    """

    def __init__(self, reactor: Reactor, port: int) -> None:
        self._reactor = reactor
        self._port = port
        self._told: Told | None = None
        self._socket: socket.socket | None = None
        self._connect()

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited."""
        return self._told is not None

    def send(self, content: bytes, told: Told) -> None:
        """Send a request; a connection that was closed while it was idle is made anew."""
        self._told, self._sent = told, clock()
        if self._socket is None:
            self._connect()
        assert self._socket is not None
        self._socket.sendall(content)

    def close(self) -> None:
        """Be gone."""
        if self._socket is not None:
            self._reactor.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        self._buffer = b""
        self._socket = made = socket.create_connection(("127.0.0.1", self._port), 30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reactor.add(made.fileno(), self._readable)

    def _readable(self, _mask: int) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.close()
            if self._told is not None:
                raise ConnectionError("the server closed a connection instead of answering")
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(_LENGTH)
        length = 0 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r", 1)[0])
        if len(self._buffer) < end + 4 + length or self._told is None:
            return
        answer, self._buffer = self._buffer, b""
        told, self._told = self._told, None
        if b"\r\nconnection: close" in head:
            self.close()
        told(int(head[9:12]), answer, clock() - self._sent)


def ask_all(reactor: Reactor, port: int, contents: Sequence[bytes], *, parallel: int = 16) -> list[bytes]:
    """The answers to many requests, in their order.

    Raises:
        TimeoutError: one of them did not come within ten minutes.
        RuntimeError: one was not a success.
    """
    answers = dict[int, bytes]()
    left = iter(enumerate(contents))
    links = [Link(reactor, port) for _ in range(min(parallel, len(contents)))]

    def next_on(link: Link) -> None:
        wish = next(left, None)
        if wish is None:
            return
        index, content = wish

        def told(status: int, answer: bytes, _seconds: float) -> None:
            if not 200 <= status < 300:
                raise RuntimeError(f"{content.split(b' HTTP', 1)[0]!r}: {answer[:600]!r}")
            answers[index] = answer
            next_on(link)

        link.send(content, told)

    try:
        for link in links:
            next_on(link)
        if not reactor.run(lambda: len(answers) == len(contents), _ALL_S):
            raise TimeoutError(f"{len(answers)} of {len(contents)} answers came")
    finally:
        for link in links:
            link.close()
    return [answers[index] for index in range(len(contents))]


def ask(reactor: Reactor, port: int, content: bytes) -> bytes:
    """One answer, head and body; raises as `ask_all` does."""
    return ask_all(reactor, port, [content])[0]
