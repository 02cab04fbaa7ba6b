"""What a server that is loaded has to say about itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from crowd.frames import Parser, SseParser, WsParser
from crowd.receivers import Step
from crowd.tree import Tree

SSE, WEBSOCKET = "sse", "ws"
PARSERS: dict[str, Callable[[], Parser]] = {SSE: SseParser, WEBSOCKET: WsParser}


class Side(ABC):
    """A running server.

    Attributes:
        name: in the table.
        port, publish_port: where subscribers and publishers go.
        resumes: whether a subscriber can come back with its position.
        answers_early: whether a publish is answered before it is handed out, however much waits: publishers of the
            saturated load wait until the event was heard, or they would only fill its queue.
        ours: whether it has the pages `/metrics` and `/health/live`.
    """

    name: str
    resumes = False
    answers_early = False
    ours = False

    def __init__(self, port: int, tree: Tree, *, publish_port: int | None = None) -> None:
        self.port = port
        self.publish_port = publish_port or port
        self.tree = tree

    @abstractmethod
    def steps(self, transport: str, index: int, position: str | None = None) -> Sequence[Step]:
        """The greeting of a subscriber, who may come back with the position it was at."""

    @abstractmethod
    def compose(self, connection: int, mark: bytes) -> bytes:
        """The request that publishes the next event of a connection, with this mark in it."""

    def position(self, answer: bytes) -> str:
        """Where a subscriber is who heard the event that was published by this answer."""
        raise NotImplementedError(f"{self.name} keeps no positions")


def get(path: str, *headers: str) -> bytes:
    """A request for an event stream."""
    lines = ["GET " + path + " HTTP/1.1", "Host: localhost", "Accept: text/event-stream", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def upgrade(path: str, *headers: str) -> bytes:
    """A request for a WebSocket, without extensions."""
    lines = [
        "GET " + path + " HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c2Vzc2lvbmNhc3QgbG9hZA==", *headers,
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def filled(mark: bytes, size: int) -> bytes:
    """A JSON object of so many bytes with the mark in it."""
    return b'{"text":"' + mark + b"x" * (size - len(mark) - 11) + b'"}'
