"""The three ways to follow a project, under one set of words: those of the WebSocket's frames."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sessioncast.streams.sse import SSEParser
from support.waiting import until

Kind = Literal["sse", "websocket"]
Pairs = list[tuple[str, str | int | float | bool | None]]
Frame = dict[str, Any]


class Stream(ABC):
    """What came: frames as a WebSocket words them; `raw` has each event's own bytes.

    Attributes:
        closed: how it ended: `end`, or the WebSocket's close code.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.raw: list[str] = []
        self.closed: int | str | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def read(self) -> None:
        """Read to the end."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def ops(self) -> list[str]:
        """Kinds of frames."""
        return [frame["op"] for frame in self.frames]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Events."""
        return [event for frame in self.frames if frame["op"] == "events" for event in frame["events"]]

    @property
    def offsets(self) -> list[int]:
        """Offsets of the events."""
        return [int(event["position"].partition(":")[2]) for event in self.events]

    def of(self, op: str) -> list[Frame]:
        """Frames of a kind."""
        return [frame for frame in self.frames if frame["op"] == op]

    async def said(self, op: str, count: int = 1) -> Frame:
        """The frame of a kind, once it came."""
        await self._until(lambda: len(self.of(op)) >= count, f"{op} number {count}")
        return self.of(op)[count - 1]

    async def counted(self, events: int) -> None:
        """So many events came."""
        await self._until(lambda: len(self.events) >= events, f"{events} events")

    async def over(self) -> int | str:
        """How it ended."""
        await self._until(lambda: self.closed is not None, "the end")
        assert self.closed is not None
        return self.closed

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            if self._task is not None and self._task.done() and not condition():
                self._task.result()
                raise AssertionError(f"ended ({self.closed}) before {what}: {self.frames[-5:]}")
            return condition()

        await until(holds, f"{what}; {self.frames[-5:]}")


class SseStream(Stream):
    """Server-sent events."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__()
        self.response = response
        self.parser = SSEParser()
        self.ids: list[str] = []

    async def read(self) -> None:
        async for chunk in self.response.aiter_raw():
            for event in self.parser.feed(chunk):
                data = json.loads(event.data)
                match event.type:
                    case "message":
                        self.raw.append(event.data)
                        assert event.last_event_id == data.get("position", event.last_event_id)
                        self.frames.append({"op": "events", "events": [data]})
                    case "ready":
                        assert event.last_event_id == ""
                        self.frames.append({"op": "subscribed", **data})
                    case name:
                        self.frames.append({"op": name, "id": event.last_event_id, **data})
        self.closed = "end"


class WebSocketStream(Stream):
    """A WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self.socket = socket

    async def read(self) -> None:
        try:
            async for text in self.socket:
                assert isinstance(text, str)
                frame = json.loads(text)
                self.frames.append(frame)
                if frame["op"] == "events":
                    self.raw += _bodies(text)
        except ConnectionClosed:
            pass
        self.closed = self.socket.close_code

    async def say(self, op: str, **fields: Any) -> None:
        """A frame."""
        await self.socket.send(json.dumps({"op": op, **fields}))


def _bodies(text: str) -> list[str]:
    """The events of a frame, cut out as they stand in it."""
    rest = text[text.index('"events":[') + len('"events":[') : -2]
    found, decoder = [], json.JSONDecoder()
    while rest:
        _, end = decoder.raw_decode(rest)
        found.append(rest[:end])
        rest = rest[end:].removeprefix(",")
    return found


@asynccontextmanager
async def sse(
    url: str, path: str, *, token: str, query: Pairs | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[SseStream]:
    """An open event stream."""
    async with (
        httpx2.AsyncClient(timeout=30) as http,
        http.stream(
            "GET", f"{url}{path}", params=query or [], headers={"Authorization": token, **(headers or {})}
        ) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
            raise Refused(answer.status_code, answer.json())
        async with SseStream(answer) as stream:
            yield stream


class Refused(Exception):  # noqa: N818  a word, not an error
    """The stream was not opened.

    Attributes:
        status, problem: what was answered; a WebSocket's error frame has no status.
    """

    def __init__(self, status: int | None, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem}")
        self.status = status
        self.problem = problem


@asynccontextmanager
async def websocket(url: str, *, token: str | None, **more: Any) -> AsyncIterator[WebSocketStream]:
    """An open WebSocket."""
    headers = {} if token is None else {"Authorization": token}
    target = url.replace("http", "ws", 1) + "/v1/ws"
    async with (
        connect(
            target, compression=None, max_size=1 << 26, close_timeout=1, additional_headers=headers, **more
        ) as socket,
        WebSocketStream(socket) as stream,
    ):
        yield stream


@asynccontextmanager
async def follow(
    kind: Kind,
    url: str,
    project: str,
    *,
    token: str,
    wanted: Mapping[str, list[str]] | None = None,
    position: str | None = None,
    snapshot: str = "auto",
) -> AsyncIterator[Stream]:
    """An open subscription of either kind.

    Raises:
        Refused: it was not to be had.
    """
    wanted = dict(wanted or {})
    if kind == "sse":
        pairs: Pairs = [(name, id_) for name, ids in wanted.items() if name != "kinds" for id_ in ids]
        if "kinds" in wanted:
            pairs.append(("kinds", ",".join(wanted["kinds"])))
        pairs.append(("snapshot", snapshot))
        headers = {} if position is None else {"Last-Event-ID": position}
        async with sse(url, f"/v1/projects/{project}/events", token=token, query=pairs, headers=headers) as stream:
            yield stream
        return
    async with websocket(url, token=token) as socket:
        rest = {} if position is None else {"position": position}
        await socket.say("subscribe", project=project, filter=wanted, snapshot=snapshot, ref="r", **rest)
        await until(lambda: socket.ops[:1] != [] or socket.closed is not None, "an answer")
        if socket.closed is not None or socket.ops[0] == "error":
            raise Refused(None, socket.frames[0] if socket.frames else {"closed": socket.closed})
        yield socket
