"""Parts for the tests of programs that use sessioncast: a real server, and a double of one.

`sessioncast_server` is a fixture; `from sessioncast.testing import sessioncast_server` in a `conftest.py` is all it
takes. pytest is loaded by that only.
"""

from typing import TYPE_CHECKING, Any

from sessioncast.testing.memory import MemoryBackend
from sessioncast.testing.replies import Asked, Reply
from sessioncast.testing.server import Server, ServerError

if TYPE_CHECKING:
    from sessioncast.testing.fixture import sessioncast_server

__all__ = ["Asked", "MemoryBackend", "Reply", "Server", "ServerError", "sessioncast_server"]


def __getattr__(name: str) -> Any:
    if name == "sessioncast_server":
        from sessioncast.testing.fixture import sessioncast_server  # noqa: PLC0415  it loads pytest

        return sessioncast_server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
