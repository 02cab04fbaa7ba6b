"""A subscription: an async iterator that outlives its connections."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from sessioncast.backoff import Backoff
from sessioncast.errors import ConnectionLost, ProblemError
from sessioncast.limits import Limits
from sessioncast.streams.frames import Frame, Goodbye, Ready
from sessioncast.streams.items import Item, StreamState
from sessioncast.streams.tracker import SnapshotWish, Step, Tracker


class Stream(Protocol):
    """One connection, whatever its transport."""

    async def receive(self) -> list[Frame]:
        """The frames of the next read; raises ConnectionLost at the end."""

    async def aclose(self) -> None:
        """Give the connection up."""


Open = Callable[[str | None, SnapshotWish], Awaitable[Stream]]
"""Opens a connection that resumes from a position."""


class Subscription(AsyncIterator[Item]):
    """Yields each event once and in order, across reconnects.

    Nothing is read ahead of the caller beyond one read of the socket. Cancelling a waiting `anext` (a timeout, say)
    gives the connection up but not the place: the next one resumes.

    Attributes:
        position: may be kept by a program that has handled everything yielded so far, to go on from in another life.
        state: where the connection stands.
        last_error: why it is not open, None while it is.
    """

    def __init__(
        self,
        open_stream: Open,
        tracker: Tracker,
        limits: Limits,
        *,
        on_state: Callable[[StreamState], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_state` is called at each change of state; it must not raise."""
        self.position = tracker.position
        self.state = StreamState.CONNECTING
        self.last_error: ConnectionLost | ProblemError | None = None
        self._open_stream = open_stream
        self._tracker = tracker
        self._backoff = Backoff(limits)
        self._on_state = on_state
        self._sleep = sleep
        self._stream: Stream | None = None
        self._steps: deque[Step] = deque()
        self._asked_s: float | None = None
        self._reader: asyncio.Task[object] | None = None

    async def __anext__(self) -> Item:
        """The next item.

        Raises:
            ProblemError: the server will not have this subscription (401, 403, 404, a bad filter, …).
            ProtocolError: the server says what no server of ours says.
        """
        while True:
            while self._steps:
                item, self.position = self._steps.popleft()
                if item is not None:
                    return item
            if self.state is StreamState.CLOSED:
                raise StopAsyncIteration
            await self._advance()

    async def aclose(self) -> None:
        """Give the connection up and end the iteration, also one that another task is waiting in."""
        self._steps.clear()
        self._set_state(StreamState.CLOSED)
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()  # it sees that it is closed, and takes the cancellation back
        else:
            await self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _advance(self) -> None:
        """One step: wait, connect or read."""
        self._reader = asyncio.current_task()
        cancelled_before = self._reader.cancelling() if self._reader else 0
        try:
            if self.state is StreamState.WAITING:
                await self._sleep(self._backoff.next_s(self._asked_s))
                self._asked_s = None
                self._set_state(StreamState.CONNECTING)
            if self._stream is None:
                self._tracker.connecting()
                self._stream = await self._open_stream(self._tracker.position, self._tracker.wish)
            for frame in await self._stream.receive():
                self._take(frame)
        except (ConnectionLost, ProblemError) as error:
            if isinstance(error, ProblemError) and not _passes(error):
                await self.aclose()
                raise
            self._asked_s = error.retry_after if isinstance(error, ProblemError) else self._asked_s
            await self._wait(error)
        except asyncio.CancelledError:
            await self._drop()
            # The same reckoning as asyncio.timeout's: was it our own aclose, and nobody else's cancellation?
            closed = self.state is StreamState.CLOSED
            if closed and self._reader is not None and self._reader.uncancel() <= cancelled_before:
                return
            if self.state is StreamState.OPEN:
                self._set_state(StreamState.CONNECTING)
            raise
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._reader = None

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Goodbye):
            self._asked_s = frame.retry_s
            raise ConnectionLost("stream", frame.reason or "the server said goodbye")
        self._steps += self._tracker.take(frame)
        if self.state is not StreamState.OPEN:
            self.last_error = None
            self._set_state(StreamState.OPEN)
        if not isinstance(frame, Ready):
            # A server that greets and falls over at once is not back yet.
            self._backoff.reset()

    async def _wait(self, error: ConnectionLost | ProblemError) -> None:
        await self._drop()
        if self.state is not StreamState.CLOSED:
            self.last_error = error
            self._set_state(StreamState.WAITING)

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def _set_state(self, state: StreamState) -> None:
        if state is not self.state:
            self.state = state
            if self._on_state is not None:
                self._on_state(state)


def _passes(error: ProblemError) -> bool:
    """Whether coming back later can help. A 500 may be one bad moment; a 4xx is about the subscription itself."""
    return error.retryable or error.status >= 500
