"""Cutting a connection whose client reads nothing.

ASGI has no word for it: a server's own close waits until what it has written was read, for ever. So our protocol class
puts the transport's `abort` into the state of each scope; under another server a response can only be given up.
"""

from collections.abc import Mapping
from typing import Any

KEY = "sessioncast.abort"
"""Where in a scope's `state` the way to abort stands."""


def can_cut(scope: Mapping[str, Any]) -> bool:
    """Whether this server can abort the connection that a scope belongs to."""
    return KEY in scope.get("state", {})


def cut(scope: Mapping[str, Any]) -> None:
    """Abort the connection that a scope belongs to, where the server can."""
    if can_cut(scope):
        scope["state"][KEY]()
