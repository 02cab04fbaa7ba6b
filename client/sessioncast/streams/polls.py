"""Answers of the poll as frames, so that a subscription need not know what carries it. No I/O."""

from typing import Any

from sessioncast.errors import ProtocolError
from sessioncast.streams.frames import Events, Frame, Moved, Ready, SnapshotPage, control_frame


class PollReader:
    """Reads the answers to the polls of one connection, that is, of polls that go on from each other.

    Its first request must not be conditional: a 304 opens nothing.

    Attributes:
        more: whether the last answer left something for another one, to be asked for at once.
        changed: whether the last answer told anything new; for the pace.
    """

    def __init__(self, url: str) -> None:
        """`url` is for messages of errors."""
        self.more = False
        self.changed = False
        self._url = url
        self._first = True

    def take(self, status: int, body: Any, *, position: str | None = None) -> list[Frame]:
        """The frames of an answer.

        Args:
            status: 200 or 304.
            body: its JSON; of a 304 it does not matter.
            position: the answer's `X-Position`. With a 304 it moves the stream's position, so that one that is silent
                for days is not told of a gap; with a 200 the body has it.

        Raises:
            ProtocolError: this is no answer of a poll.
        """
        if status == 304:
            self.more = self.changed = False
            return [] if position is None or self._first else [Moved(position)]
        try:
            frames = self._frames(body)
        except (KeyError, TypeError) as error:
            raise ProtocolError(self._url, f"an answer of the poll without {error}") from error
        self._first = False
        self.more = bool(body.get("more", False))
        self.changed = any(isinstance(frame, SnapshotPage | Events) for frame in frames)
        return frames

    def _frames(self, body: Any) -> list[Frame]:
        if not isinstance(body, dict):
            raise ProtocolError(self._url, "an answer of the poll that is no object")
        ready = control_frame("ready", body, self._url)
        assert isinstance(ready, Ready)  # noqa: S101  for the type checker: it makes one or raises
        if ready.state != "resumed":
            # Not the answer's own `more`: that is about events. The snapshot is whole.
            page = control_frame("snapshot", {**body, "more": False}, self._url) if "resources" in body else None
            return [ready] if page is None else [ready, page]
        events, position = body["events"], body["position"]
        if not isinstance(events, list) or not isinstance(position, str):
            raise TypeError("a list of events and a position")
        frames: list[Frame] = [ready] if self._first else []
        if events:
            frames.append(Events(events))
        return [*frames, Moved(position)]
