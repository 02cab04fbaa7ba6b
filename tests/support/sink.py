"""A sink that keeps what it is fed, as fast or as slow as a test wants."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import orjson

from sessioncast_server.channels.framing import Opening
from sessioncast_server.channels.subscriber import Subscriber
from sessioncast_server.transports.sse import opening_fields
from sessioncast_server.transports.wsframes import WebSocketFraming, frame
from support.waiting import until

Pace = Literal["fast", "turns", "held"]


class RecordingSink:
    """Frames as JSON, in order.

    Args:
        pace: `fast` always takes more, `turns` takes more on the next loop turn, `held` when the test says `read`.
    """

    def __init__(self, pace: Pace = "fast") -> None:
        self.pace = pace
        self.frames: list[dict[str, Any]] = []
        self.ended: str | None = None
        self.subscriber: Subscriber | None = None
        self.full = False

    def opening(self, opening: Opening) -> bytes:
        """`subscribed`."""
        return frame("subscribed", **opening_fields(opening))

    def feed(self, data: bytes) -> bool:
        """Keep it; feeding a full or an ended sink is a mistake."""
        assert not self.full
        assert self.ended is None
        self.frames.append(orjson.loads(data))
        if self.pace == "fast":
            return True
        self.full = True
        if self.pace == "turns":
            asyncio.get_running_loop().call_soon(self.read)
        return False

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        """Keep them all."""
        pace, self.pace = self.pace, "fast"
        for part in parts[:-1]:
            self.feed(part)
        self.pace = pace
        return self.feed(parts[-1])

    def read(self) -> None:
        """The client took what there was."""
        self.full = False
        if self.subscriber is not None:
            self.subscriber.drained()

    def stalled_since(self) -> float:
        """A held sink gets rid of nothing."""
        return 0.0

    def end(self, reason: str) -> None:
        """Keep the reason."""
        assert self.ended is None
        self.ended = reason

    @property
    def ops(self) -> list[str]:
        """Kinds of frames, in order."""
        return [each["op"] for each in self.frames]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events."""
        return [event for each in self.frames if each["op"] == "events" for event in each["events"]]

    @property
    def offsets(self) -> list[int]:
        """Offsets of all events."""
        return [int(event["position"].partition(":")[2]) for event in self.events]

    def state(self) -> dict[str, dict[str, Any]]:
        """Tasks by id, as snapshots and the events after each make them."""
        state: dict[str, dict[str, Any]] = {}
        whole = True
        for each in self.frames:
            if each["op"] == "snapshot":
                if whole:
                    state = {}
                whole = not each["more"]
                state |= {resource["data"]["id"]: resource["data"] for resource in each["resources"]}
            elif each["op"] == "events":
                state |= {event["data"]["id"]: event["data"] for event in each["events"] if "id" in event["data"]}
        return state

    async def has(self, offset: int) -> None:
        """Wait for the event at an offset."""
        await until(lambda: offset in self.offsets[-2000:], f"event {offset}; ops {self.ops[-5:]}, ended {self.ended}")

    async def said(self, op: str, count: int = 1) -> None:
        """Wait for so many frames of a kind."""
        await until(lambda: self.ops.count(op) >= count, f"{op}; ops {self.ops[-5:]}, ended {self.ended}")

    async def over(self) -> None:
        """Wait for the end."""
        await until(lambda: self.ended is not None, "the end of the stream")


FRAMING = WebSocketFraming("test")
