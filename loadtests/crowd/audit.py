"""Who hears everything, and says what was lost, doubled or late."""

import json
import math
import re
import time
from collections.abc import Callable

from crowd.frames import Message, Parser

MARK = re.compile(rb"@(\d\d)\.(\d{8})@")
"""In every event's text: the publishing connection and its count from 1."""
_MARK = 13
"""Bytes of one."""


def mark(connection: int, number: int) -> bytes:
    """The mark of one event."""
    return b"@%02d.%08d@" % (connection, number)


class MarkParser:
    """Finds marks and nothing else, at a fraction of the cost: for those whose arrival is only timed."""

    def __init__(self) -> None:
        self._raw = b""

    def feed(self, data: bytes) -> list[Message]:
        """One message of all that has a mark."""
        raw = self._raw + data
        end = max((found.end() for found in MARK.finditer(raw)), default=0)
        self._raw = raw[max(end, len(raw) - _MARK + 1) :]
        return [Message(b"", raw[:end])] if end else []


class Auditor:
    """One subscriber whose every frame is parsed.

    A publishing connection sends an event when the last one was answered: its events have an order, those of several
    connections have none.

    Args:
        parser: makes one, for every connection anew.
        thorough: every message must be JSON too, socket.io's behind its packet type.

    Attributes:
        events: heard.
        bytes: received since `reset`.
        lost, doubled: holes in a connection's count; marks that are not above the last one.
        resyncs: times that the server said that there is a hole.
        latencies: seconds from an event's scheduled instant, of those that `schedule` has.
        last: per connection, the highest count heard.
        size: bytes of the last message that had an event.
    """

    def __init__(self, parser: Callable[[], Parser], *, thorough: bool = True) -> None:
        self._new_parser = parser
        self._parser = parser()
        self._thorough = thorough
        self.schedule: dict[tuple[int, int], float] = {}
        self.last: dict[int, int] = {}
        self.latencies: list[float] = []
        self.events = self.bytes = self.lost = self.doubled = self.resyncs = self.size = 0

    def feed(self, data: bytes) -> None:
        """Take bytes in that have just arrived.

        Raises:
            BrokenStreamError: the bytes are not what the protocol allows.
            ValueError: a message is not JSON.
        """
        now = time.monotonic()
        self.bytes += len(data)
        for message in self._parser.feed(data):
            self._take(message, now)

    def reconnect(self) -> None:
        """Go on with the bytes of a new connection."""
        self._parser = self._new_parser()

    def reset(self) -> None:
        """Forget what was counted, not where each connection is."""
        self.events = self.bytes = self.lost = self.doubled = self.resyncs = 0
        self.latencies.clear()

    def missing(self, published: dict[int, int]) -> int:
        """Events that are lost for good, when all had time to arrive: holes, and those behind the last one heard."""
        return self.lost + sum(max(0, count - self.last.get(number, 0)) for number, count in published.items())

    def _take(self, message: Message, now: float) -> None:
        if self._thorough and message.data[:1] in b"{[":
            json.loads(message.data)
        if message.name == b"resync" or message.data.startswith(b'{"op":"resync"'):
            self.resyncs += 1
        for found in MARK.finditer(message.data):
            self.size = len(message.data)
            connection, number = int(found[1]), int(found[2])
            previous = self.last.get(connection, 0)
            if number <= previous:
                self.doubled += 1
                continue
            self.lost += number - previous - 1
            self.last[connection] = number
            self.events += 1
            due = self.schedule.get((connection, number))
            if due is not None:
                self.latencies.append(now - due)


def quantile(ordered: list[float], share: float) -> float:
    """The value that this share of sorted values stays within; infinite for none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.inf
