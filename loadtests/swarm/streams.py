"""Streams of a whole project by SSE and by WebSocket, read into a ledger. They block: Locust makes that cooperative."""

import http.client
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
import websocket

from swarm.ledger import Ledger

_SILENCE_S = 45.0
"""Three heartbeats."""
_READ = 1 << 16


class Stream(Protocol):
    """A stream that was opened."""

    def run(self) -> None:
        """Read until it ends; whatever ends it before `close` is a fault of the ledger."""

    def close(self) -> None:
        """Make `run` return."""


class SseFrames:
    """The fields of server-sent events (WHATWG HTML, 9.2.6), from bytes as they come; lines end with LF."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, bytes]]:
        """Frames that are complete now, comments left out."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for block in whole:
            parts = [line.partition(b":") for line in block.split(b"\n")]
            if frame := {name.decode(): value.removeprefix(b" ") for name, _, value in parts if name}:
                yield frame


def take_sse(ledger: Ledger, frame: dict[str, bytes]) -> None:
    """Enter one frame into the ledger."""
    name = frame.get("event", b"").decode()
    match name:
        case "" if "data" in frame:
            event = orjson.loads(frame["data"])
            if event["position"] != frame["id"].decode():
                ledger.broke("id is not the position")
            ledger.heard(event["position"], event["at"], time.time())
        case "snapshot":
            if "id" in frame:  # the last page
                ledger.opened(frame["id"].decode())
        case "heartbeat" | "":
            if "id" in frame and ledger.offset is not None:
                ledger.stands(frame["id"].decode())
        case "resync" | "goodbye":
            ledger.broke(f"{name} {frame.get('data', b'').decode()[:80]}")


def take_ws(ledger: Ledger, frame: dict[str, Any]) -> None:
    """Enter one frame into the ledger."""
    match frame["op"]:
        case "events":
            now = time.time()
            for event in frame["events"]:
                ledger.heard(event["position"], event["at"], now)
        case "snapshot":
            if "position" in frame:
                ledger.opened(frame["position"])
        case "heartbeat":
            if ledger.offset is not None:
                ledger.stands(frame["position"])
        case "resync" | "goodbye" | "error" | "unsubscribed" as name:
            ledger.broke(f"{name} {frame.get('reason') or frame.get('code') or ''}")


class SseStream:
    """`GET /v1/projects/{p}/events`."""

    def __init__(self, url: str, project: str, headers: dict[str, str], ledger: Ledger) -> None:
        self._ledger = ledger
        self._open = True
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_SILENCE_S)
        self._connection.request("GET", f"/v1/projects/{project}/events", headers=headers)
        self._response = self._connection.getresponse()
        if self._response.status != 200:
            raise ConnectionError(f"a stream was answered with {self._response.status}")

    def run(self) -> None:
        """Read until it ends."""
        frames = SseFrames()
        try:
            while data := self._response.read1(_READ):
                for frame in frames.feed(data):
                    take_sse(self._ledger, frame)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._open:
                self._ledger.broke(f"cut: {error!r}"[:120])
        else:
            if self._open:
                self._ledger.broke("ended")
        finally:
            self._response.close()
            self._connection.close()

    def close(self) -> None:
        """Shut the socket down; `run` notices."""
        self._open = False
        if self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(2)


class WebSocketStream:
    """`subscribe` on `/v1/ws`."""

    def __init__(self, url: str, project: str, headers: dict[str, str], ledger: Ledger) -> None:
        self._ledger = ledger
        self._open = True
        address = f"ws://{urlsplit(url).netloc}/v1/ws"
        self._socket = websocket.create_connection(address, timeout=_SILENCE_S, header=headers, suppress_origin=True)
        self._socket.send(orjson.dumps({"op": "subscribe", "project": project}).decode())

    def run(self) -> None:
        """Read until it ends."""
        try:
            while text := self._socket.recv():
                take_ws(self._ledger, orjson.loads(text))
        except (OSError, websocket.WebSocketException, ValueError) as error:
            if self._open:
                self._ledger.broke(f"cut: {error!r}"[:120])
        else:
            if self._open:
                self._ledger.broke("ended")
        finally:
            self._socket.shutdown()  # type: ignore[no-untyped-call]  # it has no types

    def close(self) -> None:
        """Shut the socket down; `run` notices."""
        self._open = False
        if self._socket.sock is not None:
            with suppress(OSError):
                self._socket.sock.shutdown(2)
