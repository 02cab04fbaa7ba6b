"""What arrives from another node, and whom to tell of it."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from sessioncast_server.broker.base import Announcement, Listener
from sessioncast_server.broker.codec import WHISPER, BadAnnouncementError, decode, decode_whisper, whisper_of
from sessioncast_server.broker.limits import RedisHooks

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class Inbox:
    """Turns payloads into calls of the listener, for wanted channels only.

    Attributes:
        wanted: channels that are listened to.
    """

    def __init__(self, *, node: str, max_bytes: int, hooks: RedisHooks) -> None:
        """`node`: whose own whispers are not told of: it has heard them."""
        self.wanted: set[str] = set()
        self._own = whisper_of(node)
        self._max_bytes = max_bytes
        self._hooks = hooks
        self._listener: Listener | None = None

    def open(self, listener: Listener) -> None:
        """Tell this listener from now on."""
        self._listener = listener

    def close(self) -> None:
        """Tell nobody any more."""
        self._listener = None

    def take(self, channel: str, payload: bytes) -> None:
        """An announcement arrived; what cannot be read is doubt about its channel."""
        if self._listener is None or channel not in self.wanted:
            return  # it was under way when the UNSUBSCRIBE went out
        if payload.startswith(WHISPER):
            self._overhear(channel, payload, self._listener)
            return
        self._hooks.received()
        try:
            announcement = decode(payload, channel=channel, max_bytes=self._max_bytes)
        except BadAnnouncementError as error:
            self._hooks.garbled()
            _log.warning("what came from redis is no announcement", channel=channel, error=str(error))
            self.doubt(channel)
            return
        if isinstance(announcement, Announcement):
            self._tell(self._listener.announced, announcement)
        else:
            self.doubt(channel)

    def _overhear(self, channel: str, payload: bytes, listener: Listener) -> None:
        """No doubt comes of a whisper that cannot be read: there is nothing to read in its place."""
        if payload.startswith(self._own):
            return
        self._hooks.received()
        try:
            whisper = decode_whisper(payload, channel=channel)
        except BadAnnouncementError as error:
            self._hooks.garbled()
            _log.warning("what came from redis is no whisper", channel=channel, error=str(error))
            return
        self._tell(listener.whispered, whisper)

    def doubt(self, channel: str | None) -> None:
        """Announcements may have been lost: of one channel, or of all."""
        if self._listener is not None and (channel is None or channel in self.wanted):
            self._tell(self._listener.doubtful, channel)

    def _tell(self, call: Callable[[_T], None], value: _T) -> None:
        try:
            call(value)
        except Exception:  # noqa: BLE001  a listener's fault is not the connection's; the head check heals what it missed
            _log.exception("a listener failed")
