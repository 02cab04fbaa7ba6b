"""A thread that one answer is made in."""

import asyncio
import contextlib
import inspect
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any

from sessioncast_server.threads.responder import Context, Responder, ResponderError

_AHEAD = 64
"""Pieces that a responder may be ahead of who takes them; then it waits."""

_LOOK_S = 1.0
_END = object()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Worker:
    """Runs a responder that is not async. It is a daemon: a process that ends does not wait for it.

    Args:
        ended: called on the loop when the thread is done.

    Attributes:
        given_up: nobody takes its pieces any more.
    """

    def __init__(
        self, responder: Responder, context: Context, message: str, *, ended: Callable[["Worker"], None]
    ) -> None:
        self._responder = responder
        self._context = context
        self._message = message
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._given: deque[Any] = deque()
        self._more = asyncio.Event()
        self._waking = False
        self._room = threading.Semaphore(_AHEAD)
        self.given_up = False
        self._over = False

    @property
    def stuck(self) -> bool:
        """Whether it was given up before it was done."""
        return self.given_up and not self._over

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="responder", daemon=True).start()

    def give_up(self) -> None:
        """Let it end at its next piece."""
        self.given_up = True

    async def pieces(self) -> AsyncGenerator[Any, None]:
        """What it gives, one after another; what is to be awaited is given as it is.

        Raises:
            BaseException: what the responder raised.
        """
        while True:
            await self._more.wait()
            self._more.clear()
            self._waking = False  # before looking: what is given after that wakes again
            while self._given:
                piece = self._given.popleft()
                if piece is _END:
                    self._over = True
                    return
                self._room.release()
                if isinstance(piece, _Raised):
                    raise piece.error
                yield piece

    def _run(self) -> None:
        try:
            self._respond()
        except BaseException as error:  # noqa: BLE001  whatever it was belongs to who waits for the answer
            self._give(_Raised(error))
        self._give(_END)
        self._on_loop(self._ended, self)

    def _respond(self) -> None:
        try:
            answer: Any = self._responder(self._context, self._message)
            if isinstance(answer, str) or inspect.isawaitable(answer) or isinstance(answer, AsyncIterator):
                self._give(answer)
            elif isinstance(answer, Iterable):
                for piece in answer:
                    if not self._give(piece):
                        break
            else:
                raise ResponderError(f"gave {type(answer).__name__}, not text")
        except StopIteration as error:
            # Raised out of a coroutine it would be another error, which tells nothing.
            raise ResponderError("raised StopIteration") from error

    def _give(self, piece: Any) -> bool:
        """Hand it over; whether anybody takes it."""
        while not self._room.acquire(timeout=_LOOK_S):
            if self.given_up:
                return False
        self._given.append(piece)
        if not self._waking:  # one wake-up serves all that is given until the loop looks
            self._waking = True
            self._on_loop(self._more.set)
        return not self.given_up

    def _on_loop(self, call: Callable[..., Any], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the node has ended
            self._loop.call_soon_threadsafe(call, *args)
