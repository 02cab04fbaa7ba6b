"""Readers of a project's stream that keep all they are given, and come back when they are cut off."""

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from sessioncast import Client, Event, Opened, Resync, Snapshot
from support.waiting import DEADLINE_S, until

_AGAIN_S = 0.02

Sign = tuple[str, str, str | None]
"""What an event is known by: position, type, task."""


class Follower(ABC):
    """One subscriber of a whole project, from the moment it was opened.

    Attributes:
        signs: what it was given, in the order in which it came.
        arrived: monotonic seconds at which each position came.
        told: (`ready` | `resync` | `goodbye`, state or reason), in the order in which it was told.
        position: where it goes on from.
    """

    def __init__(self, name: str, url: str, project: str, *, snapshot: str = "auto") -> None:
        self.name = name
        self.signs: list[Sign] = []
        self.arrived: dict[str, float] = {}
        self.told: list[tuple[str, str]] = []
        self.position: str | None = None
        self._url = url
        self._project = project
        self._snapshot = snapshot
        self._task: asyncio.Task[None] | None = None

    @property
    def offsets(self) -> list[int]:
        """Offsets of what it was given."""
        return [int(position.partition(":")[2]) for position, _, _ in self.signs]

    async def opened(self) -> None:
        """Return when it has its place."""
        await self._until(lambda: self.position is not None, "a place")

    async def reach(self, position: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Return when this event came."""
        await self._until(lambda: position in self.arrived, f"the event at {position}", deadline_s)

    async def hears(self, what: str, how: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Return when it was told so."""
        await self._until(lambda: (what, how) in self.told, f"{what} {how}", deadline_s)

    @abstractmethod
    async def follow(self) -> None:
        """Read one connection to its end, or raise OSError."""

    def take(self, position: str, kind: str, task: str | None) -> None:
        """Keep an event."""
        self.signs.append((position, kind, task))
        self.arrived.setdefault(position, time.monotonic())
        self.position = position

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, WebSocketException):
                await self.follow()
            await asyncio.sleep(_AGAIN_S)

    async def _until(self, condition: Any, what: str, deadline_s: float = DEADLINE_S) -> None:
        def holds() -> bool:
            assert self._task is not None
            if self._task.done():
                self._task.result()
            return bool(condition())

        await until(holds, f"{self.name}: {what}; it stands at {self.position}", deadline_s=deadline_s)


class SseFollower(Follower):
    """By the bytes of an event stream (WHATWG HTML, section 9.2) in HTTP/1.1 chunks."""

    async def follow(self) -> None:
        parts = urlsplit(self._url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
        try:
            lines = [
                f"GET /v1/projects/{quote(self._project)}/events?snapshot={self._snapshot} HTTP/1.1",
                f"Host: {parts.netloc}",
                "Accept: text/event-stream",
                *([f"Last-Event-ID: {self.position}"] if self.position else []),
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise OSError(head.split(b"\r\n")[0].decode())
            rest = b""
            while size := int((await reader.readline()).strip() or b"0", 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *frames, rest = rest.split(b"\n\n")
                for frame in frames:
                    self._take(frame.decode())
        finally:
            writer.transport.abort()

    def _take(self, frame: str) -> None:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if ": " in line)
        data = json.loads(fields.get("data", "{}"))
        match fields.get("event"):
            case None if "data" in fields:
                assert fields["id"] == data["position"]
                self.take(data["position"], data["type"], data.get("task_id"))
            case "ready":
                self.told.append(("ready", data["state"]))
                if data["state"] == "resumed" and self.position is None:
                    self.position = data["position"]
            case "resync" | "goodbye" as what:
                self.told.append((what, data["reason"]))
        self.position = fields.get("id", self.position)


class WebSocketFollower(Follower):
    """By the frames of a WebSocket."""

    async def follow(self) -> None:
        url = self._url.replace("http", "ws", 1) + "/v1/ws"
        async with connect(url, compression=None, max_size=1 << 24, close_timeout=1) as socket:
            wish = {"op": "subscribe", "project": self._project, "snapshot": self._snapshot}
            await socket.send(json.dumps({**wish, **({"position": self.position} if self.position else {})}))
            async for text in socket:
                self._take(json.loads(text))

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["op"]:
            case "events":
                for event in frame["events"]:
                    self.take(event["position"], event["type"], event.get("task_id"))
            case "subscribed":
                self.told.append(("ready", frame["state"]))
                if frame["state"] == "resumed" and self.position is None:
                    self.position = frame["position"]
            case "snapshot":
                self.position = frame.get("position", self.position)
            case "resync" | "goodbye" as what:
                self.told.append((what, frame["reason"]))
            case "error":
                raise OSError(f"{frame['code']}: {frame['detail']}")


class ClientFollower(Follower):
    """By the Python client, which reconnects by itself."""

    def __init__(self, name: str, url: str, project: str, *, transport: Literal["sse", "websocket"] = "sse") -> None:
        super().__init__(name, url, project)
        self._transport = transport

    async def follow(self) -> None:
        async with (
            Client(self._url) as client,
            client.subscribe(self._project, position=self.position, transport=self._transport) as stream,
        ):
            async for item in stream:
                match item:
                    case Event():
                        self.take(item.position, item.type, item.task_id)
                    case Opened():
                        self.told.append(("ready", item.state))
                    case Resync():
                        self.told.append(("resync", item.reason))
                    case Snapshot():
                        self.position = item.position
