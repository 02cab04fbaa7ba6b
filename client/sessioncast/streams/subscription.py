"""A subscription: an async iterator that outlives its connections, and the ways they take."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Literal, Self

from sessioncast.backoff import Backoff
from sessioncast.errors import ConnectionLost, ProblemError, SlowConsumer
from sessioncast.limits import Limits
from sessioncast.lost import Silent, Unfit, Unreachable
from sessioncast.streams.frames import Frame, Goodbye, Ready, ResyncNotice
from sessioncast.streams.heard import Heard
from sessioncast.streams.items import Item, StreamState
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.tracker import Step, Tracker
from sessioncast.streams.ways import Stream, TransportName, Ways
from sessioncast_shared.codes import Code

WhenFull = Literal["error", "resume"]

_PUSH_DISABLED = Code.PUSH_DISABLED


class Subscription(AsyncIterator[Item]):
    """Yields each event once and in order, across reconnects and transports.

    Cancelling a waiting `anext` (a timeout, say) gives the connection up but not the place: the next one resumes.

    Attributes:
        position: may be kept by a program that has handled everything yielded so far, to go on from in another life.
        state: where the connection stands.
        transport: that carries it now: `websocket`, `sse` or `poll`; None: none does.
        heard_at: when the server was last heard, by the event loop's clock; None: never yet.
        last_error: why it is not open, None while it is, and when it was closed by the caller.
    """

    def __init__(
        self,
        ways: Ways,
        tracker: Tracker,
        limits: Limits,
        *,
        statuses: Statuses,
        when_full: WhenFull = "error",
        on_state: Callable[[StreamState], None] | None = None,
        on_stale: Callable[["Subscription"], None] | None = None,
        on_item: Callable[[Item], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_state` is called at each change of state, `on_stale` once each time it grows stale; neither may raise.

        `on_item` is called for each item when it arrives, before it is yielded.
        """
        self.position = tracker.position
        self.state = StreamState.CONNECTING
        self.transport: TransportName | None = None
        self.last_error: ConnectionLost | ProblemError | None = None
        self._ways = ways
        self._tracker = tracker
        self._limits = limits
        self._statuses = statuses
        self._when_full = when_full
        self._backoff = Backoff(limits)
        self._heard = Heard(limits)
        self._on_state = on_state
        self._on_stale = on_stale
        self._on_item = on_item
        self._sleep = sleep
        self._stream: Stream | None = None
        self._read: list[Frame] = []
        self._steps: deque[Step] = deque()
        self._asked_s: float | None = None
        self._is_to_pause = False
        self._tried: TransportName | None = None
        self._paced = False
        self._opened = 0
        self._reader: asyncio.Task[object] | None = None

    @property
    def heard_at(self) -> float | None:
        """See the class."""
        return self._heard.at

    @property
    def overdue(self) -> bool:
        """Whether nothing was heard for twice as long as it should take."""
        return self._heard.overdue()

    @property
    def asleep(self) -> bool:
        """Whether it polls, and asks no more because all that it watches has ended."""
        return self._heard.asleep

    async def __anext__(self) -> Item:
        """The next item.

        Raises:
            ProblemError: the server will not have this subscription (401, 403, 404, a bad filter, …).
            ProtocolError: the server says what no server of ours says.
            SlowConsumer: more came than was read, and the subscription is not to resume by itself.
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
            if self._is_to_pause:
                await self._pause()
            if self._stream is None:
                await self._connect()
            elif self.transport is not None and (better := self._ways.better(self.transport)) is not None:
                await self._climb(better)
            frames, self._read = self._read, []
            for frame in frames or await self._receive():
                self._take(frame)
        except (ConnectionLost, ProblemError) as error:
            if isinstance(error, ProblemError) and not self._passes(error):
                self.last_error = error
                await self.aclose()
                raise
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

    def _passes(self, error: ProblemError) -> bool:
        """Whether coming back later can help.

        A 500 may be one bad moment; a 4xx is about the subscription itself, unless it is a proxy's: then it is about
        the way to a server that was there before.
        """
        if error.retryable or error.status >= 500:
            return True
        return not error.code and error.status != 401 and self._heard.at is not None

    async def _pause(self) -> None:
        # Who shares a connection waits for it with the others; after silence it is looked at once.
        if not self._paced:
            await self._sleep(self._backoff.next_s(self._asked_s))
        self._asked_s, self._paced, self._is_to_pause = None, False, False
        self._set_state(StreamState.CONNECTING)

    async def _connect(self) -> None:
        """Open what works, from the best way down.

        What has failed is held against a way only when another one works: else it was the server.
        """
        self._tracker.connecting()
        failures: list[tuple[TransportName, ConnectionLost | ProblemError]] = []
        for transport in self._ways.order():
            try:
                stream = await self._open(transport)
            except (Unfit, Silent) as error:
                failures.append((transport, error))
            except ProblemError as error:
                if error.code != _PUSH_DISABLED:
                    raise
                self._ways.failed(transport, "push_disabled")
                failures.append((transport, error))
            except Unreachable:
                raise
            except ConnectionLost:
                self._ways.failed(transport, "cut")  # by somebody who lets it be opened, and no more
                raise
            else:
                for failed, why in failures:
                    if not isinstance(why, ProblemError):
                        self._ways.failed(failed, "silent" if isinstance(why, Silent) else "refused")
                self._adopt(transport, stream)
                return
        raise failures[-1][1]

    async def _climb(self, better: TransportName) -> None:
        """Try a better way while the present one works: what it says goes on from where this one stands."""
        try:
            stream = await self._open(better)
        except (ConnectionLost, ProblemError) as error:
            disabled = isinstance(error, ProblemError) and error.code == _PUSH_DISABLED
            self._ways.failed(better, "push_disabled" if disabled else "refused")
            return
        read, self._read = self._read, []
        await self._drop()
        self._read = read
        self._tracker.connecting()
        self._adopt(better, stream)

    async def _open(self, transport: TransportName) -> Stream:
        """A stream that has said something already, which is in `_read`."""
        limits = self._limits
        opening_s = limits.attempt_s if transport == "poll" else limits.connect_s + limits.first_frame_s
        stream: Stream | None = None
        self._tried = transport
        await self._ways.turn(transport)
        try:
            async with asyncio.timeout(opening_s) as deadline:
                stream = await self._ways.open(transport, self._tracker.position, self._tracker.wish)
                if transport != "poll":
                    deadline.reschedule(asyncio.get_running_loop().time() + limits.first_frame_s)
                read: list[Frame] = []
                while not read:
                    read = await stream.receive()
        except BaseException as error:
            if stream is not None:
                await stream.aclose()
            if isinstance(error, TimeoutError):
                raise Silent(transport, "it was opened, and said nothing") from error
            raise
        self._read = read
        return stream

    def _adopt(self, transport: TransportName, stream: Stream) -> None:
        counters = self._ways.counters
        self._stream, self.transport = stream, transport
        self._ways.worked(transport)
        self._opened += 1
        counters.reconnects += self._opened > 1
        counters.opened[transport] += 1
        counters.transports[transport] += 1
        self._hear()

    async def _receive(self) -> list[Frame]:
        assert self._stream is not None  # noqa: S101  for the type checker: it was opened
        try:
            frames = await self._stream.receive()
        except SlowConsumer:
            self._ways.counters.slow_times += 1
            if self._when_full == "error":
                raise
            await self._drop()  # it goes on from where it is, as if it had been away
            return []
        except Silent:
            raise
        except ConnectionLost:
            if self.transport is not None:
                self._ways.failed(self.transport, "cut")
            raise
        self._hear()
        return frames

    def _hear(self) -> None:
        self._heard.now(self._stream)
        self.last_error = None
        self._set_state(StreamState.OPEN)

    def _take(self, frame: Frame) -> None:
        counters = self._ways.counters
        if isinstance(frame, Goodbye):
            self._asked_s = frame.retry_s
            if frame.reason == _PUSH_DISABLED and self.transport is not None:
                self._ways.failed(self.transport, "push_disabled")
                self._asked_s = 0.0
            raise ConnectionLost("stream", frame.reason or "the server said goodbye")
        steps = self._tracker.take(frame)
        for item, _ in steps:
            if item is not None:
                self._statuses.take(item)
                if self._on_item is not None:
                    self._on_item(item)
        self._steps += steps
        if isinstance(frame, Ready):
            counters.gaps += frame.state == "gap"
        else:
            counters.resyncs += isinstance(frame, ResyncNotice)
            # A server that greets and falls over at once is not back yet.
            self._backoff.reset()

    async def _wait(self, error: ConnectionLost | ProblemError) -> None:
        if isinstance(error, ProblemError):
            # Of the server's flag the client learns from polls, at once.
            self._asked_s = 0.0 if error.code == _PUSH_DISABLED else error.retry_after
            self._paced = error.code == _PUSH_DISABLED
        else:
            silent = isinstance(error, Silent) and self.state is StreamState.OPEN
            shared = self._tried == "websocket" and not isinstance(error, Silent)
            self._paced = silent or shared
        await self._drop()
        if self.state is not StreamState.CLOSED:
            self._is_to_pause = True
            self.last_error = error
            self._set_state(StreamState.WAITING)

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        self._read = []
        if stream is not None:
            if self.transport is not None:
                self._ways.counters.transports[self.transport] -= 1
            self.transport = None
            await stream.aclose()

    def _set_state(self, state: StreamState) -> None:
        if state in (StreamState.WAITING, StreamState.CONNECTING) and self._heard.overdue():
            state = StreamState.STALE
        if state is self.state:
            return
        self.state = state
        if state is StreamState.STALE:
            self._ways.counters.stale_times += 1
            if self._on_stale is not None:
                self._on_stale(self)
        if self._on_state is not None:
            self._on_state(state)
