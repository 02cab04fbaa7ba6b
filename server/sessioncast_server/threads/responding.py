"""Runs a responder: on the loop where it is async, else in a thread of its own, until it is done or out of time."""

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from sessioncast_server.threads.responder import Context, Responder, ResponderError
from sessioncast_server.threads.worker import Worker

_TURN_S = 0.005
"""How long a responder may go on without a turn for others."""


class _Saying:
    """Pieces of an answer. They are told of on the next turn of the loop, together with what came until then."""

    def __init__(self, hear: Callable[[int, str], None]) -> None:
        self._hear = hear
        self._told: list[str] = []
        self._new: list[str] = []
        self._muted = False

    def add(self, piece: str) -> None:
        """One more."""
        if piece:
            if not self._new:
                asyncio.get_running_loop().call_soon(self._tell)
            self._new.append(piece)

    def whole(self) -> str:
        """All of them, all told of."""
        self._tell()
        return "".join(self._told)

    def mute(self) -> None:
        """Tell of nothing any more: it is not waited for."""
        self._muted = True

    def _tell(self) -> None:
        if self._new and not self._muted:
            text, self._new = "".join(self._new), []
            self._hear(len(self._told), text)
            self._told.append(text)


class Responding:
    """Answers with a responder.

    A thread cannot be stopped. One that does not come back in time is left to itself, and its place with it; when none
    is left nobody waits for one.

    Args:
        deadline_s: how long an answer may take.
        max_bytes: how large it may be, in UTF-8.
        threads: answers of responders that are not async, at once; others wait.
        at_work: hears how many threads there are, those that were given up included.
    """

    def __init__(
        self,
        responder: Responder,
        *,
        deadline_s: float,
        max_bytes: int,
        threads: int,
        at_work: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._responder = responder
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._threads = threads
        self._at_work = at_work
        self._slots = asyncio.Semaphore(threads)
        self._workers: set[Worker] = set()
        self._collecting: set[asyncio.Task[str | BaseException]] = set()

    async def answer(self, context: Context, message: str, hear: Callable[[int, str], None]) -> str:
        """The answer.

        Args:
            hear: called with the number and the text of each piece, as it comes; pieces that come together are one.

        Raises:
            ResponderError: there is none.
        """
        said = _Saying(hear)
        # A task of its own: what does not let itself be cancelled is left to itself.
        collecting = asyncio.create_task(self._try(context, message, said))
        self._collecting.add(collecting)
        collecting.add_done_callback(self._collecting.discard)
        try:
            await asyncio.wait({collecting}, timeout=self._deadline_s)
        finally:
            if not collecting.done():
                said.mute()
                collecting.cancel()
        if not collecting.done():
            raise ResponderError(f"took longer than {self._deadline_s:g} s, or waited too long itself")
        answer = collecting.result()
        if isinstance(answer, str):
            return answer
        if isinstance(answer, ResponderError):
            raise answer
        # Neither its text nor its traceback: both may hold what was said.
        raise ResponderError(f"raised {type(answer).__name__}{_place(answer)}")

    async def _try(self, context: Context, message: str, said: _Saying) -> str | BaseException:
        """The answer, or whatever was raised: out of a task, what ends a process would end this one."""
        try:
            return await self._collect(context, message, said)
        except BaseException as error:  # noqa: BLE001  the node goes on, whatever a responder does
            return error

    async def _collect(self, context: Context, message: str, said: _Saying) -> str:
        room = self._max_bytes
        loop = asyncio.get_running_loop()
        turn = loop.time()
        async with aclosing(self._pieces(context, message)) as pieces:
            async for given in pieces:
                if not isinstance(given, str):
                    raise ResponderError(f"gave {type(given).__name__}, not text")
                piece = _storable(given)
                room -= len(piece.encode())
                if room < 0:
                    raise ResponderError(f"gave more than {self._max_bytes} bytes")
                said.add(piece)
                if loop.time() - turn > _TURN_S:
                    # One that never waits would keep everybody else, and its own deadline, from their turns.
                    await asyncio.sleep(0)
                    turn = loop.time()
        return said.whole()

    async def _pieces(self, context: Context, message: str) -> AsyncGenerator[Any, None]:
        responder = self._responder
        if inspect.isasyncgenfunction(responder):
            given: Any = responder(context, message)
        elif inspect.iscoroutinefunction(responder):
            given = await responder(context, message)
        else:
            given = self._in_thread(context, message)
        if not isinstance(given, AsyncIterator):
            yield given
            return
        async for piece in given:
            if inspect.isawaitable(piece):  # of a function that only gives what is to be awaited
                yield await piece
            elif isinstance(piece, AsyncIterator):
                async for part in piece:
                    yield part
            else:
                yield piece

    async def _in_thread(self, context: Context, message: str) -> AsyncGenerator[Any, None]:
        if sum(worker.stuck for worker in self._workers) >= self._threads:
            raise ResponderError("has no thread left: none of them comes back")
        await self._slots.acquire()
        worker = Worker(self._responder, context, message, ended=self._ended)
        self._workers.add(worker)
        self._at_work(len(self._workers))
        worker.start()
        try:
            async for piece in worker.pieces():
                yield piece
        finally:
            worker.give_up()

    def _ended(self, worker: Worker) -> None:
        self._workers.discard(worker)
        self._at_work(len(self._workers))
        self._slots.release()


def _storable(text: str) -> str:
    """What is no character (half of a surrogate pair) becomes U+FFFD: no JSON can hold it."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _place(error: BaseException) -> str:
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
