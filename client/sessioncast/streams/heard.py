"""When the server was last heard, and whether that is too long ago."""

import asyncio

from sessioncast.limits import Limits
from sessioncast.streams.pace import is_stale
from sessioncast.streams.pollstream import PollStream

_TICK_S = 0.01
"""A deadline of the very length may notice it by so much too soon."""


class Heard:
    """Of one subscription.

    Attributes:
        at: by the event loop's clock; None: never.
    """

    def __init__(self, limits: Limits) -> None:
        self.at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._push_s = limits.idle_s
        self._stream: object = None

    def now(self, stream: object) -> None:
        """A frame, a heartbeat or an answer came: the next one is due within what the transport promises."""
        self._loop = asyncio.get_running_loop()
        self.at = self._loop.time()
        self._stream = stream

    @property
    def asleep(self) -> bool:
        """Whether the last word was a poll's, after which there are no more."""
        return isinstance(self._stream, PollStream) and self._stream.pace_s is None

    def overdue(self) -> bool:
        """Whether nothing was heard for twice as long as it should take; False before the first word."""
        if self.at is None or self._loop is None:
            return False
        # Asked for in any thread: a program that is not async looks at it, too.
        silent_s = self._loop.time() - self.at + _TICK_S
        if isinstance(self._stream, PollStream):
            return is_stale("poll", self._stream.pace_s, silent_s)
        return is_stale("push", None, silent_s, push_s=self._push_s)
