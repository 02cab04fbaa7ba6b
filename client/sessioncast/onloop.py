"""From a thread to an event loop in another one, and back."""

import asyncio
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import Any

from sessioncast.shielding import to_the_end


class OnLoop:
    """Does things on a loop, for threads that wait for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._process = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is the loop's own thread, which cannot wait for itself."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def do(self, make: Callable[[], Any]) -> Any:
        """What `make` gives, called on the loop, and awaited if it can be.

        Whoever is interrupted while he waits (Ctrl-C) cancels it, and is let go when it has cleaned up.
        """
        if self.here:
            raise RuntimeError("a blocking call in the event loop's own thread would wait for itself")
        if os.getpid() != self._process:
            raise RuntimeError("its thread stayed behind in the process that this one was forked from; make another")
        return Desk(self._loop, make).wait()


class Desk:
    """One call, and the thread that waits for it: it runs functions for the call meanwhile.

    Attributes:
        over: nobody waits here any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Any]) -> None:
        """Nothing happens yet."""
        self.over = False
        self._loop = loop
        self._make = make
        # Holds the work of a call that waits for it, one at a time, and None when it has ended.
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._task: asyncio.Task[Any] | None = None
        self._ended = False

    def wait(self) -> Any:
        """The result; to be called once."""
        # An interrupt may come between any two steps: what it may be that was not done yet, `_cancel` makes up for.
        try:
            token = caller.set(self)
            try:
                self._loop.call_soon_threadsafe(self._start)
            finally:
                caller.reset(token)
            self._serve()
        except BaseException:
            self._loop.call_soon_threadsafe(self._cancel)
            self._serve()
            raise
        return None if self._task is None else self._task.result()

    async def run(self, work: Callable[[], Any]) -> Any:
        """On the loop: what a function gives in the thread that waits."""
        done = self._loop.create_future()
        self._queue.put(partial(self._work, work, done))
        return await done

    def _start(self) -> None:
        if not self.over:
            self._task = self._loop.create_task(_made(self._make))
            self._task.add_done_callback(self._end)

    def _end(self, _: object = None) -> None:
        self.over = self._ended = True
        self._queue.put(None)

    def _cancel(self) -> None:
        self.over = True
        if self._task is None:
            self._end()
        else:
            self._task.cancel()

    def _serve(self) -> None:
        # Not by what came out of the queue: an interrupt can take that away.
        while not self._ended:
            item = self._queue.get()
            if item is not None:
                item()

    def _work(self, work: Callable[[], Any], done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            return
        try:
            found = work()
        except Exception as error:  # noqa: BLE001  whatever it is, it is the call's
            self._tell(done, partial(done.set_exception, error))
        else:
            self._tell(done, partial(done.set_result, found))

    def _tell(self, done: asyncio.Future[Any], news: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(lambda: None if done.cancelled() else news())


caller: ContextVar[Desk | None] = ContextVar("caller", default=None)
"""The thread that waits for what is being done, to call its functions in."""


class Held:
    """An async context manager, entered and left by a thread, in one and the same task of the loop."""

    def __init__(self, on: OnLoop, manager: Any) -> None:
        self._on = on
        self._manager = manager
        self._task: asyncio.Task[bool] | None = None
        self._leaving: asyncio.Future[BaseException | None] | None = None

    def enter(self) -> Any:
        """What it gives."""
        return self._on.do(self._enter)

    def leave(self, error: BaseException | None) -> bool:
        """Whether the error was dealt with."""
        return bool(self._on.do(partial(self._leave, error)))

    async def _enter(self) -> Any:
        loop = asyncio.get_running_loop()
        entered = loop.create_future()
        self._leaving = loop.create_future()
        self._task = loop.create_task(self._hold(entered))
        try:
            await asyncio.wait({entered, self._task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.exception()  # seen; what counts is that somebody wanted to stop
            raise
        return entered.result() if entered.done() else self._task.result()

    async def _leave(self, error: BaseException | None) -> bool:
        if self._leaving is None or self._task is None:
            raise RuntimeError("it was not entered")
        if not self._leaving.done():
            self._leaving.set_result(error)
        # Leaving is bounded by what is left; who is interrupted meanwhile must not pull the loop away from under it.
        return await to_the_end(_result(self._task))

    async def _hold(self, entered: asyncio.Future[Any]) -> bool:
        # The errors are handed over, not raised: a KeyboardInterrupt in a task would end the loop.
        entered.set_result(await self._manager.__aenter__())
        error: BaseException | None
        try:
            assert self._leaving is not None  # noqa: S101  for the type checker: `_enter` made it
            error = await self._leaving
        except asyncio.CancelledError as cancelled:
            error = cancelled
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        return bool(await self._manager.__aexit__(kind, error, trace))


async def _result(task: asyncio.Task[bool]) -> bool:
    return await task


async def _made(make: Callable[[], Any]) -> Any:
    found = make()
    return await found if inspect.isawaitable(found) else found
