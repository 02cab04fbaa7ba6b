"""Who hears everything there is to hear, all the time, and says what was lost."""

import asyncio
import json
import random
from typing import Any

from crowd.frames import BrokenStreamError, Message, SseParser, WsParser, masked
from crowd.side import get, upgrade
from endurance.web import Raw
from endurance.world import STEADY

_PING = 0x9


class _Parser(WsParser):
    """Keeps pings, which are to be answered."""

    def __init__(self) -> None:
        super().__init__()
        self.pings: list[bytes] = []

    def _frame(self, first: int, payload: bytes, made: list[Message]) -> None:
        if first & 0x0F == _PING:
            self.pings.append(payload)
        super()._frame(first, payload, made)

    def pongs(self) -> bytes:
        """What answers the pings so far, masked with zeros (RFC 6455, section 5.5.3)."""
        answers = [bytes([0x8A, 0x80 | len(ping)]) + bytes(4) + ping for ping in self.pings]
        self.pings.clear()
        return b"".join(answers)


class Auditor:
    """Follows the project that stays, or one session of it, and comes back with its position when it is cut off.

    Args:
        since: the position from which on all is to be heard.
        breaks_s: it breaks its connection off itself about so often; None: never.

    Attributes:
        heard: positions of events, in the order of their coming.
        faults: what was wrong.
        connections: how often it came.
    """

    def __init__(
        self, port: int, since: str, *, websocket: bool, session: str | None = None, breaks_s: float | None = None
    ) -> None:
        self._port = port
        self._since = since
        self._websocket = websocket
        self.session = session
        self._breaks_s = breaks_s
        self.heard: list[str] = []
        self.faults: list[str] = []
        self.connections = 0

    @property
    def name(self) -> str:
        """For people."""
        transport, what = ("WebSocket" if self._websocket else "SSE"), ("session" if self.session else "project")
        return f"{transport} auditor of a {what}{', cut off now and then' if self._breaks_s else ''}"

    @property
    def position(self) -> str:
        """Where it is."""
        return self.heard[-1] if self.heard else self._since

    async def listen(self) -> None:
        """For ever."""
        while True:
            stay_s = None if self._breaks_s is None else random.uniform(0, 2 * self._breaks_s)
            self.connections += 1
            try:
                async with asyncio.timeout(stay_s):
                    await self._follow()
                self.faults.append("the server ended a stream")
            except TimeoutError:
                pass
            except (OSError, BrokenStreamError) as error:
                self.faults.append(repr(error))
            await asyncio.sleep(0.1)

    async def _follow(self) -> None:
        async with Raw(self._port) as raw:
            raw.reset_at_close()
            parser: SseParser | _Parser = _Parser() if self._websocket else SseParser()
            if not self._websocket:
                query = f"?session={self.session}" if self.session else ""
                await raw.send(get(f"/v1/projects/{STEADY}/events{query}", f"Last-Event-ID: {self.position}"))
                await self._read(raw, parser)
                return
            await raw.send(upgrade("/v1/ws"))
            parser.feed(await raw.read(512))  # nothing may be said before it (RFC 6455, section 4.1)
            wish: dict[str, Any] = {"op": "subscribe", "project": STEADY, "position": self.position}
            if self.session:
                wish["filter"] = {"session": [self.session]}
            await raw.send(masked(json.dumps(wish).encode()))
            await self._read(raw, parser)

    async def _read(self, raw: Raw, parser: SseParser | _Parser) -> None:
        while data := await raw.read(1 << 18):
            for message in parser.feed(data):
                self.hear(message)
            if isinstance(parser, _Parser) and (pongs := parser.pongs()):
                await raw.send(pongs)

    def hear(self, message: Message) -> None:
        """A message of its stream."""
        document = json.loads(message.data)
        word = document.get("op", message.name.decode() or "events")
        if word in {"resync", "snapshot", "goodbye", "error"}:
            self.faults.append(f"{word}: {message.data[:120]!r}")
        if word != "events":
            return
        for event in document.get("events", [document]):
            self._take(event["position"])

    def _take(self, position: str) -> None:
        epoch, _, offset = position.rpartition(":")
        known_epoch, _, known = self.position.rpartition(":")
        step = int(offset) - int(known)
        if epoch != known_epoch or step < 1 or (step > 1 and self.session is None):
            self.faults.append(f"{position} came after {self.position}")
        self.heard.append(position)

    def missing(self, last: str | None, wanted: list[str] | None = None) -> int:
        """Events that should have been heard by now, up to `last` or of these, and were not."""
        if wanted is not None:
            return len(set(wanted) - set(self.heard))
        return 0 if last is None else max(0, int(last.rpartition(":")[2]) - int(self.position.rpartition(":")[2]))
