"""Clients that come, stay for a while, and go, each in its own way."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from crowd.frames import masked
from crowd.link import request
from crowd.side import get, upgrade
from endurance.web import Raw
from endurance.world import Project, World

_CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"  # 1000, masked with zeros (RFC 6455, section 5.5.1)
_DEAF_S = 12.0
"""How long those stay who read nothing: the server is told to cut them off sooner."""
_PAUSE_S = 0.2


class Visitors:
    """So many of them at a time.

    Attributes:
        visits: begun, by kind.
        there: connected now.
    """

    def __init__(self, world: World, port: int, *, stay_s: float) -> None:
        self._world = world
        self._port = port
        self._stay_s = stay_s
        self.visits: Counter[str] = Counter()
        self.there = 0
        self._kinds: list[tuple[str, Callable[[Project], Awaitable[None]], int]] = [
            ("SSE, closed", partial(self._sse, reset=False), 20),
            ("SSE, reset", partial(self._sse, reset=True), 20),
            ("SSE, read slowly", partial(self._sse, reset=False, slow=True), 6),
            ("SSE, never read", partial(self._deaf, websocket=False), 4),
            ("WebSocket, closed", partial(self._websocket, farewell=True), 16),
            ("WebSocket, reset", partial(self._websocket, farewell=False), 16),
            ("WebSocket, read slowly", partial(self._websocket, farewell=True, slow=True), 4),
            ("WebSocket, never read", partial(self._deaf, websocket=True), 4),
            ("poll", self._poll, 6),
            ("poll, given up", partial(self._poll, patient=False), 4),
            ("half a request", self._half, 3),
        ]

    async def visit(self) -> None:
        """One visitor after another, for ever."""
        weights = [weight for _, _, weight in self._kinds]
        while True:
            ((name, go, _),) = random.choices(self._kinds, weights)
            self.visits[name] += 1
            self.there += 1
            try:
                with contextlib.suppress(OSError, TimeoutError):  # to be cut off is a way to go
                    await go(random.choice(self._world.projects))
            finally:
                self.there -= 1
            await asyncio.sleep(random.uniform(0, _PAUSE_S))

    def _query(self, project: Project) -> tuple[str, list[str]]:
        """Of an event stream: all of the project, one task or one session; from the start, or a known position."""
        wish, headers = "", list[str]()
        dice = random.random()
        if dice < 0.3 and project.tasks:
            wish = f"?task={random.choice(project.tasks)}"
        elif dice < 0.5 and project.live:
            wish = f"?session={random.choice(list(project.live.values()))}"
        if project.position and random.random() < 0.5:
            headers.append(f"Last-Event-ID: {project.position}")
        return f"/v1/projects/{project.name}/events{wish}", headers

    async def _stay(self, raw: Raw, *, slow: bool) -> None:
        """Read until it is time to go, or until the server ends it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.expovariate(1 / self._stay_s)):
                while await raw.read(512 if slow else 65536):
                    if slow:
                        await asyncio.sleep(0.05)

    async def _sse(self, project: Project, *, reset: bool, slow: bool = False) -> None:
        async with Raw(self._port, tiny=slow) as raw:
            path, headers = self._query(project)
            await raw.send(get(path, *headers))
            await self._stay(raw, slow=slow)
            if reset:
                raw.reset_at_close()

    def _subscriptions(self, project: Project) -> bytes:
        """One or two subscriptions of one connection."""
        said = b""
        for _ in range(random.randrange(1, 3)):
            wish: dict[str, object] = {"op": "subscribe", "project": project.name}
            if random.random() < 0.4 and project.live:
                wish["filter"] = {"session": [random.choice(list(project.live.values()))]}
            if project.position and random.random() < 0.5:
                wish["position"] = project.position
            said += masked(json.dumps(wish).encode())
        return said

    async def _websocket(self, project: Project, *, farewell: bool, slow: bool = False) -> None:
        async with Raw(self._port, tiny=slow) as raw:
            await raw.send(upgrade("/v1/ws"))
            await raw.read(512)
            await raw.send(self._subscriptions(project))
            await self._stay(raw, slow=slow)
            if not farewell:
                raw.reset_at_close()
                return
            await raw.send(_CLOSE)
            async with asyncio.timeout(2):
                while await raw.read():
                    pass

    async def _deaf(self, project: Project, *, websocket: bool) -> None:
        """Half-open: it asks and reads nothing, not even that it was cut off."""
        async with Raw(self._port, tiny=True) as raw:
            if websocket:
                await raw.send(upgrade("/v1/ws"))
                await raw.read(512)
                await raw.send(self._subscriptions(project))
            else:
                path, headers = self._query(project)
                await raw.send(get(path, *headers))
            await asyncio.sleep(random.uniform(1, _DEAF_S))
            if random.random() < 0.5:
                raw.reset_at_close()

    async def _poll(self, project: Project, *, patient: bool = True) -> None:
        async with Raw(self._port) as raw:
            position = f"position={project.position}&" if project.position else ""
            await raw.send(request("GET", f"/v1/projects/{project.name}/events?{position}wait=5"))
            async with asyncio.timeout(6 if patient else random.uniform(0, 0.5)):
                await raw.read()
            raw.reset_at_close()

    async def _half(self, project: Project) -> None:
        """A head that does not end."""
        async with Raw(self._port) as raw:
            path, headers = self._query(project)
            await raw.send(get(path, *headers)[:-2])
            await asyncio.sleep(random.uniform(0, self._stay_s * 2))
