"""A listener that remembers, and announcements to send it."""

from uuid import uuid4

from sessioncast_server.broker.base import Announcement, Listener, Route, Whisper
from support.waiting import until


class Ear:
    """Records what a broker calls, and waits for what it will call."""

    def __init__(self) -> None:
        self.announced: list[Announcement] = []
        self.doubted: list[str | None] = []
        self.whispered: list[Whisper] = []
        self.told: list[Announcement | Whisper] = []
        """Announcements and whispers, as they came."""

    @property
    def listener(self) -> Listener:
        """What to start a broker with."""
        return Listener(self._announced, self.doubted.append, self._whispered)

    def _announced(self, announcement: Announcement) -> None:
        self.announced.append(announcement)
        self.told.append(announcement)

    def _whispered(self, whisper: Whisper) -> None:
        self.whispered.append(whisper)
        self.told.append(whisper)

    async def hears(self, channel: str, *offsets: int) -> None:
        """Wait until exactly these were announced in a channel."""
        await until(lambda: self.offsets(channel) == list(offsets), f"{offsets} in {channel}")

    def offsets(self, channel: str) -> list[int]:
        """First offsets of what was announced in a channel, in order of arrival."""
        return [announcement.first for announcement in self.announced if announcement.channel == channel]

    async def flowing(self, channel: str) -> None:
        """Wait until the broker said that announcements of the channel are flowing; forget that it did."""
        await until(lambda: channel in self.doubted, f"announcements of {channel} to flow")
        self.doubted[:] = [doubt for doubt in self.doubted if doubt != channel]


def new_channel() -> str:
    """A project that no other test uses."""
    return f"p-{uuid4().hex[:16]}"


def announcement(channel: str, first: int = 1, *, events: int = 1, size: int = 20) -> Announcement:
    """An announcement of events with bodies of about `size` bytes."""
    routes = tuple(Route("session", f"task-{n}", f"session-{n}") for n in range(events))
    bodies = tuple(b'{"n":%d,"fill":"%s"}' % (first + n, b"x" * size) for n in range(events))
    return Announcement(channel, "e1", first, routes, bodies)


def whisper(channel: str, number: int = 1, *, size: int = 20) -> Whisper:
    """A whisper with a body of about `size` bytes."""
    body = b'{"n":%d,"fill":"%s"}' % (number, b"x" * size)
    return Whisper(channel, Route("thread", thread_id="thread-1", owner="ann"), body)
