"""One run of `watch`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from sessioncast.cli.board import Board
from sessioncast.cli.output import OutputFollower
from sessioncast.cli.screens import Screen, make_screen
from sessioncast.client import Client
from sessioncast.streams.items import Item, Opened, Resync, StreamState
from sessioncast.streams.subscription import Subscription
from sessioncast_shared.events import Kind
from sessioncast_shared.resources import OutputChunk

_REFRESH_S = 0.25


class Watching:
    """Follows a subscription, and shows what it says."""

    def __init__(
        self,
        project: str,
        *,
        task: str | None,
        session: str | None,
        output_only: bool,
        until_done: bool,
        as_json: bool,
        transport: Literal["auto", "websocket", "sse", "poll"],
    ) -> None:
        self._project = project
        self._task = task
        self._session = session
        self._output_only = output_only
        self._until_done = until_done
        self._as_json = as_json
        self._transport: Literal["auto", "websocket", "sse", "poll"] = transport
        self._board = Board()

    async def run(self, client: Client) -> int:
        """The exit code, once all that was watched has ended, if it is to end then."""
        follow = bool(self._task or self._session)
        stream = client.subscribe(
            self._project,
            task=self._task or (),
            session=self._session or (),
            kinds=None if follow else (Kind.TASK, Kind.SESSION, Kind.PROVIDER),
            transport=self._transport,
            on_state=lambda state: self._connection(stream, screen, state),
        )
        screen = make_screen(self._board, output_only=self._output_only, as_json=self._as_json)
        refreshing = asyncio.create_task(_refresh(screen))
        try:
            await self._follow(client, stream, screen, output=follow)
        finally:
            refreshing.cancel()
            screen.close()
        return 0

    async def _follow(self, client: Client, stream: Subscription, screen: Screen, *, output: bool) -> None:
        def fetch(session: str, after: int) -> AsyncIterator[OutputChunk]:
            return client.sessions.read_output(session, after=after)

        follower = OutputFollower(fetch)
        async with stream:
            async for item in stream:
                _tell_missed(screen, item)
                screen.took(item, self._board.take(item))
                if output:
                    async for session, chunk in follower.take(item):
                        screen.output(session, chunk)
                if self._until_done and self._board.done:
                    return

    def _connection(self, stream: Subscription, screen: Screen, state: StreamState) -> None:
        screen.connection(state, str(stream.last_error or ""), str(stream.transport or ""))


def _tell_missed(screen: Screen, item: Item) -> None:
    match item:
        case Opened(state="gap", reason=reason):
            screen.missed(f"events were missed ({reason or 'no longer kept'})")
        case Resync(reason=reason):
            screen.missed(f"fell behind ({reason})")


async def _refresh(screen: Screen) -> None:
    while True:
        screen.refresh()
        await asyncio.sleep(_REFRESH_S)
