"""Cutting a connection whose client reads nothing.

ASGI has no word for it: a server's own close waits until what it has written was read, for ever. So the protocol class
puts the transport's `abort` into the scope of each request; under another server a response can only be given up.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEY = "sessioncast.abort"


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, with the way to abort in each scope's `state`. A WebSocket upgraded from it inherits that."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A connection begins."""
        self.app_state = {**self.app_state, _KEY: transport.abort}
        super().connection_made(transport)


def can_cut(scope: Mapping[str, Any]) -> bool:
    """Whether this server can abort the connection that a scope belongs to."""
    return _KEY in scope.get("state", {})


def cut(scope: Mapping[str, Any]) -> None:
    """Abort the connection that a scope belongs to, where the server can."""
    if can_cut(scope):
        scope["state"][_KEY]()
