"""The answer that becomes an event stream, on either lane."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from sse_starlette.sse import AppStatus, EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sessioncast_server.channels.framing import Framing
from sessioncast_server.transports.cut import can_cut, cut
from sessioncast_server.transports.fastlane import offer_of
from sessioncast_server.transports.outlet import OutletTerms
from sessioncast_server.transports.sse import FRAMING, SseSink
from sessioncast_server.transports.ssestream import CHUNKED, SseStream

# The drain is ours: every stream is told goodbye before its connection is closed.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]  # the library's gap

Begin = Callable[[SseSink | SseStream, Framing], Awaitable[None]]
"""Gives the sink of a stream its subscriber, or ends it with a word; raises nothing."""

_HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
]


class SseResponse(Response):
    """An event stream. Whatever happens to it, its subscriber is let go."""

    def __init__(self, begin: Begin, terms: OutletTerms, request_id: str) -> None:
        super().__init__()
        self._begin = begin
        self._terms = terms
        self._request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it. On the fast lane this ends as soon as the stream has begun."""
        offer = offer_of(scope)
        if offer is None:
            await self._serve_portable(scope, receive, send)
            return
        # Nothing suspends between the question and the answer: the transport was asked whether it is full.
        headers = [*_HEAD, (b"x-request-id", self._request_id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._begin(offer.detach(partial(SseStream, terms=self._terms)), CHUNKED)

    async def _serve_portable(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By sse-starlette, given ready bytes."""
        sink = SseSink(self._terms)
        if can_cut(scope):
            sink.cut = lambda: cut(scope)
        try:
            await self._begin(sink, FRAMING)
            headers = {"Cache-Control": "no-cache, no-transform", "X-Request-Id": self._request_id}
            await EventSourceResponse(sink.body(), headers=headers, ping=0, sep="\n")(scope, receive, send)
        except asyncio.CancelledError:
            if not sink.ended:
                raise
        finally:
            sink.release()
